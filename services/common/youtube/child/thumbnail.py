"""Download the thumbnail as JPEG: the first size that exists, in SPEC's priority."""

from enum import Enum
from pathlib import Path
from typing import Any

from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import HTTPError, TransportError

SIZES = ("maxresdefault", "sddefault", "hqdefault", "mqdefault", "default")  # SPEC: Thumbnail Priority
MAX_BYTES = 20 * 1024**2
_JPEG = b"\xff\xd8\xff"
_TRIES = 3
_NOT_THERE = (404, 410)


class Found(Enum):
    SAVED = "saved"
    ABSENT = "absent"  # no size exists
    FAILED = "failed"  # it may exist


def fetch_thumbnail(ydl: Any, video_id: str, target: Path) -> Found:
    """Save the best thumbnail. A size that exists but fails ends the search, because a smaller one would be kept
    permanently."""
    if target.exists():
        return Found.SAVED  # from an earlier attempt
    for size in SIZES:
        found = _fetch(ydl, f"https://i.ytimg.com/vi/{video_id}/{size}.jpg", target)
        if found is not Found.ABSENT:
            return found
    return Found.ABSENT


def _fetch(ydl: Any, url: str, target: Path) -> Found:
    for number in range(1, _TRIES + 1):
        try:
            with ydl.urlopen(Request(url)) as answer:
                picture = answer.read(MAX_BYTES + 1)
        except HTTPError as error:
            if error.status in _NOT_THERE:
                return Found.ABSENT
            ydl.report_warning(f"thumbnail {url}: {error} (try {number})")
        except TransportError as error:
            ydl.report_warning(f"thumbnail {url}: {error} (try {number})")
        else:
            if not picture.startswith(_JPEG) or len(picture) > MAX_BYTES:
                ydl.report_warning(f"thumbnail {url}: {_described(picture)}, not a JPEG of at most {MAX_BYTES} bytes")
                return Found.ABSENT
            fresh = target.with_name(f".{target.name}")
            fresh.write_bytes(picture)
            fresh.replace(target)
            return Found.SAVED
    return Found.FAILED


def _described(picture: bytes) -> str:
    return f"more than {MAX_BYTES} bytes" if len(picture) > MAX_BYTES else f"{len(picture)} bytes of something else"
