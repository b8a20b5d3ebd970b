"""The story of all jobs, for whoever follows it: a snapshot of the open ones, then each job as it changes.

It is read from jobs.db at the pace of the reader, by the number of the last change that was told: a slow listener
holds nobody up and nothing is kept for it, and one that comes back goes on where it was.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress
from functools import partial

from pydantic import BaseModel

from services.common.models import Job
from services.common.web.paging import Page
from services.jobs.adapters.queries import open_jobs
from services.jobs.adapters.store import Store
from services.jobs.adapters.unit_of_work import JOB, SqlRows
from services.jobs.domain.views import job_view
from services.jobs.subscribers import Live

_PAGE = 100  # jobs of one look, and of one message of the snapshot
_GATHER = 0.2  # seconds: changes that come closer together are told as one

Told = tuple[str, BaseModel, int]


class OpenJobs(Page):
    """A part of the snapshot."""

    jobs: list[Job]


class RemovedJob(BaseModel):
    """It was removed by hand, or its time was up."""

    job_id: str


async def story(
    store: Store, live: Live, closing: asyncio.Event, seen: int | None, patience: float
) -> AsyncGenerator[Told, None]:
    """`snapshot` messages (the open jobs), unless it goes on from change `seen`; then `job` and `removed`.

    The last number is the id of the message. 0, of a snapshot that has more to come, begins anew.
    """
    with live.watching() as news:
        latest = await store.read(lambda _rows, sql: _latest(sql))
        if seen is None or not 0 < seen <= latest:
            seen = latest
            async for told in _snapshot(store, seen):
                yield told
        while not closing.is_set():
            news.clear()
            changes = await store.read(partial(_changes, after=seen))
            for told in changes:
                yield told
                seen = told[2]
            if len(changes) < _PAGE:
                with suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), patience)
                await asyncio.sleep(_GATHER)


async def _snapshot(store: Store, latest: int) -> AsyncIterator[Told]:
    """What changes while it is told comes again as a change."""
    job_ids = await store.read(lambda _rows, sql: open_jobs(sql))
    for offset in range(0, max(len(job_ids), 1), _PAGE):
        jobs = await store.read(partial(_some, job_ids=job_ids[offset : offset + _PAGE]))
        last = offset + _PAGE >= len(job_ids)
        part = OpenJobs(jobs=jobs, total=len(job_ids), limit=_PAGE, offset=offset)
        yield "snapshot", part, latest if last else 0


def _some(rows: SqlRows, _sql: sqlite3.Connection, job_ids: Sequence[str]) -> list[Job]:
    return [job_view(row) for job_id in job_ids if (row := rows.job(job_id))]


def _latest(sql: sqlite3.Connection) -> int:
    return int(sql.execute("SELECT latest FROM changes").fetchone()["latest"])


def _changes(_rows: SqlRows, sql: sqlite3.Connection, after: int) -> list[Told]:
    query = "SELECT changed, body FROM jobs WHERE changed > ? ORDER BY changed LIMIT ?"
    found: list[Told] = [
        ("job", job_view(JOB.validate_json(row["body"])), row["changed"]) for row in sql.execute(query, (after, _PAGE))
    ]
    query = "SELECT changed, job_id FROM removals WHERE changed > ? ORDER BY changed LIMIT ?"
    found += [
        ("removed", RemovedJob(job_id=row["job_id"]), row["changed"]) for row in sql.execute(query, (after, _PAGE))
    ]
    return sorted(found, key=lambda told: told[2])[:_PAGE]
