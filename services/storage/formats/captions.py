"""The lines of a WebVTT file with their times. Pure.

YouTube's automatic captions roll: each line is shown two or three times, first word by word (`<00:00:01.200><c>
a</c>`), then as the upper line of the next cue. A line counts once, at its first appearance.
"""

import html
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import webvtt
from webvtt.errors import MalformedCaptionError, MalformedFileError

_TOGETHER = 100  # milliseconds between two cues of one rolling text


class CaptionsUnreadable(ValueError):
    """The file is not valid WebVTT."""


@dataclass(frozen=True)
class CaptionLine:
    """One line of captions. `start` in milliseconds."""

    start: int
    text: str


@dataclass(frozen=True)
class Cue:
    """The lines that are shown from `start` to `end` (milliseconds), without markup; none is empty."""

    start: int
    end: int
    lines: tuple[str, ...]


def parse_vtt(text: str) -> list[CaptionLine]:
    """Return every line once, in the order of time. Raises CaptionsUnreadable."""
    return list(unroll(sorted(parse_cues(text), key=lambda cue: cue.start)))


def parse_cues(text: str) -> Iterator[Cue]:
    """Yield the cues that have text. Raises CaptionsUnreadable."""
    try:
        found = webvtt.from_string(text.removeprefix("\ufeff"))
    except (MalformedFileError, MalformedCaptionError) as error:
        raise CaptionsUnreadable(str(error)) from error
    for caption in found.captions:
        lines = (" ".join(html.unescape(line).split()) for line in caption.text.splitlines())
        shown = tuple(line for line in lines if line)
        if shown:
            yield Cue(caption.start_time.in_milliseconds(), caption.end_time.in_milliseconds(), shown)


def unroll(shown: Iterable[Cue]) -> Iterator[CaptionLine]:
    """Yield the lines that each cue adds to the previous one."""
    before: tuple[str, ...] = ()
    end = 0
    for cue in shown:
        seen = _overlap(before, cue.lines) if cue.start <= end + _TOGETHER else 0
        yield from (CaptionLine(cue.start, line) for line in cue.lines[seen:])
        before, end = cue.lines, max(end, cue.end)


def _overlap(before: tuple[str, ...], now: tuple[str, ...]) -> int:
    """Return how many lines at the head of `now` are the tail of `before`."""
    for size in range(min(len(before), len(now)), 0, -1):
        if before[-size:] == now[:size]:
            return size
    return 0
