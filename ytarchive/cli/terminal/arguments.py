"""Rearrangement of a command line for the parser. Pure."""

import re
from collections.abc import Sequence

_ID = re.compile(r"-[A-Za-z0-9_-]{10}")  # one video id in 64 begins with a dash
_GLOBAL = {"--verbose", "-v", "--debug"}
_GLOBAL_WITH_VALUE = {"--config"}
_TAKE_IDS = {"download", "plan", "metadata"}
_TAKE_VALUE = {"--quality", "-q", "--output-dir", "-o", "--captions", "--batch", "--look-ups"}
OPTIONS = {
    "--quality",
    "--output-dir",
    "--captions",
    "--no-captions",
    "--metadata-only",
    "--force",
    "--batch",
    "--look-ups",
    "--json",
}


def arrange(words: Sequence[str]) -> list[str]:
    """Move global options to the front, and video ids that look like options behind `--`."""
    front, rest = _split_global(words)
    return front + (_move_ids(rest) if rest and rest[0] in _TAKE_IDS else rest)


def join_query(words: Sequence[str]) -> str:
    """Join the words of a search query. The quotes around phrases, which the shell removed, are restored."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if not any(map(str.isspace, word)) or '"' in word:
        return word
    return f'-"{word[1:]}"' if word.startswith("-") else f'"{word}"'


def wants_json(words: Sequence[str]) -> bool:
    before = words[: words.index("--")] if "--" in words else words
    return "--json" in before


def _split_global(words: Sequence[str]) -> tuple[list[str], list[str]]:
    front: list[str] = []
    rest: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "--":
            return front, [*rest, word, *queue]
        if word in _GLOBAL or word.startswith(tuple(f"{name}=" for name in _GLOBAL_WITH_VALUE)):
            front.append(word)
        elif word in _GLOBAL_WITH_VALUE:
            front += [word, *queue[:1]]
            queue = queue[1:]
        else:
            rest.append(word)
    return front, rest


def _move_ids(words: list[str]) -> list[str]:
    ids: list[str] = []
    kept: list[str] = []
    is_value = False  # of the option before it
    for place, word in enumerate(words):
        if word == "--":
            return [*kept, "--", *ids, *words[place + 1 :]]
        if not is_value and _ID.fullmatch(word) and word not in OPTIONS:
            ids.append(word)
        else:
            kept.append(word)
        is_value = not is_value and word in _TAKE_VALUE
    return [*kept, "--", *ids] if ids else kept
