"""Quota of the Data API: days that end at midnight Pacific time, budgets, storage keys without the API key."""

from datetime import UTC, date, datetime, timedelta

import pytest

from services.metadata.data_api.quota import Budget, Day, cost_of, next_reset, quota_day, renewed_by, storage_key


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("resource", "units"), [("videos", 1), ("playlistItems", 1), ("playlists", 1), ("channels", 1), ("captions", 50)]
)
def test_the_units_of_a_call_depend_on_its_resource(resource: str, units: int) -> None:
    assert cost_of(resource) == units


@pytest.mark.parametrize(
    ("now", "day", "reset"),
    [
        ("2026-01-15T07:59:59", date(2026, 1, 14), "2026-01-15T08:00:00"),  # winter: UTC-8
        ("2026-01-15T08:00:00", date(2026, 1, 15), "2026-01-16T08:00:00"),
        ("2026-07-15T06:59:59", date(2026, 7, 14), "2026-07-15T07:00:00"),  # summer: UTC-7
        ("2026-07-15T07:00:00", date(2026, 7, 15), "2026-07-16T07:00:00"),
        ("2026-03-08T08:00:00", date(2026, 3, 8), "2026-03-09T07:00:00"),  # start of daylight saving time: 23 hours
        ("2026-11-01T07:00:00", date(2026, 11, 1), "2026-11-02T08:00:00"),  # end of daylight saving time: 25 hours
    ],
)
def test_a_quota_day_ends_at_midnight_pacific_time(now: str, day: date, reset: str) -> None:
    assert quota_day(utc(now)) == day
    assert next_reset(utc(now)) == utc(reset)
    assert quota_day(utc(reset) - timedelta(seconds=1)) == day
    assert quota_day(utc(reset)) == day + timedelta(days=1)


@pytest.mark.parametrize(
    ("now", "again"),
    [
        ("2026-01-15T07:59:59", "2026-01-15T08:02:00"),
        ("2026-01-15T08:00:00", "2026-01-15T08:02:00"),  # the refusal refers to the day before
        ("2026-01-15T08:01:59", "2026-01-15T08:02:00"),
        ("2026-01-15T08:02:00", "2026-01-16T08:02:00"),
    ],
)
def test_a_refusal_within_two_minutes_after_midnight_belongs_to_the_day_before(now: str, again: str) -> None:
    assert renewed_by(utc(now)) == utc(again)


@pytest.mark.claim("8.5")
@pytest.mark.parametrize(
    ("day", "cost", "background", "allowed"),
    [
        (Day(), 1, True, True),
        (Day(used=89), 1, True, True),
        (Day(used=90), 1, True, False),
        (Day(used=90), 1, False, True),  # a person may use the reserve
        (Day(used=60), 50, True, False),
        (Day(used=60), 50, False, False),
        (Day(used=100), 1, False, False),
        (Day(used=1, exhausted=True), 1, False, False),
    ],
)
def test_background_calls_are_refused_before_the_reserve_is_used(
    day: Day, cost: int, background: bool, allowed: bool
) -> None:
    assert Budget(limit=100, reserve=10).allows(day, cost, background=background) is allowed


def test_used_units_add_up_and_are_kept_when_the_day_is_exhausted() -> None:
    assert Day().charged(1).charged(50).ended() == Day(used=51, exhausted=True)


def test_the_storage_key_is_unique_per_api_key_and_day_and_hides_the_api_key() -> None:
    now = utc("2026-01-15T12:00:00")
    name = storage_key("AIza-my-key", now)
    assert name.endswith(".2026-01-15")
    assert "my-key" not in name
    assert name == storage_key("AIza-my-key", now + timedelta(hours=19))
    assert len({name, storage_key("AIza-other", now), storage_key("AIza-my-key", now + timedelta(hours=20))}) == 3


@pytest.mark.parametrize(
    ("day", "background", "people", "warns"),
    [
        (Day(), 90, 100, False),
        (Day(used=79), 11, 21, False),
        (Day(used=80), 10, 20, True),
        (Day(used=95), 0, 5, True),
        (Day(used=3, exhausted=True), 0, 0, True),
    ],
)
def test_the_budget_warns_when_80_percent_are_used(day: Day, background: int, people: int, warns: bool) -> None:
    budget = Budget(limit=100, reserve=10)
    assert budget.left(day, background=True) == background
    assert budget.left(day, background=False) == people
    assert budget.warns(day) is warns
