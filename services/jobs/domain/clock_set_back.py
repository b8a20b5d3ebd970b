"""What follows when the clock is set back: times that were stored before must not be waited for. Pure."""

from collections.abc import Iterable
from datetime import datetime

from services.jobs.domain.accounting import touch
from services.jobs.domain.rows import FetchRow, ItemRow, ListingRow, Rows


def move_times(
    rows: Rows, items: Iterable[ItemRow], listings: Iterable[ListingRow], fetches: Iterable[FetchRow], now: datetime
) -> None:
    """Move what began in the future to now. What waits for a time is due: how long it should wait is not known."""
    for item in items:
        if item.since > now:
            item.since, item.retry_at = now, _due(item.retry_at, now)
            if job := rows.job(item.job_id):
                touch(job, now, item)
    for listing in listings:
        if listing.since > now:
            listing.since, listing.retry_at = now, _due(listing.retry_at, now)
    for fetch in fetches:
        fetch.since = min(fetch.since, now)


def _due(at: datetime | None, now: datetime) -> datetime | None:
    return min(at, now) if at else None
