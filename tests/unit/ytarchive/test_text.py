"""Safe texts for a terminal, and the formatting of sizes, durations and counts."""

import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ytarchive.text import count, moment, safe_text, short_id, size, span


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("plain title", "plain title"),
        ("a\x1b[31mred\x1b[0m", "a␛[31mred␛[0m"),
        ("\x1b]0;owned\x07", "␛]0;owned␇"),
        ("one\r\ntwo\tthree\x0bfour\x85five", "one two three four five"),
        ("back\x08space\x7f", "back␈space␡"),
        ("c1 \x9b31m", "c1 \ufffd31m"),
        ("\u202egpj.exe\u202c", "gpj.exe"),
        ("\u2066isolated\u2069 \u061c\u200e\u200f", "isolated"),
        ("zero\u200bwidth\u200d\u2060\ufeff", "zerowidth"),
        ("tag\U000e0041s", "tags"),
        ("line\u2028and\u2029paragraph", "line and paragraph"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        ("blank\u3164\u115fs", "blanks"),
        ("[bold red]not markup[/]", "[bold red]not markup[/]"),
        ("雨の日 🌧️ Überraschung", "雨の日 🌧️ Überraschung"),
        ("z" + "\u0301" * 40, "z" + "\u0301" * 4),
        ("", ""),
        ("\u202e\u200b", ""),
    ],
)
def test_safe_text_removes_or_replaces_control_characters(hostile: str, shown: str) -> None:
    assert safe_text(hostile) == shown


def test_safe_text_truncates_long_texts() -> None:
    assert safe_text("x" * 500) == "x" * 199 + "…"
    assert safe_text("word " * 10, 12) == "word word w…"
    assert safe_text("x" * 200) == "x" * 200


@given(st.text(max_size=400), st.integers(min_value=2, max_value=300))
def test_safe_text_is_one_line_of_bounded_length_without_control_characters(text: str, longest: int) -> None:
    shown = safe_text(text, longest)

    assert len(shown) <= longest
    assert {unicodedata.category(char) for char in shown}.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})
    assert shown == shown.strip()
    assert safe_text(shown, longest) == shown


@pytest.mark.parametrize(
    ("amount", "shown"), [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 * 1024**4, "5.0 TiB")]
)
def test_sizes_are_shown_in_binary_units(amount: int, shown: str) -> None:
    assert size(amount) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(1.25, "1.2 s"), (42.9, "42 s"), (65, "1:05"), (3723, "1:02:03"), (100_000, "1 d 3 h")]
)
def test_durations_are_shown_in_suitable_units(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


def test_a_short_job_id_is_accepted_by_commands() -> None:
    """Re-check ids are not shortened because they have the same prefix."""
    assert short_id("01234567-89ab-cdef-0123-456789abcdef") == "01234567"
    assert short_id("recheck-20261129-1") == "recheck-20261129-1"


def test_a_moment_has_a_date_unless_it_is_today() -> None:
    now = datetime.now(UTC)
    assert len(moment(now, now)) == len("12:34:56")
    assert moment(now + timedelta(days=3), now).startswith(f"{(now + timedelta(days=3)).astimezone():%Y-%m-%d}")


def test_count_adds_the_plural() -> None:
    assert (count(1, "gap"), count(2, "gap")) == ("1 gap", "2 gaps")
