"""Ages of the last reading of every byte, as a histogram."""

from datetime import UTC, date, datetime, timedelta

import pytest

from services.storage.fixity.ages import ReadOnDay, boundaries, summarize

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def ago(days: int, size: int = 1) -> ReadOnDay:
    return ReadOnDay(NOW.date() - timedelta(days=days), 1, size)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (90, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 135, 180, 360]),
        (3, [0, 1, 2, 3, 4, 6, 12]),
        (1, [0, 1, 2, 4]),
    ],
)
def test_buckets_are_parts_of_the_interval_and_wider_beyond_it(interval: int, expected: list[int]) -> None:
    assert boundaries(interval) == expected


def test_each_day_is_in_one_bucket_and_only_those_beyond_the_interval_are_overdue() -> None:
    found = summarize([ago(1000, 5), ago(90, 7), ago(89, 11), ago(0, 13)], 90, NOW)
    filled = {(one.from_days, one.to_days, one.overdue): one.bytes for one in found.buckets if one.videos}
    assert filled == {(0, 10, False): 13, (80, 90, False): 11, (90, 135, True): 7, (360, None, True): 5}
    assert (found.videos, found.bytes, found.within) == (4, 36, 24)
    assert found.oldest == NOW.date() - timedelta(days=1000)


def test_without_an_interval_nothing_is_overdue() -> None:
    found = summarize([ago(1000, 5), ago(1, 7)], 0, NOW)
    assert found.within == found.bytes == 12
    assert not any(one.overdue for one in found.buckets)


def test_an_empty_archive_has_no_oldest_reading() -> None:
    found = summarize([], 90, NOW)
    assert (found.videos, found.bytes, found.within, found.oldest) == (0, 0, 0, None)


def test_a_reading_in_the_future_counts_as_today() -> None:
    found = summarize([ReadOnDay(date(2030, 1, 1), 2, 9)], 90, NOW)
    assert found.buckets[0].bytes == 9
