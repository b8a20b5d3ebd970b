"""Qualities: the streams that yt-dlp selects for them, and which selectors are valid."""

from typing import Any

import pytest
import yt_dlp

from services.common.models import JobOptions
from services.common.youtube.quality import NAMED, valid_quality
from services.download.formats import choose


def video(id: str, height: int, vcodec: str, ext: str, *, width: int = 0, acodec: str = "none", fps: int = 30) -> Any:
    return {
        "format_id": id,
        "url": f"https://example.com/{id}",
        "height": height,
        "width": width or height * 16 // 9,
        "vcodec": vcodec,
        "acodec": acodec,
        "ext": ext,
        "fps": fps,
        "tbr": height,
    }


def audio(id: str, acodec: str, ext: str, abr: int) -> Any:
    return {
        "format_id": id,
        "url": f"https://example.com/{id}",
        "vcodec": "none",
        "acodec": acodec,
        "ext": ext,
        "abr": abr,
    }


YOUTUBE = [
    audio("140", "mp4a.40.2", "m4a", 129),
    audio("251", "opus", "webm", 135),
    video("18", 360, "avc1.42001E", "mp4", acodec="mp4a.40.2"),
    video("134", 360, "avc1.4d401e", "mp4"),
    video("243", 360, "vp9", "webm"),
    video("136", 720, "avc1.4d401f", "mp4"),
    video("298", 720, "avc1.4d4020", "mp4", fps=60),
    video("247", 720, "vp9", "webm"),
    video("137", 1080, "avc1.640028", "mp4"),
    video("248", 1080, "vp9", "webm"),
    video("399", 1080, "av01.0.08M.08", "mp4"),
    video("271", 1440, "vp9", "webm"),
    video("313", 2160, "vp9", "webm"),
]
PORTRAIT = [
    audio("140", "mp4a.40.2", "m4a", 129),
    video("1080", 1920, "avc1.640028", "mp4", width=1080),
    video("720", 1280, "avc1.4d401f", "mp4", width=720),
]


def chosen(quality: str, formats: list[Any]) -> str:
    choice = choose(quality)
    options = {"format": choice.selector, "format_sort": list(choice.sort), "quiet": True, "simulate": True}
    with yt_dlp.YoutubeDL(options) as ydl:
        found = ydl.process_ie_result(
            {
                "id": "dQw4w9WgXcQ",
                "title": "x",
                "extractor": "youtube",
                "extractor_key": "Youtube",
                "webpage_url": "https://example.com/",
                "formats": [dict(one) for one in formats],
            },
            download=False,
        )
    return str(found["format_id"])


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        ("best", "313+140"),
        ("2160p", "313+140"),
        ("1440p", "271+140"),
        ("1080p", "137+140"),
        ("720p", "298+140"),
        ("480p", "134+140"),
        ("360p", "134+140"),
        ("144p", "134+140"),
        ("audio", "140"),
        ("18", "18"),
        ("bv[vcodec=vp9][height<=720]+ba[acodec=opus]", "247+251"),
    ],
)
def test_the_highest_resolution_is_chosen_then_the_most_compatible_codec(quality: str, expected: str) -> None:
    assert chosen(quality, YOUTUBE) == expected


def test_the_quality_of_a_portrait_video_is_its_shorter_side() -> None:
    assert chosen("1080p", PORTRAIT) == "1080+140"
    assert chosen("720p", PORTRAIT) == "720+140"


def test_a_muxed_stream_is_chosen_if_there_is_no_other() -> None:
    assert chosen("1080p", [video("18", 360, "avc1.42001E", "mp4", acodec="mp4a.40.2")]) == "18"


@pytest.mark.parametrize(
    "quality",
    [*sorted(NAMED), JobOptions().quality, "bv*+ba/b", "137+140", "best[height<=?720]", "bv*[vcodec^=avc1]+ba"],
)
def test_valid_qualities_are_accepted(quality: str) -> None:
    assert valid_quality(quality)


@pytest.mark.parametrize(
    "quality", ["", " ", "-", "all", "1080", "137,140", "(137,136)+140", "best[", "bv*+", "best[height<", "+ba"]
)
def test_invalid_qualities_are_refused(quality: str) -> None:
    assert not valid_quality(quality)
