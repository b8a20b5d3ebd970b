"""Qualities: the streams that yt-dlp selects for them, and which selectors are valid."""

from typing import Any

import pytest
import yt_dlp

from services.common.models import JobOptions
from services.common.settings.sections import Download
from services.common.youtube.child.fetch import select
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


def chosen(quality: str, formats: list[Any], **settings: str) -> str:
    raw = {
        "id": "dQw4w9WgXcQ",
        "title": "x",
        "extractor": "youtube",
        "extractor_key": "Youtube",
        "webpage_url": "https://example.com/",
        "formats": formats,
    }
    with yt_dlp.YoutubeDL({"quiet": True, "simulate": True}) as ydl:
        return str(select(ydl, raw, choose(quality, Download.model_validate(settings)))["format_id"])


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


def spoken(stream: Any, language: str, preference: int) -> Any:
    """`preference`: 10 marks the original, 5 the default, -1 any other."""
    return {**stream, "language": language, "language_preference": preference}


KOREAN = [
    spoken(audio("140-0", "mp4a.40.2", "m4a", 129), "en", -1),
    spoken(audio("140-1", "mp4a.40.2", "m4a", 129), "ko", 10),
    video("135", 480, "avc1.4d401f", "mp4"),
    spoken(video("96-0", 1080, "avc1.640028", "mp4", acodec="mp4a.40.2"), "en", -1),
]
SMOOTH_DUB = [
    spoken(video("300-1", 1080, "avc1.640028", "mp4", acodec="mp4a.40.2", fps=30), "ko", 10),
    spoken(video("301-0", 1080, "avc1.640028", "mp4", acodec="mp4a.40.2", fps=60), "en", -1),
]
UPSCALED = [
    audio("140", "mp4a.40.2", "m4a", 129),
    video("135", 480, "avc1.4d401f", "mp4"),
    video("248-sr", 1080, "vp9", "webm"),
]


@pytest.mark.parametrize(
    ("formats", "quality", "settings", "expected"),
    [
        (KOREAN, "1080p", {}, "135+140-1"),
        (KOREAN, "audio", {}, "140-1"),
        (KOREAN, "1080p", {"audio_language": "en"}, "96-0"),
        (KOREAN, "1080p", {"audio_language": "de"}, "135+140-1"),
        (SMOOTH_DUB, "1080p", {}, "300-1"),
        (UPSCALED, "1080p", {}, "135+140"),
        (UPSCALED, "best", {}, "135+140"),
        (UPSCALED, "248-sr+140", {}, "248-sr+140"),
        ([UPSCALED[0], UPSCALED[2]], "best", {}, "248-sr+140"),
        (YOUTUBE, "1080p", {"video_codec": "av01"}, "399+140"),
        (YOUTUBE, "1080p", {"video_codec": "vp9", "audio_codec": "opus"}, "248+251"),
    ],
)
def test_the_uploaders_own_streams_come_before_dubbed_and_upscaled_ones(
    formats: list[Any], quality: str, settings: dict[str, str], expected: str
) -> None:
    assert chosen(quality, formats, **settings) == expected


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
