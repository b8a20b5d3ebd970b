"""How long jobs are kept that have ended (SPEC: Data Retention). For the service, and for the CLI where none runs."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from pydantic import AwareDatetime, BaseModel

from services.common.models import JobStatus
from services.common.settings.sections import Retention
from services.jobs.adapters import removal
from services.jobs.adapters.store import Change, Store

EVERY = timedelta(days=1)
_REMOVALS_TOLD = timedelta(days=15)


class EndedJob(BaseModel):
    """A job that has ended, as far as its removal is concerned. `items` counts its videos."""

    job_id: str
    status: JobStatus
    finished_at: AwareDatetime
    items: int


class Cleanup(BaseModel):
    """What was removed, or with `dry_run` what would be."""

    dry_run: bool
    jobs: list[EndedJob]
    total: int
    items: int


def is_due(job: EndedJob, retention: Retention, now: datetime) -> bool:
    """SPEC: completed jobs 30 days, failed 90, cancelled 7, as configured; an open one never."""
    days = {
        JobStatus.COMPLETED: retention.completed_jobs,
        JobStatus.FAILED: retention.failed_jobs,
        JobStatus.CANCELLED: retention.cancelled_jobs,
    }.get(job.status)
    return days is not None and now - job.finished_at > timedelta(days=days)


async def due(store: Store, retention: Retention, now: datetime) -> list[EndedJob]:
    """What `remove` would take away now, the oldest first. The store may be open for reading only."""
    ended = await store.read(lambda _rows, sql: _ended(sql))
    return [job for job in ended if is_due(job, retention, now)]


async def remove(store: Store, jobs: Iterable[EndedJob], noted: Callable[[Change], None] | None = None) -> Cleanup:
    """Remove these with their items, in small transactions. One that was taken up again meanwhile stays."""
    gone: list[EndedJob] = []
    for job in jobs:
        change = await removal.remove(store, job.job_id, ended_at=job.finished_at)
        if change is not None:
            gone.append(job)
            if noted is not None:
                noted(change)
    return report(gone, dry_run=False)


async def upkeep(
    store: Store, retention: Retention, now: datetime, noted: Callable[[Change], None] | None = None
) -> Cleanup:
    """All that is due: jobs, what a removal that was cut off left, ids of old messages, empty pages."""
    await removal.clear(store)
    done = await remove(store, await due(store, retention, now), noted)
    await removal.forget_removals(store, now - _REMOVALS_TOLD)
    await store.prune_inbox(now)
    await store.give_back_space()
    return done


async def daily(store: Store, retention: Retention, noted: Callable[[Change], None]) -> None:
    """At once, and then once a day."""
    while True:
        await upkeep(store, retention, datetime.now(UTC), noted)
        await asyncio.sleep(EVERY.total_seconds())


def report(jobs: Sequence[EndedJob], *, dry_run: bool) -> Cleanup:
    return Cleanup(dry_run=dry_run, jobs=list(jobs), total=len(jobs), items=sum(job.items for job in jobs))


def _ended(sql: sqlite3.Connection) -> list[EndedJob]:
    ended = [status.value for status in JobStatus if status.ended]
    marks = ",".join("?" * len(ended))
    query = f"""SELECT job_id, status, json_extract(body, '$.finished_at') at, json_extract(body, '$.total') items
        FROM jobs WHERE status IN ({marks}) ORDER BY at, job_id"""  # noqa: S608 - only marks
    return [
        EndedJob(job_id=row["job_id"], status=row["status"], finished_at=row["at"], items=row["items"])
        for row in sql.execute(query, ended)
    ]
