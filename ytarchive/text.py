"""Text for terminals: upstream text without control characters, and formatted numbers and times. Pure."""

import re
import unicodedata
from datetime import datetime

LONGEST = 200  # characters of one text
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MARKS = 4  # combining marks per character; more would overlap other lines
_INVISIBLE = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")  # blank, but not white space
_DROPPED = {"Cf"}  # bidi overrides and isolates, zero-width characters, tags
_REPLACED = {"Cs", "Co", "Cn"}  # lone surrogates, private use, not (yet) a character
_BLANK = {"Zs", "Zl", "Zp"}


def safe_text(text: object, longest: int = LONGEST) -> str:
    """Return one line without control characters, escape codes, bidi controls or invisible characters, of at most
    `longest` characters.

    Blanks and line breaks become one space, other control characters their visible symbol (ESC becomes ␛). Characters
    that only change the display of their neighbours are removed.
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
        return _control_symbol(char)
    if category in _DROPPED or char in _INVISIBLE:
        return ""
    if category in _REPLACED:
        return "\ufffd"
    return " " if category in _BLANK else char


def _control_symbol(char: str) -> str:
    """Return U+2400 … for C0 and DEL; C1 has no symbols."""
    if char == "\x7f":
        return "\u2421"
    return chr(0x2400 + ord(char)) if char < "\x20" else "\ufffd"


def size(amount: float) -> str:
    """Format an amount of bytes: `1.4 MiB`; bytes without decimals."""
    value = float(amount)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def span(seconds: float) -> str:
    """Format a duration: `7.3 s`, `4:05`, `1:02:03`, `3 d 4 h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    if whole < 86_400:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def clock(seconds: float) -> str:
    """Format a position in a video as players do: `0:07`, `12:34`, `1:02:03`."""
    whole = int(seconds)
    hours = f"{whole // 3600}:{whole // 60 % 60:02d}" if whole >= 3600 else f"{whole // 60}"
    return f"{hours}:{whole % 60:02d}"


def moment(at: datetime, now: datetime) -> str:
    """Format a local time, with the date unless it is today."""
    local, today = at.astimezone(), now.astimezone()
    return f"{local:%H:%M:%S}" if local.date() == today.date() else f"{local:%Y-%m-%d %H:%M}"


def short_id(job_id: str) -> str:
    """Return the first part of a job id, which commands accept; ids with a name, such as re-checks, in full."""
    text = safe_text(job_id)
    return text[:8] if _UUID.fullmatch(text) else text


def count(number: int, noun: str) -> str:
    """Format a number with a noun: `1 video`, `2 videos`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
