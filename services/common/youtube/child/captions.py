"""Select caption tracks and download them as VTT. A failed caption does not fail the video."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import langcodes
import webvtt
from langcodes.tag_parser import LanguageTagError
from webvtt.errors import MalformedCaptionError, MalformedFileError
from yt_dlp.networking.exceptions import network_exceptions
from yt_dlp.utils import YoutubeDLError

MAX_BYTES = 20 * 1024**2
_LANGUAGE = re.compile(r"[A-Za-z0-9_-]{1,32}~?")
_CLOSE = 10  # of langcodes.tag_distance: one language in two regions is at most this far apart, two scripts are further

Track = Mapping[str, Any]
Tracks = Mapping[str, Sequence[Track]]  # language -> the same track in several formats


def choose_track(language: str, manual: Tracks, automatic: Tracks) -> Track | None:
    """Return the VTT track that is closest to a language: one that people wrote before one that was recognised from
    speech; None when there is none.

    Tags are compared as languages (BCP 47): `en-US` finds `en`, `he` finds `iw`, `zh-Hans` finds `zh-CN`. A machine
    translation, which YouTube often refuses, is taken only for a language that ends with `~`, and last.
    """
    wanted = language.removesuffix("~")
    written = _usable(manual)
    recognised: dict[str, Track] = {}
    translated: dict[str, Track] = {}
    for name, track in _usable(automatic).items():
        target = translated if _is_translation(track) else recognised
        target[name.removesuffix("-orig")] = track
    choices = [written, recognised, *([translated] if language.endswith("~") else [])]
    return next((found for tracks in choices if (found := _closest(wanted, tracks)) is not None), None)


def _usable(tracks: Tracks) -> dict[str, Track]:
    found = {}
    for name, formats in tracks.items():
        vtt = [track for track in formats or () if track.get("ext") == "vtt" and track.get("url")]
        if vtt and name != "live_chat":
            found[name] = vtt[-1]
    return found


def _is_translation(track: Track) -> bool:
    return "tlang" in parse_qs(urlsplit(str(track["url"])).query)


def _closest(wanted: str, tracks: Mapping[str, Track]) -> Track | None:
    if wanted in tracks:
        return tracks[wanted]
    near = sorted((distance, name) for name in tracks if (distance := _distance(wanted, name)) <= _CLOSE)
    return tracks[near[0][1]] if near else None


def _distance(wanted: str, name: str) -> int:
    try:
        return langcodes.tag_distance(wanted, name)
    except LanguageTagError:
        return _CLOSE + 1


def valid_language(language: str) -> bool:
    """Return whether a language code can be part of a file name."""
    return _LANGUAGE.fullmatch(language) is not None


def fetch_caption(ydl: Any, info: Mapping[str, Any], track: Mapping[str, Any], target: Path) -> bool:
    """Download a track (one request). Return False, and add a warning, when it fails."""
    if target.exists():
        return True  # from an earlier attempt
    target.with_name(f"{target.name}.part").unlink(missing_ok=True)  # generated for each request: cannot be resumed
    wanted = {**track, "http_headers": info.get("http_headers")}
    try:
        ydl.dl(str(target), wanted, subtitle=True)
    except (YoutubeDLError, OSError, *network_exceptions) as error:
        ydl.report_warning(f"captions {target.stem}: {error}")
        return False
    return target.exists()


def problem_of(file: Path) -> str | None:
    """Return why a downloaded file is not a caption track; None when it is one."""
    if (size := file.stat().st_size) > MAX_BYTES:
        return f"{size} bytes, more than {MAX_BYTES}"
    try:
        webvtt.from_string(file.read_text("utf-8-sig"))
    except (MalformedFileError, MalformedCaptionError, UnicodeDecodeError) as error:
        return f"it is not WebVTT ({error})"
    return None
