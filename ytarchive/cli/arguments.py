"""The words of a command line, put where the parser expects them. Pure."""

import re
from collections.abc import Sequence

_ID = re.compile(r"-[A-Za-z0-9_-]{10}")  # one in 64 video ids begins with a dash
_ANYWHERE = {"--verbose", "-v", "--debug"}
_ANYWHERE_WITH_VALUE = {"--config"}
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
    """Global options to the front, wherever they stand; video ids that look like options behind `--`."""
    front, rest = _hoisted(words)
    return front + (_ids_last(rest) if rest and rest[0] in _TAKE_IDS else rest)


def as_typed(words: Sequence[str]) -> str:
    """Words of a search as one text: the shell took the quotes of what is several words, here they are again."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if not any(map(str.isspace, word)) or '"' in word:
        return word
    return f'-"{word[1:]}"' if word.startswith("-") else f'"{word}"'


def wants_json(words: Sequence[str]) -> bool:
    before = words[: words.index("--")] if "--" in words else words
    return "--json" in before


def _hoisted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    front: list[str] = []
    rest: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "--":
            return front, [*rest, word, *queue]
        if word in _ANYWHERE or word.startswith(tuple(f"{name}=" for name in _ANYWHERE_WITH_VALUE)):
            front.append(word)
        elif word in _ANYWHERE_WITH_VALUE:
            front += [word, *queue[:1]]
            queue = queue[1:]
        else:
            rest.append(word)
    return front, rest


def _ids_last(words: list[str]) -> list[str]:
    ids: list[str] = []
    kept: list[str] = []
    taken = False  # this word is the value of the option before it
    for place, word in enumerate(words):
        if word == "--":
            return [*kept, "--", *ids, *words[place + 1 :]]
        if not taken and _ID.fullmatch(word) and word not in OPTIONS:
            ids.append(word)
        else:
            kept.append(word)
        taken = not taken and word in _TAKE_VALUE
    return [*kept, "--", *ids] if ids else kept
