"""Changes between listings of a playlist: tables, and properties of arbitrary histories."""

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
LATER = datetime(2027, 5, 1, 12, tzinfo=UTC)
PLAYLIST = "PL0123456789abcdef"
API, SITE = "data_api", "yt_dlp"
_MARKED_TITLES = {"private": "[Private video]", "deleted": "[Deleted video]"}


def video(name: str) -> str:
    return name * 11


def entry_of(line: str, position: int, source: str) -> Entry:
    """Notation: `a` a listed video, `a:Title` with that title, `a!private` marked, `a?` without any information.

    Like the real sources, the site gives marked entries a title and the Data API does not.
    """
    name, mark, informative = line[0], line[2:] if line[1:2] == "!" else None, line[1:2] != "?"
    title = line[2:] if line[1:2] == ":" else f"Title {name}"
    if mark or not informative:
        title = _MARKED_TITLES.get(mark or "", "Video") if source == SITE else ""
    described = source == API and informative and mark is None
    return Entry(video_id=video(name), title=title or None, position=position, marked=mark, described=described)


def listing(lines: str, day: int, source: str = SITE, job_id: str | None = None) -> FinishedListing:
    """Return a finished listing; `lines` is in the notation of `entry_of`, separated by blanks."""
    entries = tuple(entry_of(line, n, source) for n, line in enumerate(lines.split()))
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


def after(*listings: FinishedListing, held: PlaylistFile | None = None, now: datetime = LATER) -> PlaylistFile:
    for one in listings:
        held = merge_listing(held, PLAYLIST, one, now)
        held = PlaylistFile.model_validate_json(held.model_dump_json())  # as read back from the file
    assert held is not None
    return held


def changes(file: PlaylistFile, since: int = 1) -> list[str]:
    """Return the history from this day on, as `private a`."""
    begin = AT + timedelta(days=since)
    return [f"{line.change} {line.video_id[0]}" for line in file.changes if line.at >= begin and line.video_id]


@pytest.mark.parametrize(
    ("listings", "expected"),
    [
        (["a b", "a b"], []),
        (["a b", "b a"], []),  # only the order changed
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
        # a video with several entries
        (["a a", "a"], []),
        (["a a b", "b a"], []),
        (["a a", ""], ["vanished a"]),
        (["a!private a", "a a!private"], []),
        (["b", "b a a"], ["appeared a"]),
        # an unknown mark is ignored
        (["a", "a!blessed"], []),
    ],
)
def test_changes_between_listings_of_one_source(listings: list[str], expected: list[str]) -> None:
    assert changes(after(*(listing(lines, day) for day, lines in enumerate(listings)))) == expected


def test_the_first_listing_is_one_change_plus_one_for_each_unavailable_video() -> None:
    file = after(listing("a b!private c!deleted", 0))
    assert [(line.change, line.total) for line in file.changes[:1]] == [(PlaylistChangeKind.FIRST_LOOK, 3)]
    assert changes(file, 0) == ["private b", "deleted c"]


def test_a_change_of_an_unavailable_video_has_its_last_known_title() -> None:
    file = after(
        listing("a:Old b", 0), listing("a:New b", 1), listing("a!private", 2), listing("", 3), listing("a:Newer", 4)
    )
    assert [(line.change, line.before, line.title) for line in file.changes[1:] if line.video_id == video("a")] == [
        (PlaylistChangeKind.RETITLED, "Old", "New"),
        (PlaylistChangeKind.PRIVATE, None, "New"),
        (PlaylistChangeKind.VANISHED, None, "New"),
        (PlaylistChangeKind.CAME_BACK, None, "Newer"),
    ]


@pytest.mark.parametrize(
    ("listings", "expected"),
    [
        # the Data API omits unavailable videos
        ([(SITE, "a b!private"), (API, "a"), (SITE, "a b!private"), (API, "a"), (SITE, "a b!private")], []),
        ([(API, "a"), (SITE, "a b!private"), (API, "a"), (SITE, "a b!private")], ["appeared b", "private b"]),
        # ... or omits an available video
        ([(SITE, "a b"), (API, "a"), (SITE, "a b"), (API, "a")], []),
        # ... or lists an entry without any information
        ([(SITE, "a!deleted"), (API, "a?"), (SITE, "a!deleted"), (API, "a?")], []),
        ([(API, "a?"), (SITE, "a!deleted"), (API, "a?")], ["deleted a"]),
        ([(API, "a?"), (API, "a"), (API, "a?")], []),
        # each source has its own title
        ([(SITE, "a:Title"), (API, "a:Titel"), (SITE, "a:Title"), (API, "a:Titel")], []),
        ([(SITE, "a:Old"), (API, "a:Old"), (SITE, "a:New"), (API, "a:New"), (SITE, "a:New")], ["retitled a"]),
        # a real change is recorded once, whichever source lists it
        ([(SITE, "a b"), (API, "a b"), (SITE, "a"), (API, "a"), (SITE, "a b"), (API, "a b")],
         ["vanished b", "came_back b"]),
        ([(SITE, "a b"), (API, "a b"), (API, "a"), (SITE, "a b!private"), (API, "a"), (SITE, "a b!private")],
         ["vanished b", "private b"]),
        ([(SITE, "a"), (API, "a!private"), (SITE, "a!private"), (API, "a"), (SITE, "a")],
         ["private a", "came_back a"]),
        ([(SITE, "a!private"), (API, ""), (SITE, "a!private"), (API, ""), (SITE, "")], ["vanished a"]),
    ],
)  # fmt: skip
def test_differences_between_sources_are_not_changes(listings: list[tuple[str, str]], expected: list[str]) -> None:
    assert changes(after(*(listing(lines, day, source) for day, (source, lines) in enumerate(listings)))) == expected


def test_a_late_or_repeated_listing_adds_no_changes() -> None:
    listings = [listing("a b", 0), listing("a!private", 2), listing("a c", 4)]
    file = after(*listings)
    assert after(*listings[::-1], *listings, held=file).history == file.history
    late = after(listing("", 1), listing("a b c d", 3), held=file)
    assert (late.history, late.entries, late.views) == (file.history, file.entries, file.views)
    assert [one.total for one in late.listings] == [2, 0, 1, 4, 2]
    assert after(listing("a c", 5), held=late).history == file.history


def test_a_file_without_a_history_gets_one_from_its_stored_listing() -> None:
    file = after(listing("a b", 0))
    written = file.model_dump(mode="json", exclude={"history", "source", "views"})
    old = PlaylistFile.model_validate({**written, "history": []})
    file = after(listing("a", 1), held=old)
    assert [(line.change, line.at, line.job_id) for line in file.changes] == [
        (PlaylistChangeKind.FIRST_LOOK, AT, "job-0"),
        (PlaylistChangeKind.VANISHED, AT + timedelta(days=1), "job-1"),
    ]


# --- arbitrary histories ------------------------------------------------------------------------------------------

LINES = st.lists(st.sampled_from(["a", "b", "c"]).flatmap(
    lambda name: st.sampled_from([name, f"{name}:Other", f"{name}!private", f"{name}!deleted"])
), max_size=5, unique_by=lambda line: line[0]).map(" ".join)  # fmt: skip


quick_settings = settings(max_examples=60)


def states_of(lines: str) -> dict[str, PlaylistEntryState]:
    return {
        video(line[0]): PlaylistEntryState(line[2:]) if line[1:2] == "!" else PlaylistEntryState.LISTED
        for line in lines.split()
    }


def states_by_history(file: PlaylistFile) -> dict[str, PlaylistEntryState]:
    """Return the state of each video by the history; a listed video without a change was listed from the beginning."""
    listed = [{entry.video_id: entry.title for entry in file.entries}, *file.views.values()]
    return entry_states(file.changes, listed)


@quick_settings
@given(st.lists(LINES, min_size=1, max_size=8))
def test_the_history_of_one_source_reproduces_its_last_listing(listings: Sequence[str]) -> None:
    file = after(*(listing(lines, day) for day, lines in enumerate(listings)))
    states = states_by_history(file)
    assert {v: s for v, s in states.items() if s is not PlaylistEntryState.VANISHED} == states_of(listings[-1])
    assert states.keys() == {video_id for lines in listings for video_id in states_of(lines)}


@quick_settings
@given(st.lists(st.tuples(st.sampled_from([SITE, API]), LINES), min_size=1, max_size=8), st.data())
def test_the_last_listing_of_any_source_determines_the_states(
    listings: Sequence[tuple[str, str]], data: st.DataObject
) -> None:
    finished = [listing(lines, day, source) for day, (source, lines) in enumerate(listings)]
    file = after(*finished)
    assert states_of(listings[-1][1]).items() <= states_by_history(file).items()
    assert after(*data.draw(st.permutations(finished)), held=file).history == file.history


@quick_settings
@given(LINES, LINES, st.integers(1, 4))
def test_two_sources_that_differ_only_in_omissions_reach_a_stable_history(
    before: str, listed: str, rounds: int
) -> None:
    """After each source has listed the current state once, further listings add no changes."""
    fewer = " ".join(line for line in listed.split() if "!" not in line)
    days = iter(range(100))
    file = after(
        listing(before, next(days)),
        listing(before, next(days), API),
        listing(listed, next(days)),
        listing(fewer, next(days), API),
    )
    stable = after(listing(listed, next(days)), held=file)
    for _ in range(rounds):
        again = after(listing(fewer, next(days), API), listing(listed, next(days)), held=stable)
        assert again.history == stable.history


def test_a_listing_of_a_clock_that_was_ahead_does_not_hide_later_ones() -> None:
    now = AT + timedelta(days=2)
    file = after(listing("a b", 3650), listing("a", 1), now=now)
    assert [entry.video_id for entry in file.entries] == [video("a")]
    assert file.fetched_at == AT + timedelta(days=1)
    assert changes(file, 1)[-1] == "vanished b"
