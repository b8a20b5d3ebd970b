"""What an extraction says about better versions of a video: what is offered, what is missing, what is better than what
is archived. Pure."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from services.common.domain.lengths import is_shorter
from services.common.domain.videos import Look

_MOST, _LONGEST = 5, 300  # warnings that are kept, and characters of one
_FORMATS = re.compile(
    r"formats? (?:may be missing|(?:have been )?skipped|require a GVS PO Token)|skipped as they are missing a URL",
    re.IGNORECASE,
)
_CAPTIONS = re.compile(r"missing subtitles languages because a PO token was not provided")

Info = Mapping[str, Any]


def resolution_of(stream: Info) -> int | None:
    """Return the lines of a picture by its shorter side, None without a picture."""
    sides = [int(side) for side in (stream.get("width"), stream.get("height")) if side]
    return min(sides, default=None) if stream.get("vcodec") != "none" else None


def offered(info: Info) -> int | None:
    """Return the best resolution among all streams."""
    return max((lines for stream in info.get("formats") or () if (lines := resolution_of(stream))), default=None)


def missing_formats(warnings: Iterable[str]) -> tuple[str, ...]:
    """Return the warnings that streams could not be had: an unsolved challenge, SABR, a PO token, DRM."""
    found = dict.fromkeys(warning[:_LONGEST] for warning in warnings if _FORMATS.search(warning))
    return tuple(found)[:_MOST]


def captions_left_out(warnings: Iterable[str]) -> bool:
    """Return whether yt-dlp left caption tracks out that it would need a PO token for."""
    return any(_CAPTIONS.search(warning) for warning in warnings)


def stream_ended_at(info: Info) -> datetime | None:
    """Return when the live stream ended whose recording this is; None for any other video."""
    started = info.get("release_timestamp")
    if info.get("live_status") != "was_live" or not started:
        return None
    return datetime.fromtimestamp(started + (info.get("duration") or 0), UTC)


def is_better(look: Look, info: Info) -> tuple[bool, bool]:
    """Return whether the selected streams have more lines than what is archived, and whether they are longer; one
    with fewer lines is no better."""
    lines, held = resolution_of(info) or 0, look.resolution or 0
    seconds, before = info.get("duration") or 0, look.duration_seconds
    longer = before is not None and is_shorter(before, seconds) and lines >= held
    return 0 < held < lines, longer
