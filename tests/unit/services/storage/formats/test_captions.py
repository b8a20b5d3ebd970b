"""Captions: what is said, and when, of files as YouTube and people make them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.formats.captions import CaptionLine, CaptionsUnreadable, Cue, parse_vtt, unroll

ROLLING = """WEBVTT
Kind: captions
Language: en

00:00:00.160 --> 00:00:02.149 align:start position:0%
 
hello<00:00:00.400><c> there</c><00:00:00.719><c> everyone</c>

00:00:02.149 --> 00:00:02.159 align:start position:0%
hello there everyone
 

00:00:02.159 --> 00:00:04.500 align:start position:0%
hello there everyone
welcome<00:00:02.500><c> to</c><00:00:03.100><c> the</c><00:00:03.300><c> show</c>

00:00:04.500 --> 00:00:04.510 align:start position:0%
welcome to the show
 

00:00:04.510 --> 00:00:06.000 align:start position:0%
welcome to the show
[Music]

01:00:04.510 --> 01:00:06.000 align:start position:0%
[Music]
"""  # noqa: W293 - as YouTube writes it

WRITTEN = """\ufeffWEBVTT - by hand

STYLE
::cue { color: papayawhip }

NOTE two people

1
00:01.000 --> 00:02.000 line:0
<v Fred>Salt &amp; pepper, <i>please</i>
- Here.

intro
00:00.000 --> 00:01.000
&lt;knock&gt;

00:05.000 --> 00:06.000

00:07.000 --> 00:08.000
Knock, knock.

00:20.000 --> 00:21.000
Knock, knock.
"""


def test_a_rolling_line_counts_once_from_when_it_is_first_seen() -> None:
    assert parse_vtt(ROLLING) == [
        CaptionLine(160, "hello there everyone"),
        CaptionLine(2159, "welcome to the show"),
        CaptionLine(4510, "[Music]"),
        CaptionLine(3_604_510, "[Music]"),
    ]


def test_what_people_write_is_read_in_the_order_of_time_without_markup() -> None:
    assert parse_vtt(WRITTEN) == [
        CaptionLine(0, "<knock>"),
        CaptionLine(1000, "Salt & pepper, please"),
        CaptionLine(1000, "- Here."),
        CaptionLine(7000, "Knock, knock."),
        CaptionLine(20_000, "Knock, knock."),
    ]


@pytest.mark.parametrize(
    ("shown", "lines"),
    [
        ([Cue(0, 10, ("a",)), Cue(10, 20, ("a", "b")), Cue(20, 30, ("a", "b", "c"))], ["a", "b", "c"]),
        ([Cue(0, 10, ("a", "b")), Cue(10, 20, ("b", "c")), Cue(20, 30, ("c", "d"))], ["a", "b", "c", "d"]),
        ([Cue(0, 10, ("a", "b")), Cue(10, 20, ("a",))], ["a", "b", "a"]),  # not at the end: said again
        ([Cue(0, 1000, ("la",)), Cue(1101, 2000, ("la",))], ["la", "la"]),  # with a pause: said again
        ([Cue(0, 90, ("one",)), Cue(10, 20, ("two",)), Cue(80, 91, ("two", "end"))], ["one", "two", "end"]),
        ([], []),
    ],
)  # fmt: skip
def test_what_a_cue_adds_to_the_one_before(shown: list[Cue], lines: list[str]) -> None:
    assert [line.text for line in unroll(shown)] == lines


@pytest.mark.parametrize("text", ["", "no captions", "<html>", '{"error": 404}', "00:01,000 --> 00:02,000\nsrt"])
def test_what_is_no_captions(text: str) -> None:
    with pytest.raises(CaptionsUnreadable):
        parse_vtt(text)


def test_one_bad_cue_does_not_spoil_the_rest() -> None:
    assert parse_vtt("WEBVTT\n\n00:01.000 --> never\nx\n\n00:03.000 --> 00:04.000\nfine\n") == [
        CaptionLine(3000, "fine")
    ]


TIMES = ["00:01.000", "00:00:02.5", "99:99:99.999", "9999999999:00:00.000", " --> "]
MARKUP = [
    "<",
    "<c>",
    "</c>",
    "<00:00:01.000>",
    "&amp;",
    "&#x110000;",
    "&#0;",
    "WEBVTT",
    "NOTE",
    "STYLE",
    "REGION\nid:x",
]
BREAKS = ["\n", "\n\n", "\r\n", "\r", "\u2028", "\0", "\ufeff", "text"]
PIECES = st.sampled_from([*TIMES, *MARKUP, *BREAKS])


@given(st.lists(PIECES | st.text(max_size=5), max_size=40).map("".join))
def test_whatever_a_file_holds_it_is_read_or_refused(text: str) -> None:
    for whole in (text, f"WEBVTT\n\n{text}", f"WEBVTT\n\n00:01.000 --> 00:02.000\n{text}"):
        try:
            lines = parse_vtt(whole)
        except CaptionsUnreadable:
            continue
        assert all(line.start >= 0 and line.text.strip() for line in lines)
