"""How long ago the bytes of the archive were last read and compared with their checksums. Pure, but for one query."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from pydantic import AwareDatetime, BaseModel

from services.common.infra.sqlite import Database
from services.storage.fixity.repository import VerificationRepository
from services.storage.fixity.schedule import ROUND_INTERVAL

_STEPS = 9  # buckets within the interval
_BEYOND = (1.0, 1.5, 2.0, 4.0)  # ends of the buckets beyond it, in intervals
_WITHOUT_INTERVAL = 90  # days that the buckets are cut from when the archive is verified on request only


class AgeBucket(BaseModel):
    """What was last read at least `from_days` and less than `to_days` (null: any number) of days ago. `overdue`: longer
    ago than the interval."""

    from_days: int
    to_days: int | None
    videos: int
    bytes: int
    overdue: bool


class FixityAges(BaseModel):
    """Ages of the last reading of every byte: its verification, or its arrival. `within` of `bytes` were read within
    `interval_days` (0: verification only on request, then all of them count). `oldest`: the day of the oldest reading.
    `next_round`: when the next scheduled round begins; null without one."""

    interval_days: int
    videos: int
    bytes: int
    within: int
    oldest: date | None
    next_round: AwareDatetime | None
    buckets: list[AgeBucket]


@dataclass(frozen=True)
class ReadOnDay:
    """What was last read on one day (UTC)."""

    day: date
    videos: int
    bytes: int


class FixityReport:
    """`interval_days`: of `[fixity]`."""

    def __init__(self, database: Database, verifications: VerificationRepository, interval_days: int) -> None:
        self._database = database
        self._verifications = verifications
        self._interval_days = interval_days

    async def ages(self) -> FixityAges:
        read = await self._database.read(_read_by_day)
        return summarize(read, self._interval_days, datetime.now(UTC), await self._next_round())

    async def _next_round(self) -> datetime | None:
        if not self._interval_days:
            return None
        last = await self._verifications.last(asked=False)
        return last.begun_at + ROUND_INTERVAL if last else datetime.now(UTC)


def _read_by_day(db: sqlite3.Connection) -> list[ReadOnDay]:
    query = (
        "SELECT substr(max(coalesce(at, ''), archived_at), 1, 10) AS day, count(*), sum(bytes) FROM videos"
        " LEFT JOIN verified USING (root, video_id) GROUP BY day ORDER BY day"
    )
    return [ReadOnDay(date.fromisoformat(day), videos, size) for day, videos, size in db.execute(query)]


def summarize(
    read: Sequence[ReadOnDay], interval_days: int, now: datetime, next_round: datetime | None = None
) -> FixityAges:
    """`read`: by day, oldest first. A day in the future, of a clock that was ahead, counts as today."""
    today = now.astimezone(UTC).date()
    buckets = _empty_buckets(interval_days)
    for one in read:
        age = max(0, (today - one.day).days)
        bucket = next(bucket for bucket in buckets if bucket.to_days is None or age < bucket.to_days)
        bucket.videos += one.videos
        bucket.bytes += one.bytes
    return FixityAges(
        interval_days=interval_days,
        videos=sum(one.videos for one in read),
        bytes=sum(one.bytes for one in read),
        within=_bytes(bucket for bucket in buckets if not bucket.overdue),
        oldest=read[0].day if read else None,
        next_round=next_round,
        buckets=buckets,
    )


def _empty_buckets(interval_days: int) -> list[AgeBucket]:
    starts = boundaries(interval_days or _WITHOUT_INTERVAL)
    return [
        AgeBucket(from_days=start, to_days=end, videos=0, bytes=0, overdue=0 < interval_days <= start)
        for start, end in zip(starts, [*starts[1:], None], strict=True)
    ]


def boundaries(interval_days: int) -> list[int]:
    """Return the first days of all buckets: equal parts of the interval, then wider ones. Each has a day at least."""
    parts = [round(interval_days * step / _STEPS) for step in range(_STEPS)]
    beyond = [round(interval_days * times) for times in _BEYOND]
    return sorted({*parts, *beyond})


def _bytes(buckets: Iterable[AgeBucket]) -> int:
    return sum(bucket.bytes for bucket in buckets)
