"""`ytarchive` on disks that lack what most have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.fuse_disk import fuse_disk, why_not
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


def test_a_video_is_saved_on_a_disk_that_cannot_sync_folders(
    tmp_path: Path, cli_at: Callable[..., Any], emulator: EmulatorClient
) -> None:
    with fuse_disk(tmp_path / "disk", "--no-folder-sync") as disk:
        cli = cli_at(tmp_path / "home", YTARCHIVE_STORAGE__BASE_PATH=str(disk / "archive"))
        run = cli("download", sample.VIDEO_OK)
        assert run.code == 0, run.out + run.err
        assert (disk / "archive" / "videos" / sample.VIDEO_OK / f"{sample.VIDEO_OK}.mp4").stat().st_size > 10_000
        examined = cli("doctor")
        assert "cannot sync folders: a power cut" in examined.out, examined.out + examined.err


@pytest.mark.parametrize(
    ("option", "folder", "told", "code"),
    [
        ("--no-folder-sync", "data", "which the broker requires", 1),
        ("--fold-case", "archive", "ignores case", 0),
    ],
)
def test_doctor_names_what_a_disk_lacks(
    tmp_path: Path, cli_at: Callable[..., Any], emulator: EmulatorClient, option: str, folder: str, told: str, code: int
) -> None:
    with fuse_disk(tmp_path / "disk", option) as disk:
        cli = cli_at(disk / "home")
        (cli.home / folder).mkdir()
        examined = cli("doctor")
        assert told in examined.out, examined.out + examined.err
        assert examined.code == code
