"""A few of the power cuts of `make power-cut`, and what its disk keeps."""

import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.power_cut import recording_disk, run
from tests.chaos.recording_disk import Disk, positions
from tests.fixtures.fuse_disk import why_not
from tests.fixtures.processes import ProcessPool
from ytarchive.emulator import EmulatorClient

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

ALL, NOTHING = 1.0, 0.0  # of the unsynced changes


class Chosen(random.Random):
    """A generator whose cuts keep all or nothing of what was not synced."""

    def __init__(self, kept: float) -> None:
        super().__init__(1)
        self._kept = kept

    def choice(self, seq: Any) -> Any:
        return self._kept

    def random(self) -> float:
        return 0.5


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def after_cut(recording: Path, folder: Path, kept: float) -> dict[str, bytes]:
    """Return the files of the disk after a cut at the end of a recording."""
    disk = Disk.replay(recording, recording.stat().st_size)
    disk.cut_power(Chosen(kept))
    folder.mkdir()
    disk.write_to(folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_recording_disk_stores_what_was_written(tmp_path: Path) -> None:
    with recording_disk(tmp_path / "disk") as (mount, recording):
        (mount / "folder").mkdir()
        (mount / "folder" / "a").write_bytes(b"one")
        with (mount / "folder" / "a").open("r+b") as file:
            file.seek(2)
            file.write(b"d two")
        (mount / "folder" / "b").hardlink_to(mount / "folder" / "a")
        assert (mount / "folder" / "b").stat().st_ino == (mount / "folder" / "a").stat().st_ino
        (mount / "folder" / "a").replace(mount / "c")
        (mount / "gone").write_bytes(b"gone")
        (mount / "gone").unlink()
        (mount / "cut").write_bytes(b"12345")
        os.truncate(mount / "cut", 2)
        seen = {str(path.relative_to(mount)): path.read_bytes() for path in mount.rglob("*") if path.is_file()}
    assert seen == {"folder/b": b"ond two", "c": b"ond two", "cut": b"12"}
    assert after_cut(recording, tmp_path / "all", ALL) == seen
    assert after_cut(recording, tmp_path / "nothing", NOTHING) == {}


def test_a_power_cut_keeps_what_was_synced(tmp_path: Path) -> None:
    with recording_disk(tmp_path / "disk") as (mount, recording):
        (mount / "folder").mkdir()
        file = mount / "folder" / "file"
        file.write_bytes(b"old")
        sync(file)  # with its name, and that of its folder
        file.write_bytes(b"newer")
        (mount / "folder" / "unsynced").write_bytes(b"...")
        other = mount / "folder" / "renamed"
        other.write_bytes(b"whole")
        sync(other)
        other.replace(mount / "folder" / "final")
    assert after_cut(recording, tmp_path / "nothing", NOTHING) == {
        "folder/file": b"old",
        "folder/renamed": b"whole",
        "folder/unsynced": b"",  # an earlier name of the same folder
    }
    assert after_cut(recording, tmp_path / "all", ALL)["folder/file"] == b"newer"


def test_a_folder_that_is_synced_keeps_its_names(tmp_path: Path) -> None:
    with recording_disk(tmp_path / "disk") as (mount, recording):
        for name in ("a", "b"):
            (mount / name).write_bytes(b"content")
            sync(mount / name)
        (mount / "a").replace(mount / "new")
        (mount / "b").unlink()
        before = len(positions(recording))
        sync(mount)
        assert len(positions(recording)) == before + 1
    assert after_cut(recording, tmp_path / "nothing", NOTHING) == {"new": b"content"}


async def test_power_cuts_lose_nothing_that_was_acknowledged(
    tmp_path: Path, emulator: EmulatorClient, process_pool: ProcessPool
) -> None:
    reports = [report async for report in run(tmp_path / "disk", emulator, process_pool, seed=1, cuts=3, videos=6)]
    assert [report.problems for report in reports] == [[], [], []]
