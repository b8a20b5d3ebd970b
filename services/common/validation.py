"""Validation of ids, storage paths (SPEC: Validation Rules) and texts, and the problems that pydantic finds, in plain
English. Pure, except validate_storage_path."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

VIDEO_ID_PATTERN = r"^[a-zA-Z0-9_-]{11}$"
PRIVATE_LISTS = {"WL": "Watch later", "LL": "Liked videos", "LM": "Liked music"}
"""Lists that everybody has under the same id, and that YouTube shows to their owner only."""
PLAYLIST_ID_PATTERN = r"^(PL[a-zA-Z0-9_-]{11}|(PL|UU|FL|RD|OL)[a-zA-Z0-9_-]{16,41})$"
ALBUM_ID_PATTERN = r"^MPREb_[a-zA-Z0-9_-]{11}$"  # of a page of YouTube Music, which leads to a playlist
LIST_ID_PATTERN = f"{PLAYLIST_ID_PATTERN}|^({'|'.join(PRIVATE_LISTS)})$|{ALBUM_ID_PATTERN}"  # whatever can be listed
CHANNEL_ID_PATTERN = r"^UC[a-zA-Z0-9_-]{22}$"


def validate_video_id(video_id: str) -> bool:
    return _whole(VIDEO_ID_PATTERN, video_id)


def validate_playlist_id(playlist_id: str) -> bool:
    return _whole(PLAYLIST_ID_PATTERN, playlist_id)


def validate_album_id(album_id: str) -> bool:
    return _whole(ALBUM_ID_PATTERN, album_id)


def validate_channel_id(channel_id: str) -> bool:
    return _whole(CHANNEL_ID_PATTERN, channel_id)


def validate_storage_path(path: str) -> bool:
    """Return whether a path is absolute or starts with `~/`, has no `..`, and its nearest existing folder is
    writable."""
    if "\0" in path or not (path.startswith(("/", "~/"))) or ".." in Path(path).parts:
        return False
    folder = Path(path).expanduser()
    try:
        while not folder.exists():
            folder = folder.parent
        return folder.is_dir() and os.access(folder, os.W_OK)
    except OSError:  # a name that is too long, a folder without permission
        return False


def decode_utf8(data: bytes) -> str:
    """Decode a file that a person wrote, with or without a byte order mark. Raises ValueError with the remedy."""
    if b"\0" in data:
        raise ValueError("it is not UTF-8 but probably UTF-16: save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {data[error.start]:#x} at {error.start}): save it as UTF-8") from error


# --- problems of pydantic ---------------------------------------------------------------------------------------------

_CHOICE = frozenset({"enum", "literal_error"})
_LONGEST_VALUE = 40  # characters
_QUOTED = re.compile(r"'([^']*)'")
_TEXTS = {
    "missing": "is missing",
    "extra_forbidden": "is not known",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be a text",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "string_pattern_mismatch": "has the wrong form",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    **dict.fromkeys(
        ("datetime_type", "datetime_parsing", "datetime_from_date_parsing", "timezone_aware"),
        "must be a time with its zone, such as 2026-01-31T12:00:00Z",
    ),
    **dict.fromkeys(
        ("date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact"),
        "must be a date, such as 2026-01-31",
    ),
}


class Problem(NamedTuple):
    """`field` is a path such as `options.quality`; empty when the whole value is invalid. `text` follows a colon."""

    field: str
    text: str


def problems_of(error: ValidationError) -> list[Problem]:
    """Return what is wrong, one problem per value."""
    found: dict[str, Problem] = {}
    details = error.errors(include_url=False)
    for one in details:
        branches = [other for other in details if _is_choice_of_same_value(one, other)]
        place = one["loc"][:-1] if len(branches) > 1 else one["loc"]
        field = ".".join(str(part) for part in place)
        found.setdefault(field, Problem(field, _choices(branches) if branches else problem_text(one)))
    return list(found.values())


def problem_text(problem: ErrorDetails) -> str:
    """Return the problem in plain English."""
    if problem["type"] in _CHOICE:
        return _choices([problem])
    text = _TEXTS.get(problem["type"])
    if text is None:
        return problem["msg"].removeprefix("Value error, ")
    limits = problem.get("ctx", {}).items()
    return text.format(**{name: f"{value:g}" if isinstance(value, float) else value for name, value in limits})


def _is_choice_of_same_value(one: ErrorDetails, other: ErrorDetails) -> bool:
    """Return whether both are branches of one union of choices, or are the same problem."""
    if not {one["type"], other["type"]} <= _CHOICE:
        return False
    return one is other or (one["loc"][:-1] == other["loc"][:-1] and one["input"] is other["input"])


def _named(expected: str) -> list[str]:
    """Return the choices of pydantic's text: texts are quoted, as in `'a', 'b' or 'c'`, numbers are not."""
    return _QUOTED.findall(expected) or re.split(", | or ", expected)


def _choices(branches: Iterable[Any]) -> str:
    branches = list(branches)
    names = dict.fromkeys(name for one in branches for name in _named(one["ctx"]["expected"]))
    value = ascii(branches[0]["input"])
    shown = value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}…"
    return f"{shown} is not one of {', '.join(names)}"


def _whole(pattern: str, text: str) -> bool:
    # fullmatch: `$` alone would let a trailing newline pass
    return re.fullmatch(pattern, text) is not None
