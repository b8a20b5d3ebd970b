"""What a playlist's history shows of its videos over time: tables, and properties of arbitrary histories."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.storage.formats.playlist_availability import availability
from tests.unit.services.storage.formats.test_playlist_diff import after, listing

Counts = tuple[int, int, int]  # listed, closed, left
MOST = 500


@pytest.mark.parametrize(
    ("listings", "expected"),
    [
        (["a b c"], [(3, 0, 0)]),
        (["a b a"], [(2, 0, 0)]),  # listed twice
        (["a b", "a b"], [(2, 0, 0)]),  # nothing has changed
        (["a b!private"], [(1, 1, 0)]),
        (["a", "a b", "b"], [(1, 0, 0), (2, 0, 0), (1, 0, 1)]),  # what is no longer listed may well be there
        (["a b", "a b!deleted", "a b"], [(2, 0, 0), (1, 1, 0), (2, 0, 0)]),
        (["a b", "a b!private", "a"], [(2, 0, 0), (1, 1, 0), (1, 1, 0)]),  # it was private when it was last listed
        (["a b", "a", "a b"], [(2, 0, 0), (1, 0, 1), (2, 0, 0)]),
        (["a b", "a:New b"], [(2, 0, 0), (2, 0, 0)]),
        (["", "a"], [(0, 0, 0), (1, 0, 0)]),
    ],
)
def test_videos_are_counted_after_each_change(listings: Sequence[str], expected: list[Counts]) -> None:
    file = after(*(listing(lines, day) for day, lines in enumerate(listings)))
    assert [(one.listed, one.closed, one.left) for one in availability(file, MOST)] == expected


def test_of_many_changes_the_newest_is_always_there() -> None:
    file = after(*(listing("a b" if day % 2 else "a", day) for day in range(21)))
    whole = availability(file, MOST)
    assert len(whole) == 21
    some = availability(file, 10)
    assert (len(some), some[-1]) == (7, whole[-1])
    assert all(one in whole for one in some)


names = st.lists(st.sampled_from("abcde"), max_size=6)
lines = st.lists(st.tuples(names, st.sampled_from(["", "!private", "!deleted"])), max_size=6)


@settings(max_examples=100)
@given(lines)
def test_every_video_that_was_ever_listed_is_counted_once(found: list[tuple[list[str], str]]) -> None:
    file = after(
        listing("a b c", 0),
        *(listing(" ".join(name + mark for name in n), day + 1) for day, (n, mark) in enumerate(found)),
    )
    points = availability(file, MOST)
    ever = {"a", "b", "c"} | {name for n, _mark in found for name in n}
    assert points[-1].listed + points[-1].closed + points[-1].left == len(ever)
    assert all(min(one.listed, one.closed, one.left) >= 0 for one in points)
