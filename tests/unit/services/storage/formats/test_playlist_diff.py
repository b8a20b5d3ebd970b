"""What two looks at a playlist differ in: tables, and histories of any looks at all."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.domain.videos import Entry
from services.common.events import ListingCompleted, ListingPageFetched
from services.common.models import JobOptions, JobType
from services.storage.formats.playlist import FinishedListing, PlaylistFile, merge_listing
from services.storage.formats.playlist_diff import PlaylistChangeKind, PlaylistEntryState, entry_states

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
PLAYLIST = "PL0123456789abcdef"
API, SITE = "data_api", "yt_dlp"
_MARKED_TITLES = {"private": "[Private video]", "deleted": "[Deleted video]"}


def video(name: str) -> str:
    return name * 11


def shown(line: str, position: int, source: str) -> Entry:
    """`a` is listed, `a:Title` under that title, `a!private` marked, `a?` a line that says nothing of the video. As the
    sources do, the site titles what is marked and the Data API does not."""
    name, mark, said = line[0], line[2:] if line[1:2] == "!" else None, line[1:2] != "?"
    title = line[2:] if line[1:2] == ":" else f"Title {name}"
    if mark or not said:
        title = _MARKED_TITLES.get(mark or "", "Video") if source == SITE else ""
    described = source == API and said and mark is None
    return Entry(video_id=video(name), title=title or None, position=position, marked=mark, described=described)


def look(lines: str, day: int, source: str = SITE, job_id: str | None = None) -> FinishedListing:
    """`lines` are those of `shown`, apart by blanks."""
    entries = tuple(shown(line, n, source) for n, line in enumerate(lines.split()))
    job_id = job_id or f"job-{day}"
    keys = ("page",) if entries else ()
    pages = [
        ListingPageFetched(
            job_id=job_id, root="/a", type=JobType.PLAYLIST_DOWNLOAD, options=JobOptions(), target_index=0, listing=1,
            page_key=key, playlist_id=PLAYLIST, entries=entries,
        )
        for key in keys
    ]  # fmt: skip
    done = ListingCompleted(
        job_id=job_id, root="/a", target_index=0, listing=1, page_keys=keys, total=len(entries), playlist_id=PLAYLIST,
        source_name=source,
    )  # fmt: skip
    return FinishedListing(done, AT + timedelta(days=day), "trace", pages, None)


def after(*looks: FinishedListing, held: PlaylistFile | None = None) -> PlaylistFile:
    for one in looks:
        held = merge_listing(held, PLAYLIST, one)
        held = PlaylistFile.model_validate_json(held.model_dump_json())  # the next look knows what the file says
    assert held is not None
    return held


def told(file: PlaylistFile, since: int = 1) -> list[str]:
    """`private a`, in the order of the history, from that day on."""
    begin = AT + timedelta(days=since)
    return [f"{line.change} {line.video_id[0]}" for line in file.changes if line.at >= begin and line.video_id]


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        (["a b", "a b"], []),
        (["a b", "b a"], []),  # another order
        (["a", "a b"], ["appeared b"]),
        (["a b", "a"], ["vanished b"]),
        (["a b", ""], ["vanished a", "vanished b"]),
        (["a b", "", ""], ["vanished a", "vanished b"]),
        (["a b", "a", "a b"], ["vanished b", "came_back b"]),
        (["a", "a!private"], ["private a"]),
        (["a", "a!private", "a!private"], ["private a"]),
        (["a", "a!private", "a!deleted"], ["private a", "deleted a"]),
        (["a", "a!private", "a"], ["private a", "came_back a"]),
        (["a!private", "a"], ["came_back a"]),
        (["a", "a!deleted", "", "a"], ["deleted a", "vanished a", "came_back a"]),
        (["a", "", "a!private"], ["vanished a", "private a"]),
        (["a", "a b!private"], ["appeared b", "private b"]),
        (["a:Old", "a:New"], ["retitled a"]),
        (["a:Old", "a!private", "a:Old"], ["private a", "came_back a"]),
        # one video on several lines
        (["a a", "a"], []),
        (["a a b", "b a"], []),
        (["a a", ""], ["vanished a"]),
        (["a!private a", "a a!private"], []),
        (["b", "b a a"], ["appeared a"]),
        # a mark that nobody of ours knows is none
        (["a", "a!blessed"], []),
    ],
)
def test_what_a_look_shows(looks: list[str], expected: list[str]) -> None:
    assert told(after(*(look(lines, day) for day, lines in enumerate(looks)))) == expected


def test_a_first_look_is_one_line_and_one_for_each_that_is_there_in_name_only() -> None:
    file = after(look("a b!private c!deleted", 0))
    assert [(line.change, line.total) for line in file.changes[:1]] == [(PlaylistChangeKind.FIRST_LOOK, 3)]
    assert told(file, 0) == ["private b", "deleted c"]


def test_what_goes_is_told_under_the_title_that_it_had() -> None:
    file = after(look("a:Old b", 0), look("a:New b", 1), look("a!private", 2), look("", 3), look("a:Newer", 4))
    assert [(line.change, line.before, line.title) for line in file.changes[1:] if line.video_id == video("a")] == [
        (PlaylistChangeKind.RETITLED, "Old", "New"),
        (PlaylistChangeKind.PRIVATE, None, "New"),
        (PlaylistChangeKind.VANISHED, None, "New"),
        (PlaylistChangeKind.CAME_BACK, None, "Newer"),
    ]


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        # the Data API leaves the unavailable ones out
        ([(SITE, "a b!private"), (API, "a"), (SITE, "a b!private"), (API, "a"), (SITE, "a b!private")], []),
        ([(API, "a"), (SITE, "a b!private"), (API, "a"), (SITE, "a b!private")], ["appeared b", "private b"]),
        # … or one of them leaves out what is to be had
        ([(SITE, "a b"), (API, "a"), (SITE, "a b"), (API, "a")], []),
        # … or shows a line that says nothing
        ([(SITE, "a!deleted"), (API, "a?"), (SITE, "a!deleted"), (API, "a?")], []),
        ([(API, "a?"), (SITE, "a!deleted"), (API, "a?")], ["deleted a"]),
        ([(API, "a?"), (API, "a"), (API, "a?")], []),
        # each titles it its own way
        ([(SITE, "a:Title"), (API, "a:Titel"), (SITE, "a:Title"), (API, "a:Titel")], []),
        ([(SITE, "a:Old"), (API, "a:Old"), (SITE, "a:New"), (API, "a:New"), (SITE, "a:New")], ["retitled a"]),
        # a real change is recorded once, whichever source shows it
        ([(SITE, "a b"), (API, "a b"), (SITE, "a"), (API, "a"), (SITE, "a b"), (API, "a b")],
         ["vanished b", "came_back b"]),
        ([(SITE, "a b"), (API, "a b"), (API, "a"), (SITE, "a b!private"), (API, "a"), (SITE, "a b!private")],
         ["vanished b", "private b"]),
        ([(SITE, "a"), (API, "a!private"), (SITE, "a!private"), (API, "a"), (SITE, "a")],
         ["private a", "came_back a"]),
        ([(SITE, "a!private"), (API, ""), (SITE, "a!private"), (API, ""), (SITE, "")], ["vanished a"]),
    ],
)  # fmt: skip
def test_another_source_is_no_change(looks: list[tuple[str, str]], expected: list[str]) -> None:
    assert told(after(*(look(lines, day, source) for day, (source, lines) in enumerate(looks)))) == expected


def test_a_look_that_is_late_or_comes_again_adds_nothing() -> None:
    looks = [look("a b", 0), look("a!private", 2), look("a c", 4)]
    file = after(*looks)
    assert after(*looks[::-1], *looks, held=file).history == file.history
    late = after(look("", 1), look("a b c d", 3), held=file)
    assert (late.history, late.entries, late.views) == (file.history, file.entries, file.views)
    assert [one.total for one in late.listings] == [2, 0, 1, 4, 2]
    assert after(look("a c", 5), held=late).history == file.history


def test_a_file_of_before_there_were_histories_begins_with_the_look_it_holds() -> None:
    file = after(look("a b", 0))
    written = file.model_dump(mode="json", exclude={"history", "source", "views"})
    old = PlaylistFile.model_validate({**written, "history": []})
    file = after(look("a", 1), held=old)
    assert [(line.change, line.at, line.job_id) for line in file.changes] == [
        (PlaylistChangeKind.FIRST_LOOK, AT, "job-0"),
        (PlaylistChangeKind.VANISHED, AT + timedelta(days=1), "job-1"),
    ]


# --- any looks at all ---------------------------------------------------------------------------------------------

LINES = st.lists(st.sampled_from(["a", "b", "c"]).flatmap(
    lambda name: st.sampled_from([name, f"{name}:Other", f"{name}!private", f"{name}!deleted"])
), max_size=5, unique_by=lambda line: line[0]).map(" ".join)  # fmt: skip


quickly = settings(max_examples=60)


def standings_of(lines: str) -> dict[str, PlaylistEntryState]:
    return {
        video(line[0]): PlaylistEntryState(line[2:]) if line[1:2] == "!" else PlaylistEntryState.LISTED
        for line in lines.split()
    }


def folded(file: PlaylistFile) -> dict[str, PlaylistEntryState]:
    """How the history says that all stands; what is listed and has no line has been so from the first look on."""
    listed = [{entry.video_id: entry.title for entry in file.entries}, *file.views.values()]
    return entry_states(file.changes, listed)


@quickly
@given(st.lists(LINES, min_size=1, max_size=8))
def test_the_history_of_one_source_folds_to_its_last_look(looks: Sequence[str]) -> None:
    file = after(*(look(lines, day) for day, lines in enumerate(looks)))
    standings = folded(file)
    assert {v: s for v, s in standings.items() if s is not PlaylistEntryState.VANISHED} == standings_of(looks[-1])
    assert standings.keys() == {video_id for lines in looks for video_id in standings_of(lines)}


@quickly
@given(st.lists(st.tuples(st.sampled_from([SITE, API]), LINES), min_size=1, max_size=8), st.data())
def test_whoever_looks_what_is_shown_is_believed(looks: Sequence[tuple[str, str]], data: st.DataObject) -> None:
    finished = [look(lines, day, source) for day, (source, lines) in enumerate(looks)]
    file = after(*finished)
    assert standings_of(looks[-1][1]).items() <= folded(file).items()
    assert after(*data.draw(st.permutations(finished)), held=file).history == file.history


@quickly
@given(LINES, LINES, st.integers(1, 4))
def test_two_sources_that_differ_only_in_what_they_leave_out_come_to_rest(
    before: str, listed: str, rounds: int
) -> None:
    """After each source has listed the current state once, further listings show no change."""
    fewer = " ".join(line for line in listed.split() if "!" not in line)
    days = iter(range(100))
    file = after(
        look(before, next(days)), look(before, next(days), API), look(listed, next(days)), look(fewer, next(days), API)
    )
    rest = after(look(listed, next(days)), held=file)
    for _ in range(rounds):
        again = after(look(fewer, next(days), API), look(listed, next(days)), held=rest)
        assert again.history == rest.history
