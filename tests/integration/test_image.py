"""docker-entrypoint.sh: the user and the umask of a container. It runs here with a `tini` and a `ytarchive` of the
test, which report them."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ENTRYPOINT = Path(__file__).parents[2] / "docker-entrypoint.sh"

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root, as a container starts, and setpriv"
)


@dataclass
class Container:
    home: Path

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def archive(self) -> Path:
        return self.home / "archive"

    def run(self, *before: str, **variables: str) -> str:
        """Run `up --verbose` through the entrypoint, after the words of another command. Return its line:
        `uid:gid umask words`."""
        env = {
            "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}",
            "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(self.data),
            "YTARCHIVE_STORAGE__BASE_PATH": str(self.archive),
        }
        command = [*before, str(self.home / ENTRYPOINT.name), "up", "--verbose"]
        ran = subprocess.run(command, env=env | variables, capture_output=True, text=True, check=False, timeout=60)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()


@pytest.fixture
def container() -> Iterator[Container]:
    """A container whose folders other users can reach, unlike those of tmp_path."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o755)
        shutil.copy(ENTRYPOINT, home)
        for name in ("bin", "data", "archive"):
            (home / name).mkdir()
        for name, script in {
            "tini": 'shift\nexec "$@"',
            "ytarchive": 'echo "$(id -u):$(id -g) $(umask) $*"\ntouch "$YTARCHIVE_STORAGE__BASE_DATA_DIR/made"',
        }.items():
            (home / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
            (home / "bin" / name).chmod(0o755)
        yield Container(home)


def test_a_container_becomes_the_given_user_and_owns_its_empty_volumes(container: Container) -> None:
    assert container.run(PUID="1234", PGID="5678", UMASK="002") == "1234:5678 0002 up --verbose"
    assert (container.data / "made").stat().st_uid == 1234
    assert container.archive.stat().st_uid == 1234


def test_without_variables_it_is_the_user_1000(container: Container) -> None:
    assert container.run() == "1000:1000 0022 up --verbose"


def test_a_volume_with_content_is_left_as_it_is(container: Container) -> None:
    (container.archive / "video").touch()
    container.run()
    assert container.archive.stat().st_uid == 0
    assert (container.archive / "video").stat().st_uid == 0


def test_a_container_that_is_started_as_another_user_stays_that_one(container: Container) -> None:
    container.data.chmod(0o777)
    as_user = ("setpriv", "--reuid", "4321", "--regid", "4321", "--clear-groups", "--")
    assert container.run(*as_user, PUID="1") == "4321:4321 0022 up --verbose"
