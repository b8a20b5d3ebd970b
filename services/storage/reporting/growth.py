"""How the archive grows: by month, and how long its disks will last."""

import asyncio
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel

from services.common.infra.sqlite import Database, utc_text
from services.storage.index.roots import ArchiveRoots

_OBSERVED = timedelta(days=30)  # the time whose growth is taken to go on
_LEAST_OBSERVED = timedelta(days=1)


class MonthTotals(BaseModel):
    """`month`: `2024-03`; null where it is not known."""

    month: str | None
    videos: int
    bytes: int


class Disk(BaseModel):
    """A disk with the archive `roots` on it. `archived`: the bytes of these roots. `bytes_per_day`: how fast they grew
    in the last 30 days, null in the first day of an archive. `days_left`: until `min_free` is reached at that rate;
    null when it does not grow. All null where the disk cannot be read."""

    roots: list[str]
    archived: int
    total_bytes: int | None
    free_bytes: int | None
    min_free: int
    bytes_per_day: float | None
    days_left: float | None


class Growth(BaseModel):
    """Totals by the month in which videos were `saved`, and in which they were published (`made`), oldest first."""

    disks: list[Disk]
    saved: list[MonthTotals]
    made: list[MonthTotals]


@dataclass(frozen=True)
class RootGrowth:
    """`recent`: bytes saved in the last `days`."""

    bytes: int
    recent: int
    days: float


class GrowthReport:
    def __init__(self, database: Database, roots: ArchiveRoots, min_free: int) -> None:
        self._database = database
        self._roots = roots
        self._min_free = min_free

    async def read(self) -> Growth:
        now = datetime.now(UTC)
        per_root, saved, made = await self._database.read(lambda db: (_by_root(db, now), _saved(db), _made(db)))
        named = list(dict.fromkeys([*map(str, self._roots.all), *per_root]))
        disks = await asyncio.to_thread(_disks, named, frozenset(self._roots.unavailable))
        return Growth(
            disks=[self._disk(roots, usage, per_root) for roots, usage in disks],
            saved=saved,
            made=made,
        )

    def _disk(self, roots: Sequence[str], usage: tuple[int, int] | None, per_root: Mapping[str, RootGrowth]) -> Disk:
        held = [per_root[root] for root in roots if root in per_root]
        rate = growth_rate(held)
        total, free = usage or (None, None)
        return Disk(
            roots=list(roots),
            archived=sum(one.bytes for one in held),
            total_bytes=total,
            free_bytes=free,
            min_free=self._min_free,
            bytes_per_day=rate,
            days_left=None if free is None or not rate else max(0, free - self._min_free) / rate,
        )


def growth_rate(held: Sequence[RootGrowth]) -> float | None:
    """Return the bytes per day of several roots; None without a day of observation."""
    days = max((one.days for one in held), default=0.0)
    return sum(one.recent for one in held) / days if days >= _LEAST_OBSERVED / timedelta(days=1) else None


def _by_root(db: sqlite3.Connection, now: datetime) -> dict[str, RootGrowth]:
    query = (
        "SELECT root, sum(bytes), sum(CASE WHEN archived_at >= ? THEN bytes ELSE 0 END), min(archived_at) FROM videos"
        " GROUP BY root"
    )
    rows = db.execute(query, (utc_text(now - _OBSERVED),))
    return {root: RootGrowth(size, recent, _days_since(first, now)) for root, size, recent, first in rows}


def _days_since(first: str, now: datetime) -> float:
    return min(max(now - datetime.fromisoformat(first), timedelta()), _OBSERVED) / timedelta(days=1)


def _saved(db: sqlite3.Connection) -> list[MonthTotals]:
    query = "SELECT substr(archived_at, 1, 7) AS month, count(*), sum(bytes) FROM videos GROUP BY month ORDER BY month"
    return [MonthTotals(month=month, videos=videos, bytes=size) for month, videos, size in db.execute(query)]


def _made(db: sqlite3.Connection) -> list[MonthTotals]:
    query = "SELECT substr(upload_date, 1, 7) AS month, count(*), sum(bytes) FROM videos GROUP BY month ORDER BY month"
    return [MonthTotals(month=month, videos=videos, bytes=size) for month, videos, size in db.execute(query)]


def _disks(roots: Sequence[str], away: frozenset[str]) -> list[tuple[list[str], tuple[int, int] | None]]:
    """Return the roots by disk, each with its (total, free) bytes. One that is `away`, not mounted, or cannot be read
    is alone."""
    found: dict[object, tuple[list[str], tuple[int, int] | None]] = {}
    for root in roots:
        try:
            if root in away:
                raise FileNotFoundError(root)
            usage = shutil.disk_usage(root)
            found.setdefault(Path(root).stat().st_dev, ([], (usage.total, usage.free)))[0].append(root)
        except OSError:
            found[root] = ([root], None)
    return list(found.values())
