"""Tokenizer and query syntax, on a real FTS5 index; highlighting of matches."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from services.storage.index.highlight import Passage, highlight, highlight_lines, highlight_names
from services.storage.index.tokenizer import MARK, TOKENIZER, UNMARK, TextQuery, displayable, normalize, parse_query


@pytest.fixture(scope="module")
def index() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(f'CREATE VIRTUAL TABLE texts USING fts5 (title, captions, tokenize="{TOKENIZER}")')
        yield db


def finds(index: sqlite3.Connection, typed: str, text: str, *columns: str) -> bool:
    index.execute("DELETE FROM texts")
    index.execute("INSERT INTO texts VALUES (?, '')", (normalize(text),))
    wanted = parse_query(typed).expression(*columns)
    query = "SELECT count(*) FROM texts WHERE texts MATCH ?"
    return wanted is not None and index.execute(query, (wanted,)).fetchone()[0] == 1


@pytest.mark.parametrize(
    ("typed", "phrases", "without"),
    [
        ("plain words", ['"plain"', '"words"'], []),
        ('"a phrase"', ['"a phrase"'], []),
        ('open "a phrase', ['"open"', '"a phrase"'], []),
        ("“curly quotes”", ['"curly quotes"'], []),
        ("begin*", ['"begin*" *'], []),
        ('"several words"*', ['"several words" *'], []),
        ("this -that", ['"this"'], ['"that"']),
        ('-"not this" -nor*', [], ['"not this"', '"nor*" *']),
        ("well-known", ['"well-known"'], []),
        ("twice twice", ['"twice"'], []),
        ('stuck"together"', ['"stuck"', '"together"'], []),
        ("a OR b NEAR(c) title:d ^e {f}", ['"a"', '"OR"', '"b"', '"NEAR(c)"', '"title:d"', '"^e"', '"{f}"'], []),
        ("nul\0 \ud800lone \x02mark", ['"nul "', '"lone"', '" mark"'], []),
        ("ＦＵＬＬ width", ['"FULL"', '"width"'], []),  # noqa: RUF001 - under test
        ('! - "" -"" * -* "*" ❤️', [], []),
        ("", [], []),
    ],
)
def test_a_search_text_is_parsed_to_phrases_and_exclusions(typed: str, phrases: list[str], without: list[str]) -> None:
    assert parse_query(typed) == TextQuery(tuple(phrases), tuple(without))


def test_a_query_is_converted_to_fts5_expressions() -> None:
    query = parse_query("a b -c -d")
    assert query.expression() == '"a" AND "b"'
    assert query.exclusion("title", "channel") == '{title channel} : ("c" OR "d")'
    assert parse_query("-c").expression() is None
    assert parse_query("a").exclusion() is None


@pytest.mark.parametrize(
    ("typed", "text", "found"),
    [
        ("uberraschung", "Große Überraschung", True),
        ("Überraschung", "uberraschung", True),
        ("cafe\u0301", "Café", True),
        ("rain fox", "The fox. In the RAIN.", True),
        ("rain dog", "The fox in the rain", False),
        ('"in the"', "the fox in rain", False),
        ("fo*", "The fox", True),
        ("fo", "The fox", False),
        ("東京", "夜の東京タワー", True),
        ("京タ", "夜の東京タワー", True),
        ("京東", "夜の東京タワー", False),
        ("iPhone15発売", "新型iPhone15発売中", True),
        ("ﾀﾜｰ", "東京タワー", True),  # half-width letters
        ("서울", "서울에서 만나요", True),
        ("ไทย", "ภาษาไทยง่าย", True),
        ("ที่", "ท", False),
        ("गाना", "हिन्दी गाना", True),
        ("गीना", "हिन्दी गाना", False),
        ("c++", "C++ for all", True),
        ("don't", "I know, don't ask", True),
        ("love", "❤️love", True),
        ("zero\u200bwidth", "zerowidth", True),
    ],
)
def test_which_search_texts_match_which_texts(index: sqlite3.Connection, typed: str, text: str, found: bool) -> None:
    assert finds(index, typed, text) is found


ANYTHING = st.text(st.characters(), max_size=200)  # including lone surrogates
SIGNS = st.text(st.sampled_from("\"*-+^(){}:,.\\'\0 \x02\x03ab東"), max_size=40)
LETTERS = st.text(
    st.one_of(
        st.characters(min_codepoint=0x20, max_codepoint=0x17F, exclude_categories=["Cc"]),
        st.characters(min_codepoint=0x3041, max_codepoint=0x3093),
        st.characters(min_codepoint=0x4E00, max_codepoint=0x4FFF),
        st.characters(min_codepoint=0xE01, max_codepoint=0xE2E),
        st.characters(min_codepoint=0x400, max_codepoint=0x44F),
    ),
    min_size=1,
    max_size=40,
)
fixture_settings = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@fixture_settings
@given(typed=ANYTHING | SIGNS, text=ANYTHING)
def test_no_search_text_is_an_error(index: sqlite3.Connection, typed: str, text: str) -> None:
    for columns in ([], ["title"], ["title", "captions"]):
        finds(index, typed, text, *columns)
    if (unwanted := parse_query(typed).exclusion("title")) is not None:
        index.execute("SELECT count(*) FROM texts WHERE texts MATCH ?", (unwanted,)).fetchone()


@fixture_settings
@given(text=LETTERS)
def test_a_text_is_found_by_its_own_words(index: sqlite3.Connection, text: str) -> None:
    typed = '"' + text.replace('"', " ").translate({0xAB: " ", 0xBB: " "}) + '"'
    assume(parse_query(typed).phrases)
    assert finds(index, typed, text)


@fixture_settings
@given(before=LETTERS, word=st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x4FFF), min_size=1, max_size=5), after=LETTERS)  # fmt: skip  # noqa: E501 - one property in a line
def test_a_chinese_word_is_found_within_any_text(index: sqlite3.Connection, before: str, word: str, after: str) -> None:
    assert finds(index, word, before + word + after)


@fixture_settings
@given(text=ANYTHING)
def test_normalizing_removes_control_marks_and_keeps_the_number_of_lines(text: str) -> None:
    kept = normalize(text)
    assert not {MARK, UNMARK, "\0"} & set(kept)
    assert kept.count("\n") == text.count("\n")
    kept.encode()  # raises an error for lone surrogates
    assert normalize(displayable(kept)) == kept


# --- highlighting -------------------------------------------------------------------------------------------------


def marked(text: str) -> str:
    return text.replace("[", MARK).replace("]", UNMARK)


def test_a_passage_contains_the_positions_of_its_matches() -> None:
    assert highlight(marked("a [b] c\n[d e]")) == Passage(text="a b c d e", matches=[(2, 3), (6, 9)])
    assert highlight(marked("\u200b東[\u200b京\u200b]都")) == Passage(text="東京都", matches=[(1, 2)])
    assert highlight("") == Passage(text="", matches=[])


def test_only_matching_names_are_highlighted() -> None:
    assert highlight_names(marked("old [name]\nnew title")).text == "old name"
    assert highlight_names(marked("old [name]\nnew [name]")).text == "old name / new name"


def test_matching_caption_lines_are_highlighted() -> None:
    text = marked("nothing\n[fox] and [fox]\n[quick\nbrown] fox\nend")
    assert list(highlight_lines(text)) == [
        (1, Passage(text="fox and fox", matches=[(0, 3), (8, 11)])),
        (2, Passage(text="quick brown fox", matches=[(0, 11)])),
    ]
