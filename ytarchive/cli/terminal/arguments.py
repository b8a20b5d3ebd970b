"""Rearrangement of a command line for the parser. Pure."""

import re
from collections.abc import Sequence

_ID = re.compile(r"-[A-Za-z0-9_-]{10}")  # one video id in 64 begins with a dash
_GLOBAL = {"--verbose", "-v", "--debug"}
_GLOBAL_WITH_VALUE = {"--config"}
TAKE_IDS = {
    ("download",), ("plan",), ("metadata",), ("storage", "show"), ("storage", "history"), ("storage", "verify"),
}  # fmt: skip
_TAKE_VALUE = {
    "--quality", "-q", "--output-dir", "-o", "--captions", "--batch", "--look-ups", "--root", "--limit", "--offset",
}  # fmt: skip
_OPTIONS = {"--no-repair"}  # of these commands, that have the form of an id


def arrange(words: Sequence[str]) -> list[str]:
    """Move global options to the front, and video ids that look like options behind `--`."""
    front, rest = _split_global(words)
    for command in TAKE_IDS:
        if tuple(rest[: len(command)]) == command:
            return [*front, *command, *_move_ids(rest[len(command) :])]
    return front + rest


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
        if not is_value and _ID.fullmatch(word) and word not in _OPTIONS:
            ids.append(word)
        else:
            kept.append(word)
        is_value = not is_value and word in _TAKE_VALUE
    return [*kept, "--", *ids] if ids else kept
