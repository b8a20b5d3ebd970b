"""An archive on a full disk."""

import hashlib
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.common.domain.archive import FileFact, FileRole, Provenance
from services.common.domain.videos import VideoMetadata, Wanted
from services.common.errors import StorageFull
from services.common.events import DownloadCompleted
from services.common.settings.load import load_config
from services.storage.archive_store import ArchiveStore
from tests.fixtures.archive_parts import archive_parts
from tests.fixtures.small_disk import run_on_small_disk

DISK, PAGE = 64 * 1024, 4096  # bytes
AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.claim("9.4")
def test_a_disk_that_fills_up_while_archiving_is_reported_and_cleaned_up(tmp_path: Path) -> None:
    """The check beforehand finds enough space. Partial files are removed, and a later try with space succeeds."""
    run_on_small_disk(fill, tmp_path, tmp_path / "archive", DISK)


async def fill(place: Path) -> None:
    """The part of the test that runs in the child."""
    env = {
        "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(place / "data"),
        "YTARCHIVE_STORAGE__BASE_PATH": str(place / "archive"),
        "YTARCHIVE_STORAGE__MIN_FREE": "0",
    }
    storage = load_config(env=env, cwd=place).storage
    with archive_parts(storage) as parts:
        await archive_until_full(place, parts.store)


async def archive_until_full(place: Path, archive: ArchiveStore) -> None:
    no_record = delivery(place, "fullrecord1", film=DISK)
    no_caption = delivery(place, "fullcaption", film=DISK - PAGE, captions=2)  # each caption takes a page
    for event, words in ((no_record, "No space left"), (no_caption, "no space for")):
        with pytest.raises(StorageFull, match=words) as caught:
            await archive.take_in(event, "t")
        assert caught.value.code == "E004"
        assert [path for path in (place / "archive").rglob("*") if path.is_file()] == []
    subprocess.run(["mount", "-o", "remount,size=1m", str(place / "archive")], check=True)  # noqa: ASYNC221 - alone here
    for event in (no_record, no_caption):
        assert len((await archive.take_in(event, "t")).fixity) == len(event.files)


def delivery(home: Path, video_id: str, film: int, captions: int = 0) -> DownloadCompleted:
    """Return a delivery of a film of that many bytes and of captions of one byte each."""
    directory = home / "data" / "tmp" / f"{video_id}.part"
    directory.mkdir(parents=True)
    files: list[tuple[str, FileRole, str | None, bytes]] = [(f"{video_id}.mp4", FileRole.VIDEO, None, b"f" * film)]
    files += [(f"{n}.vtt", FileRole.CAPTION, f"l{n}", b"c") for n in range(captions)]
    for name, _role, _language, data in files:
        (directory / name).write_bytes(data)
    return DownloadCompleted(
        dispatch_id="d1",
        fetch_id="f1",
        job_id="j1",
        video_id=video_id,
        root=str(home / "archive"),
        wanted=Wanted(),
        directory=str(directory),
        files=tuple(
            FileFact(name=name, role=role, language=language, size=len(data), sha256=hashlib.sha256(data).hexdigest())
            for name, role, language, data in files
        ),
        metadata=VideoMetadata(video_id=video_id, title="T"),
        provenance=Provenance(source_url="https://example.org", started_at=AT, finished_at=AT),
    )
