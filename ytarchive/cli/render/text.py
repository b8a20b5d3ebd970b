"""Text for a terminal: what comes from upstream made harmless, and numbers as people read them. Pure."""

import re
import unicodedata
from datetime import datetime

LONGEST = 200  # characters of one text
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MARKS = 4  # combining marks on one character; what comes on top only smears over other lines
_INVISIBLE = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")  # blank, and yet no white space
_DROPPED = {"Cf"}  # bidi overrides and isolates, zero-width characters, tags
_REPLACED = {"Cs", "Co", "Cn"}  # lone surrogates, private use, not (yet) a character
_BLANK = {"Zs", "Zl", "Zp"}


def safe_text(text: object, longest: int = LONGEST) -> str:
    """One line without control characters, escape codes, bidi controls or invisible characters; at most `longest` long.

    Blanks and line breaks become one space; other control characters their picture (ESC is ␛), so that one can see
    that something was there; what would only change how its neighbours are shown is dropped.
    """
    shown: list[str] = []
    marks = 0
    for char in str(text)[: longest * 20]:
        char = _harmless(char)
        marks = marks + 1 if unicodedata.category(char[:1] or "x").startswith("M") else 0
        if char and marks <= _MARKS:
            shown.append(char)
    line = " ".join("".join(shown).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def _harmless(char: str) -> str:
    if char in "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85":
        return " "
    category = unicodedata.category(char)
    if category == "Cc":
        return _picture(char)
    if category in _DROPPED or char in _INVISIBLE:
        return ""
    if category in _REPLACED:
        return "\ufffd"
    return " " if category in _BLANK else char


def _picture(char: str) -> str:
    """U+2400 … for C0 and DEL; C1 has no pictures."""
    if char == "\x7f":
        return "\u2421"
    return chr(0x2400 + ord(char)) if char < "\x20" else "\ufffd"


def size(amount: float) -> str:
    """`1.4 MiB`; bytes without decimals."""
    value = float(amount)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def span(seconds: float) -> str:
    """`7.3 s`, `4:05`, `1:02:03`, `3 d 4 h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    if whole < 86_400:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def clock(seconds: float) -> str:
    """A place in a film, as players show it: `0:07`, `12:34`, `1:02:03`."""
    whole = int(seconds)
    hours = f"{whole // 3600}:{whole // 60 % 60:02d}" if whole >= 3600 else f"{whole // 60}"
    return f"{hours}:{whole % 60:02d}"


def moment(at: datetime, now: datetime) -> str:
    """Local time; with the date when that is not today."""
    local, today = at.astimezone(), now.astimezone()
    return f"{local:%H:%M:%S}" if local.date() == today.date() else f"{local:%Y-%m-%d %H:%M}"


def short_id(job_id: str) -> str:
    """The beginning of a job's id, as commands take it; those that have a name, as re-checks do, as a whole."""
    text = safe_text(job_id)
    return text[:8] if _UUID.fullmatch(text) else text


def count(number: int, noun: str) -> str:
    """`1 video`, `2 videos`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
