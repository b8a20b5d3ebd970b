"""How long ended jobs are kept (SPEC: Data Retention), and their removal. Work plans belong to storage and stay.

A removed job is invisible at once; its rows are deleted in batches, so that the scheduler gets its turn in between.
"""

import asyncio
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from services.common.domain.jobs import JobCounts
from services.common.infra.deletion_clock import DeletionClock
from services.common.models import JobStatus
from services.common.rechecks import is_recheck
from services.common.settings.sections import Retention
from services.jobs.adapters.commits import Commit, CommitNotifier
from services.jobs.adapters.store import Store
from services.jobs.adapters.unit_of_work import SqlRows, as_time, next_change
from services.jobs.domain.accounting import Out
from services.jobs.rest_models import Cleanup, EndedJob

BATCH = 2000  # items that one transaction deletes
EVERY = timedelta(days=1)
_COUNTS = ("total", "archived", "skipped", "unavailable", "failed")
_REMOVALS_KEPT = timedelta(days=15)  # a client that follows the changes of all jobs may be away that long


def is_due(job: EndedJob, retention: Retention, now: datetime) -> bool:
    """Return whether a job is kept no longer: by default completed ones for 30 days, failed 90, cancelled 7. One that
    saved nothing is kept like a failed one, except for re-checks, whose results are in the work plans. An open job is
    never due."""
    failed = job.nothing_saved and not is_recheck(job.job_id)
    days = {
        JobStatus.COMPLETED: retention.failed_jobs if failed else retention.completed_jobs,
        JobStatus.FAILED: retention.failed_jobs,
        JobStatus.CANCELLED: retention.cancelled_jobs,
    }.get(job.status)
    return days is not None and now - job.finished_at > timedelta(days=days)


async def due(store: Store, retention: Retention, now: datetime) -> list[EndedJob]:
    """Return the jobs that are kept no longer, the oldest first. The store may be read-only."""
    ended = await store.read(lambda _rows, sql: _ended(sql))
    return [job for job in ended if is_due(job, retention, now)]


async def remove_due(store: Store, jobs: Iterable[EndedJob], notifier: CommitNotifier) -> Cleanup:
    """Remove these jobs and their items. A job that was reopened meanwhile stays."""
    removed = [job for job in jobs if await remove(store, job.job_id, notifier, ended_at=job.finished_at)]
    return report(removed, dry_run=False)


async def remove(store: Store, job_id: str, notifier: CommitNotifier, *, ended_at: datetime | None = None) -> bool:
    """Remove a job. Return False when there is no such job, or it is open, or it ended at another time than
    `ended_at`."""
    removed: list[bool] = []

    def work(rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> list[Out]:
        job = rows.job(job_id)
        fits = job is not None and job.status.ended and ended_at in {None, job.finished_at}
        if fits:
            sql.execute("DELETE FROM jobs WHERE job_id=?", (job_id,))
            removal = (job_id, next_change(sql), as_time(now), 1)
            sql.execute("INSERT OR REPLACE INTO removals VALUES (?,?,?,?)", removal)
        removed.append(fits)
        return []

    await store.change(work)
    if removed[-1]:
        await delete_rows(store)
        notifier.notify(Commit(frozenset({job_id}), outbox=False))
    return removed[-1]


async def delete_rows(store: Store) -> None:
    """Delete the rows of all removed jobs, interrupted removals included."""
    while await store.write(_delete_batch):
        pass


async def upkeep(store: Store, retention: Retention, now: datetime, notifier: CommitNotifier) -> Cleanup:
    """Remove everything that is due: jobs, rows of interrupted removals, ids of old messages, unused pages."""
    await delete_rows(store)
    done = await remove_due(store, await due(store, retention, now), notifier)
    await _forget_removals(store, now - _REMOVALS_KEPT)
    await store.prune_inbox(now)
    await store.release_free_pages()
    return done


async def daily(store: Store, retention: Retention, clock: DeletionClock, notifier: CommitNotifier) -> None:
    """Run upkeep now and then once a day."""
    while True:
        await upkeep(store, retention, await asyncio.to_thread(clock.now), notifier)
        await asyncio.sleep(EVERY.total_seconds())


def report(jobs: Sequence[EndedJob], *, dry_run: bool) -> Cleanup:
    return Cleanup(dry_run=dry_run, jobs=list(jobs), total=len(jobs), items=sum(job.items for job in jobs))


async def _forget_removals(store: Store, before: datetime) -> None:
    query = "DELETE FROM removals WHERE clearing = 0 AND at < ?"
    await store.write(lambda sql: sql.execute(query, (before.astimezone(UTC).isoformat(),)))


def _delete_batch(sql: sqlite3.Connection) -> bool:
    """Delete one batch. Return whether there is more."""
    found = sql.execute("SELECT job_id FROM removals WHERE clearing = 1 LIMIT 1").fetchone()
    if found is None:
        return False
    job_id = found["job_id"]
    some = "SELECT video_id FROM items WHERE job_id = ? LIMIT ?"
    deleted = sql.execute(f"DELETE FROM items WHERE job_id = ? AND video_id IN ({some})", (job_id, job_id, BATCH))  # noqa: S608 - constants
    if deleted.rowcount < BATCH:
        sql.execute("DELETE FROM listings WHERE job_id = ?", (job_id,))
        sql.execute("UPDATE removals SET clearing = 0 WHERE job_id = ?", (job_id,))
    return True


def _ended(sql: sqlite3.Connection) -> list[EndedJob]:
    ended = [status.value for status in JobStatus if status.ended]
    marks = ",".join("?" * len(ended))
    counts = ", ".join(f"json_extract(body, '$.{name}') {name}" for name in _COUNTS)
    query = f"""SELECT job_id, status, json_extract(body, '$.finished_at') at, {counts}
        FROM jobs WHERE status IN ({marks}) ORDER BY at, job_id"""  # noqa: S608 - only marks and constants
    return [_ended_job(row) for row in sql.execute(query, ended)]


def _ended_job(row: sqlite3.Row) -> EndedJob:
    counts = JobCounts(**{name: row[name] or 0 for name in _COUNTS})
    return EndedJob(
        job_id=row["job_id"],
        status=row["status"],
        finished_at=row["at"],
        items=counts.total,
        nothing_saved=counts.nothing_saved,
    )
