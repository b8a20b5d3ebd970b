"""The command line as users have it: a child process with a home of its own, and the emulator as YouTube."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ytarchive.emulator import EmulatorClient

PATIENCE = 60.0  # seconds for anything that a child does


@dataclass(frozen=True)
class Run:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def result(self) -> dict[str, Any]:
        """The last JSON line."""
        return self.lines[-1]


@dataclass
class Child:
    """A command under way; its output goes to files, so that it never waits for a reader."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def wait_for(self, text: str) -> None:
        """Until it has printed this."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.out.read_text() + self.err.read_text():
            assert self.process.poll() is None, f"ended without {text!r}:\n{self.out.read_text()}{self.err.read_text()}"
            assert time.monotonic() < deadline, f"no {text!r} within {PATIENCE} s:\n{self.out.read_text()}"
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """To the whole group, as a terminal does it."""
        os.killpg(self.process.pid, number)

    def end(self) -> Run:
        code = self.process.wait(PATIENCE)
        return Run(code, self.out.read_text(), self.err.read_text())


@dataclass
class Cli:
    """Runs `ytarchive` in one environment: `home` holds its data and its archive."""

    home: Path
    env: dict[str, str]
    held: ExitStack
    started: list[Child] = field(default_factory=list)

    @property
    def archive(self) -> Path:
        return self.home / "archive"

    @property
    def data(self) -> Path:
        return self.home / "data"

    def __call__(self, *words: str, stdin: str = "") -> Run:
        """Run to its end."""
        ran = subprocess.run(
            self.command(*words),
            input=stdin,
            env=self.env,
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert "Traceback" not in ran.stderr, ran.stderr
        return Run(ran.returncode, ran.stdout, ran.stderr)

    def start(self, *words: str) -> Child:
        """Start in the background; ended with the test."""
        number = len(self.started)
        out, err = self.home / f"{number}.out", self.home / f"{number}.err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                self.command(*words),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=self.env,
                cwd=self.home,
                start_new_session=True,
            )
        child = Child(process, out, err)
        self.started.append(child)
        self.held.enter_context(_ended(process))
        return child

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "ytarchive", *words]

    def mp4(self, video_id: str) -> Path:
        return self.archive / "videos" / video_id / f"{video_id}.mp4"


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(35)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def make_cli(tmp_path: Path, emulator: EmulatorClient) -> Iterator[Callable[..., Cli]]:
    """A Cli with its own home, any free ports, and the emulator as its YouTube; more settings as variables."""
    with ExitStack() as held:

        def make(name: str = "home", **settings: str) -> Cli:
            home = tmp_path / name
            home.mkdir(exist_ok=True)
            kept = {key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL", "TMPDIR") if key in os.environ}
            env = kept | {
                "HOME": str(home),
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "PYTHONWARNINGS": "error",
                "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(home / "data"),
                "YTARCHIVE_STORAGE__BASE_PATH": str(home / "archive"),
                "YTARCHIVE_STORAGE__MIN_FREE": "0",
                "YTARCHIVE_YOUTUBE__PROXY": emulator.proxy_url,
                "YTARCHIVE_YOUTUBE__CA_FILE": str(emulator.ca_file),
            }
            for service in ("JOBS", "METADATA", "DOWNLOAD", "STORAGE", "LOGGING"):
                env[f"YTARCHIVE_SERVICES__{service}__PORT"] = "0"
            return Cli(home, env | settings, held)

        yield make


@pytest.fixture
def cli(make_cli: Callable[..., Cli]) -> Cli:
    return make_cli()
