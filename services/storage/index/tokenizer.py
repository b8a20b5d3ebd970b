"""Text normalization for the index, and the syntax of search queries. Pure.

FTS5's unicode61 tokenizer takes a run of letters as one word. Chinese, Japanese, Korean, Thai and similar scripts are
written without spaces. There each letter (with its marks) becomes a word of its own, by an invisible separator, and a
search term becomes a phrase of letters, which also matches in the middle of a sentence.
"""

import re
import unicodedata
from dataclasses import dataclass

TOKENIZER = "unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"  # marks are parts of words: Hindi, Thai
MARK, UNMARK = "\x02", "\x03"  # around matches; normalized text does not contain them

_SEPARATOR = "\u200b"
_UNSPACED_SCRIPTS = (
    ("\u0e00", "\u0fff"),  # Thai, Lao, Tibetan
    ("\u1000", "\u109f"),  # Burmese
    ("\u1100", "\u11ff"),  # Korean
    ("\u1780", "\u17ff"),  # Khmer
    ("\u3005", "\u3007"),
    ("\u3040", "\u30ff"),  # Japanese
    ("\u31f0", "\u31ff"),
    ("\u3400", "\u4dbf"),  # Chinese characters
    ("\u4e00", "\u9fff"),
    ("\ua960", "\ua97f"),
    ("\uac00", "\ud7fb"),  # Korean
    ("\uf900", "\ufaff"),
    ("\U0001b000", "\U0001b16f"),
    ("\U00020000", "\U0003fffd"),
)
_INVISIBLE = re.compile(  # direction marks, joiners, tags, variation selectors, lone surrogates
    "[\xad\u0600-\u0605\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e01ef]"
)
_WHITESPACE = re.compile(r"(?:[^\S\n]|[\x00-\x08\x0e-\x1f\x7f-\x9f])+")
_QUOTES = str.maketrans("“”„«»", '"' * 5)
_TERM = re.compile(r'(?P<without>-)?(?:"(?P<phrase>[^"]*)"?(?P<open>\*)?|(?P<word>[^\s"]+))')


def _unspaced_letter() -> re.Pattern[str]:
    marks = "".join(
        chr(code)
        for first, last in _UNSPACED_SCRIPTS
        for code in range(ord(first), min(ord(last), 0xFFFF) + 1)
        if unicodedata.category(chr(code)).startswith("M")
    )
    letters = "".join(f"{first}-{last}" for first, last in _UNSPACED_SCRIPTS)
    return re.compile(f"([{letters}][{marks}]*)")


_UNSPACED_LETTER = _unspaced_letter()


def normalize(text: str) -> str:
    """Return `text` as it is indexed and searched: one encoding of each character, spaces for unprintable characters,
    unspaced scripts separated. Line breaks stay, so that lines can be counted."""
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
        text = _UNSPACED_LETTER.sub(f"{_SEPARATOR}\\1{_SEPARATOR}", text).replace(_SEPARATOR * 2, _SEPARATOR)
    return _WHITESPACE.sub(" ", text)


def displayable(text: str) -> str:
    """Return indexed text without separators."""
    return text.replace(_SEPARATOR, "")


@dataclass(frozen=True)
class TextQuery:
    """A search query: FTS5 phrases that must all match, and phrases that must not match."""

    phrases: tuple[str, ...]
    without: tuple[str, ...]

    def expression(self, *columns: str) -> str | None:
        """Return the MATCH expression for these columns (none: all columns); None when there is nothing to search."""
        return _match(self.phrases, " AND ", columns)

    def exclusion(self, *columns: str) -> str | None:
        """Return the same for the excluded phrases."""
        return _match(self.without, " OR ", columns)


def parse_query(text: str) -> TextQuery:
    """Parse `plain words`, `"a phrase"`, `begin*`, `-without`, `-"a phrase"`. Every text is a valid query; characters
    that are not part of a word are ignored."""
    phrases: list[str] = []
    without: list[str] = []
    for asked in _TERM.finditer(text.translate(_QUOTES)):
        word = asked["phrase"] if asked["word"] is None else asked["word"]
        begins = asked["open"] or word.endswith("*")
        meant = normalize(word).replace("\n", " ")
        if any(map(_is_word_character, meant)):
            (without if asked["without"] else phrases).append(f'"{meant}"{" *" if begins else ""}')
    return TextQuery(tuple(dict.fromkeys(phrases)), tuple(dict.fromkeys(without)))


def _is_word_character(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] in "LN" or category in {"Co", "Mn", "Mc"}


def _match(phrases: tuple[str, ...], joint: str, columns: tuple[str, ...]) -> str | None:
    if not phrases:
        return None
    joined = joint.join(phrases)
    return f"{{{' '.join(columns)}}} : ({joined})" if columns else joined
