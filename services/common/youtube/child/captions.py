"""Select caption tracks and download them as VTT. A failed caption does not fail the video."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yt_dlp.networking.exceptions import network_exceptions
from yt_dlp.utils import YoutubeDLError

_LANGUAGE = re.compile(r"[A-Za-z0-9_-]{1,32}")

Tracks = Mapping[str, Sequence[Mapping[str, Any]]]  # language -> the same track in several formats


def choose_track(language: str, manual: Tracks, automatic: Tracks) -> Mapping[str, Any] | None:
    """Return the VTT track for a language, manual before automatic; None when there is none.

    A language without region (`en`) also matches one with a region (`en-GB`), before automatic tracks.
    """
    regional = sorted(name for name in manual if name.startswith(f"{language}-")) if "-" not in language else []
    for tracks, names in ((manual, (language, *regional)), (automatic, (language, f"{language}-orig"))):
        for name in names:
            vtt = [track for track in tracks.get(name) or () if track.get("ext") == "vtt" and track.get("url")]
            if vtt:
                return vtt[-1]
    return None


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
