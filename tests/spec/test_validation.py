"""Chapters 13 and 14: validation of paths by the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from bus import BusSettings
from services.common.errors import ConfigError
from services.common.settings.load import load_config
from services.storage.service import StorageService
from tests.fixtures.other_user import call_as_other_user, common_folders
from ytarchive.emulator.site import sample


@pytest.mark.claim("13.2", "14.3")
def test_a_relative_base_path_is_rejected(cli: Any) -> None:
    cli.env["YTARCHIVE_STORAGE__BASE_PATH"] = "archive"
    ran = cli("download", sample.VIDEO_OK)
    assert ran.code == 2
    assert "storage.base_path = 'archive': a path must be absolute" in ran.err
    assert not cli.data.exists()
    assert not list(cli.home.rglob("*.mp4"))


@pytest.mark.claim("13.2", "14.3")
def test_a_tilde_in_base_path_is_expanded(cli: Any) -> None:
    cli.env["YTARCHIVE_STORAGE__BASE_PATH"] = "~/films"
    assert cli("download", sample.VIDEO_OK).code == 0
    assert (cli.home / "films" / "videos" / sample.VIDEO_OK / f"{sample.VIDEO_OK}.mp4").is_file()


@pytest.mark.claim("13.3", "14.3")
def test_a_base_path_that_cannot_be_created_is_reported(cli: Any) -> None:
    (cli.home / "file").write_text("in the way")
    cli.env["YTARCHIVE_STORAGE__BASE_PATH"] = str(cli.home / "file" / "archive")
    ran = cli("download", sample.VIDEO_OK)
    assert ran.code not in {0, 3}
    assert str(cli.home / "file") in ran.err


@pytest.mark.claim("13.3")
def test_a_base_path_that_cannot_be_written_to_is_reported() -> None:
    with common_folders() as (writable, read_only):
        assert call_as_other_user(check_base_path, str(writable), str(writable)) is None
        message = call_as_other_user(check_base_path, str(read_only), str(writable))
    assert f"cannot write to {read_only}" in str(message)


def check_base_path(base_path: str, data: str) -> str | None:
    """Return why storage does not start with this base_path. Runs in a child, as another user."""
    env = {
        "YTARCHIVE_STORAGE__BASE_PATH": base_path,
        "YTARCHIVE_STORAGE__BASE_DATA_DIR": data,
        "YTARCHIVE_SERVICES__STORAGE__PORT": "0",
    }
    try:
        StorageService(load_config(env=env, cwd=Path(data)), BusSettings(url="nats://unset")).validate_environment()
    except ConfigError as error:
        return error.message
    return None


@pytest.mark.claim("13.4")
def test_nothing_is_downloaded_to_a_full_disk(make_cli: Any, emulator: Any) -> None:
    """The worker returns the video to the queue before it sends any request to the site."""
    cli = make_cli(YTARCHIVE_STORAGE__MIN_FREE="1000TiB")
    child = cli.start("download", sample.VIDEO_OK, "--json")
    child.wait_for("disk")
    assert not [entry for entry in emulator.log() if entry["kind"] in {"watch", "player", "media"}]
    listed = json.loads(cli("jobs", "list", "--json").out)["jobs"]
    assert [job["status"] for job in listed] in (["running"], ["retrying"], ["queued"])
    assert not list(Path(cli.archive).rglob("*.mp4"))
