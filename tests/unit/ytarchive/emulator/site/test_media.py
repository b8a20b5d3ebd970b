"""Encoded clips and thumbnails, decoded again with ffmpeg."""

import subprocess
from pathlib import Path

import pytest

from ytarchive.emulator.site.media import Media, ffmpegs
from ytarchive.emulator.site.world import HEIGHTS, Video


def decode(path: Path, *output: str) -> tuple[int, bytes, bytes]:
    """Run ffmpeg until the first error; return its status, error messages and output."""
    command = [ffmpegs()[-1], "-v", "error", "-xerror", "-i", str(path), *output, "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    return done.returncode, done.stderr, done.stdout


@pytest.fixture
async def media(tmp_path_factory: pytest.TempPathFactory) -> Media:
    media = Media(tmp_path_factory.getbasetemp().parent / "emulator-cache")
    await media.prepare()
    return media


async def test_a_signed_format_is_padded_to_its_size_and_playable(media: Media, tmp_path: Path) -> None:
    video = Video("abcdefghijk", "t", "c", heights=(144, 360), size=300_000)
    formats = await media.itags(video)

    assert set(formats) == {160, 134, 140, 18}
    assert {itag: blob.size for itag, blob in formats.items() if itag != 140} == {
        160: 300_000,
        134: 300_000,
        18: 300_000,
    }
    for itag, blob in formats.items():
        path = tmp_path / f"{itag}.mp4"
        path.write_bytes(blob.read(0, blob.size))
        assert decode(path, "-f", "null")[:2] == (0, b"")
        assert video.id.encode() in path.read_bytes()


async def test_clips_are_small_and_cached(media: Media, tmp_path: Path) -> None:
    formats = await media.itags(Video("small-films", "t", "c", heights=HEIGHTS))
    assert all(5_000 < blob.size < 300_000 for blob in formats.values())

    again = Media(tmp_path / "new")
    await again.prepare()
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "new").glob("*/*")}
    third = Media(tmp_path / "new")
    await third.prepare()
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "new").glob("*/*")} == made


async def test_thumbnails_are_images_that_contain_the_video_id(media: Media, tmp_path: Path) -> None:
    for ext in ("jpg", "webp"):
        data = media.thumbnail("abcdefghijk", "maxresdefault", ext)
        assert b"abcdefghijk" in data
        path = tmp_path / f"picture.{ext}"
        path.write_bytes(data)
        status, errors, pixels = decode(path, "-f", "rawvideo", "-pix_fmt", "gray")
        assert (status, errors, len(pixels)) == (0, b"", 1280 * 720)
