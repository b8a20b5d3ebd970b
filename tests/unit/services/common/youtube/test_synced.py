import json
import os
from pathlib import Path

import pytest

from services.common.youtube.synced import SYNC_EVERY, SyncedLengths

CONTENT = b"x" * 1000


@pytest.fixture
def part(tmp_path: Path) -> Path:
    path = tmp_path / "video.f137.mp4.part"
    path.write_bytes(CONTENT)
    return path


def files(directory: Path) -> list[Path]:
    return list(directory.glob("video.*"))


def power_cut(directory: Path) -> SyncedLengths:
    """Return the lengths as the next boot reads them."""
    record = directory / ".synced"
    if record.exists():
        record.write_text(json.dumps({**json.loads(record.read_text()), "boot": "another"}))
    return SyncedLengths(directory)


def begun(directory: Path) -> SyncedLengths:
    synced = SyncedLengths(directory)
    synced.drop_unsynced(())
    synced.clip(files(directory))
    return synced


def test_within_one_boot_everything_is_kept(part: Path) -> None:
    begun(part.parent)
    SyncedLengths(part.parent).drop_unsynced(files(part.parent))
    assert part.read_bytes() == CONTENT


def test_after_another_boot_only_synced_bytes_are_kept(part: Path) -> None:
    begun(part.parent).sync(part)
    part.write_bytes(CONTENT + bytes(500))
    power_cut(part.parent).drop_unsynced(files(part.parent))
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize("record", [None, "", "{", '{"lengths": {"video.f137.mp4.part": "x"}}'])
def test_without_a_readable_record_nothing_is_kept(part: Path, record: str | None) -> None:
    if record is not None:
        (part.parent / ".synced").write_text(record)
    SyncedLengths(part.parent).drop_unsynced(files(part.parent))
    assert not part.exists()


def test_a_file_that_was_never_synced_is_removed(part: Path) -> None:
    begun(part.parent)
    power_cut(part.parent).drop_unsynced(files(part.parent))
    assert not part.exists()


def test_a_file_that_lost_synced_bytes_is_removed(part: Path) -> None:
    begun(part.parent).sync(part)
    part.write_bytes(CONTENT[:900])
    power_cut(part.parent).drop_unsynced(files(part.parent))
    assert not part.exists()


def test_fragments_are_fetched_again(part: Path) -> None:
    """The length says nothing about which of yt-dlp's fragments are complete."""
    part.with_name("video.f137.mp4.ytdl").write_text("{}")
    begun(part.parent).sync(part)
    power_cut(part.parent).drop_unsynced(files(part.parent))
    assert files(part.parent) == []


def test_a_growing_file_is_synced_from_time_to_time(part: Path) -> None:
    synced = begun(part.parent)
    synced.note(part, SYNC_EVERY - 1)
    assert json.loads((part.parent / ".synced").read_text())["lengths"] == {part.name: 0}
    synced.note(part, SYNC_EVERY)
    assert json.loads((part.parent / ".synced").read_text())["lengths"] == {part.name: 1000}


def test_a_file_that_was_begun_anew_counts_from_its_start(part: Path) -> None:
    synced = begun(part.parent)
    synced.sync(part)
    part.write_bytes(b"new")
    synced.note(part, 3)
    part.write_bytes(b"new" + bytes(997))
    power_cut(part.parent).drop_unsynced(files(part.parent))
    assert part.read_bytes() == b"new"


def test_a_resumed_file_counts_from_its_end(part: Path) -> None:
    begun(part.parent).sync(part)
    part.write_bytes(CONTENT[:-1])  # the last byte is requested again
    synced = SyncedLengths(part.parent)
    synced.clip([part])
    part.write_bytes(CONTENT[:-1] + bytes(300))
    power_cut(part.parent).drop_unsynced(files(part.parent))
    assert part.read_bytes() == CONTENT[:-1]


def test_a_small_stream_that_is_complete_is_not_synced(part: Path) -> None:
    """A power cut costs it, which is less than a synced record for each of 50,000 small videos."""
    begun(part.parent).finished(part)
    power_cut(part.parent).drop_unsynced(files(part.parent))
    assert not part.exists()


def test_a_large_stream_that_is_complete_is_synced(part: Path) -> None:
    synced = begun(part.parent)
    complete = part.rename(part.with_name("video.f137.mp4"))
    os.truncate(complete, SYNC_EVERY)
    synced.finished(complete)
    power_cut(part.parent).drop_unsynced(files(part.parent))
    assert complete.stat().st_size == SYNC_EVERY
