"""Times of wrong clocks, and the time by which old data is deleted."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.common.domain.clock import KnownTime, believe, deletion_time, is_ahead
from services.common.infra.deletion_clock import FILE, DeletionClock

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
YEARS = 3650 * DAY


def look(*times: datetime) -> datetime:
    """Look at the clock at these times. Return the last time by which data is deleted."""
    known: KnownTime | None = None
    for now in times:
        known = believe(known, now)
    return deletion_time(known, times[-1])


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((NOW,), NOW),
        ((NOW, NOW + 6 * DAY), NOW + 6 * DAY),
        ((NOW, NOW + YEARS), NOW + 7 * DAY),  # not more than a week at once
        ((NOW, NOW + YEARS, NOW + YEARS + 23 * HOUR), NOW + 7 * DAY),
        ((NOW, NOW + YEARS, NOW + HOUR), NOW + HOUR),  # the clock was set right
        ((NOW, NOW + YEARS, NOW + HOUR, NOW + YEARS), NOW + HOUR + 7 * DAY),
        ((NOW, NOW + 60 * DAY, NOW + 61 * DAY), NOW + 61 * DAY),  # it was switched off for two months
        ((NOW, NOW + 30 * DAY, NOW + 60 * DAY), NOW + 37 * DAY),  # it runs once a month
        ((NOW, NOW + 30 * DAY, NOW + 60 * DAY, NOW + 90 * DAY), NOW + 67 * DAY),
        ((NOW, datetime(1970, 1, 1, tzinfo=UTC)), datetime(1970, 1, 1, tzinfo=UTC)),
        ((NOW, datetime(1970, 1, 1, tzinfo=UTC), NOW + HOUR), NOW + HOUR),
        ((datetime(1970, 1, 1, tzinfo=UTC), NOW), NOW),
        ((NOW, NOW - DAY, NOW + HOUR), NOW + HOUR),
    ],
)
def test_a_jump_of_the_clock_deletes_nothing_until_it_is_confirmed(
    times: tuple[datetime, ...], expected: datetime
) -> None:
    assert look(*times) == expected


def test_a_clock_that_is_corrected_by_less_than_a_day_was_not_wrong() -> None:
    assert not is_ahead(NOW + DAY, NOW)
    assert is_ahead(NOW + DAY + timedelta(seconds=1), NOW)


@pytest.mark.parametrize("content", [None, "", "{", '{"believed": "never"}'])
def test_a_missing_or_damaged_file_is_written_again(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / FILE).write_text(content)
    before = datetime.now(UTC)
    assert before <= DeletionClock(tmp_path).now() <= datetime.now(UTC)
    assert KnownTime.model_validate_json((tmp_path / FILE).read_text()).believed >= before


def test_the_file_tells_the_next_process_of_a_jump(tmp_path: Path) -> None:
    long_ago = datetime.now(UTC) - YEARS
    known = KnownTime(believed=max(long_ago, datetime(2026, 1, 1, tzinfo=UTC)))
    (tmp_path / FILE).write_text(known.model_dump_json())
    assert DeletionClock(tmp_path).now() == known.believed + 7 * DAY


def test_a_file_that_cannot_be_written_deletes_nothing_early(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(NotADirectoryError):
        DeletionClock(blocked).now()
