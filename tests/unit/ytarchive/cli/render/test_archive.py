"""`storage search`: joining the arguments to a query, and the rendering of hits."""

from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.console import Console

from services.common.domain.archive import RevisitReason
from services.storage.index.queries import Prospect, VideoPage, VideoRow
from services.storage.index.search import Moment, SearchHit, SearchPage, TextMatch
from services.storage.index.tokenizer import parse_query
from ytarchive.cli.render import archive
from ytarchive.cli.terminal.arguments import join_query
from ytarchive.text import clock


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        (["brown", "fox"], "brown fox"),
        (["brown fox", "dog"], '"brown fox" dog'),  # the shell has removed the quotes
        (["fox", "-lazy dog"], 'fox -"lazy dog"'),
        (['"quoted twice"', "be*"], '"quoted twice" be*'),
        (["-", ""], "- "),
    ],
)
def test_quotes_removed_by_the_shell_are_restored(words: list[str], typed: str) -> None:
    assert join_query(words) == typed


def test_the_joined_arguments_are_parsed_as_typed() -> None:
    query = parse_query(join_query(["brown fox", "-lazy dog", "be*"]))
    assert (query.phrases, query.without) == (('"brown fox"', '"be*" *'), ('"lazy dog"',))


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (7.9, "0:07"), (754, "12:34"), (3723.5, "1:02:03")])
def test_a_time_in_a_video_is_shown_as_a_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_a_hit_is_rendered_with_highlights_and_without_control_characters() -> None:
    moment = Moment(
        text="the \x1b[2J brown fox\u202e jumps",
        matches=[(15, 18)],
        language="en",
        start_seconds=754.5,
        url="https://www.youtube.com/watch?v=demo-000001&t=754s",
        file="/archive/demo.vtt",
    )
    title = TextMatch(place="title", text="[b]Fox[/b] \x1b]0;x\x07", matches=[(3, 6)])
    about = {"root": "/a", "video_id": "demo-000001", "title": "-", "channel": "Nature", "channel_id": None, "bytes": 1}
    hit = SearchHit.model_validate(
        about
        | {"duration_seconds": 1, "upload_date": None, "archived_at": datetime.now(UTC), "qualities": [], "score": 1.0}
        | {"texts": [title], "moments": [moment], "moments_total": 3}
    )
    page = SearchPage(hits=[hit], total=7, limit=1, offset=0)
    out = StringIO()
    console = Console(file=out, markup=False, highlight=False, force_terminal=True, color_system="standard", width=200)
    console.print(archive.hits(page))
    plain = out.getvalue()
    assert "\x1b[1;33mFox\x1b[0m" in plain
    assert "\x1b[1;33mfox\x1b[0m" in plain
    assert "\x1b[2J" not in plain
    assert "\x1b]" not in plain
    assert "\u202e" not in plain
    assert plain.endswith("\n1 of 7 videos\n")
    assert "12:34" in plain
    assert "and 2 more in captions" in plain
    console.print(archive.hits(page.model_copy(update={"more_than_total": True})))
    assert out.getvalue().endswith("\n1 of more than 7 videos\n")
    past = page.model_copy(update={"hits": [], "more_than_total": True})
    assert str(archive.hits(past)) == "No more results: more than 7 videos in total."


def test_every_reason_for_a_look_is_shown_with_its_time() -> None:
    prospect = Prospect(
        reasons=list(RevisitReason),
        next_look=None,
        looked_at=None,
        resolution=360,
        offered=360,
        captions=["en\x1b[31m"],
    )
    row = VideoRow(
        root="/a", video_id="aaaaaaaaaaa", title="T", channel=None, channel_id=None, duration_seconds=None,
        upload_date=None, archived_at=datetime(2026, 5, 1, tzinfo=UTC), bytes=1, qualities=[], prospect=prospect,
    )  # fmt: skip
    out = StringIO()
    page = VideoPage(videos=[row], total=1, limit=50, offset=0)
    Console(file=out, width=400).print(archive.videos(page, prospects=True))
    shown = out.getvalue()
    for words in ("360p", "lower than asked for", "could not get all formats", "no captions yet", "stream", "length"):
        assert words in shown
    assert "none" in shown
    assert "\x1b" not in shown
