"""From FTS5's marked text to passages with match positions. Pure."""

import re
from collections.abc import Iterator

from pydantic import BaseModel

from services.storage.index.tokenizer import MARK, UNMARK, displayable

_MARKS = re.compile(f"([{MARK}{UNMARK}])")


class Passage(BaseModel):
    """`matches`: [from, to) of the matches in `text`, in characters (Unicode code points)."""

    text: str
    matches: list[tuple[int, int]]


def highlight(marked: str) -> Passage:
    """Return marked text as one line."""
    text, matches, begin = "", list[tuple[int, int]](), 0
    for part in _MARKS.split(" ".join(displayable(marked).split())):
        if part == MARK:
            begin = len(text)
        elif part == UNMARK:
            matches.append((begin, len(text)))
        else:
            text += part
    return Passage(text=text, matches=matches)


def highlight_names(marked: str) -> Passage:
    """Return the matching names of a video that has one name per line."""
    return highlight(" / ".join(line for line in marked.split("\n") if MARK in line))


def highlight_lines(marked: str) -> Iterator[tuple[int, Passage]]:
    """Yield the lines with matches and their numbers. A phrase that continues in the next line includes it."""
    lines = iter(enumerate(marked.split("\n")))
    for number, line in lines:
        text = line
        while text.count(MARK) > text.count(UNMARK) and (further := next(lines, None)) is not None:
            text = f"{text} {further[1]}"
        if MARK in text:
            yield number, highlight(text)
