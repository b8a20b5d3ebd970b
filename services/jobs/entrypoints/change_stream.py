"""The change streams (SSE): of one job, and of all jobs: a snapshot, then each change.

They are read from jobs.db at the pace of the client, from the number of the last change that was sent: a slow client
delays nobody, nothing is kept for it, and one that reconnects goes on where it was.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress
from functools import partial

from pydantic import BaseModel

from services.common.domain.jobs import ItemStatus, Job
from services.common.infra.sqlite_files import parse_row
from services.jobs.adapters.job_reader import JobReader
from services.jobs.adapters.queries import open_jobs
from services.jobs.adapters.store import Store
from services.jobs.adapters.unit_of_work import JOB, SqlRows
from services.jobs.domain.views import job_view
from services.jobs.rest_models import ItemList, OpenJobs, RemovedJob
from services.jobs.subscribers import Subscribers

_ITEMS = 1000  # items in one message
_PAGE = 100  # jobs in one read, and in one message of the snapshot
_GATHER = 0.2  # seconds: several changes of one job within that time are sent as one

Message = tuple[str, BaseModel, int]  # name, data, id


async def changes_of_job(
    reader: JobReader, subscribers: Subscribers, closing: asyncio.Event, job: Job, seen: int | None, within: float
) -> AsyncGenerator[Message, None]:
    """Yield `snapshot` (or the changes since revision `seen`), then `items`, `job` and `progress` as they change, and
    `end`. The id of a message is the revision of the job.
    """
    revision = seen if seen is not None and seen <= job.revision else 0
    known = -1
    running: set[str] = set()
    with subscribers.subscribe(job.job_id) as subscription:
        if revision == 0:
            yield "snapshot", job, 0
        while not closing.is_set():
            current, items = await reader.changed_since(job.job_id, revision, _ITEMS)
            if current is None:
                return
            if items:
                revision = items[-1].revision
                running |= {item.video_id for item in items}
                running -= {item.video_id for item in items if item.status is not ItemStatus.RUNNING}
                yield "items", ItemList(items=items, total=current.counts.total, limit=_ITEMS, offset=0), revision
            if len(items) == _ITEMS:
                continue
            if current.revision != known:
                known = revision = current.revision
                yield "job", current, revision
            if current.status.ended:
                yield "end", current, revision
                return
            for event in await subscription.wait(within, running):
                yield "progress", event, revision


async def changes_of_all(
    store: Store, subscribers: Subscribers, closing: asyncio.Event, seen: int | None, within: float
) -> AsyncGenerator[Message, None]:
    """Yield `snapshot` messages (the open jobs), unless the client has seen change `seen`; then `job` and `removed`.

    The id of a message is the number of the change. It is 0 for an incomplete snapshot: reconnecting starts anew.
    """
    with subscribers.subscribe_to_all() as changed:
        latest = await store.read(lambda _rows, sql: _latest(sql))
        if seen is None or not 0 < seen <= latest:
            seen = latest
            async for message in _snapshot(store, seen):
                yield message
        while not closing.is_set():
            changed.clear()
            changes = await store.read(partial(_changes, after=seen))
            for message in changes:
                yield message
                seen = message[2]
            if len(changes) < _PAGE:
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), within)
                await asyncio.sleep(_GATHER)


async def _snapshot(store: Store, latest: int) -> AsyncIterator[Message]:
    """Yield the open jobs. Changes during the snapshot are sent as changes after it."""
    job_ids = await store.read(lambda _rows, sql: open_jobs(sql))
    for offset in range(0, max(len(job_ids), 1), _PAGE):
        jobs = await store.read(partial(_jobs, job_ids=job_ids[offset : offset + _PAGE]))
        last = offset + _PAGE >= len(job_ids)
        part = OpenJobs(jobs=jobs, total=len(job_ids), limit=_PAGE, offset=offset)
        yield "snapshot", part, latest if last else 0


def _jobs(rows: SqlRows, _sql: sqlite3.Connection, job_ids: Sequence[str]) -> list[Job]:
    return [job_view(row) for job_id in job_ids if (row := rows.job(job_id))]


def _latest(sql: sqlite3.Connection) -> int:
    return int(sql.execute("SELECT latest FROM changes").fetchone()["latest"])


def _changes(_rows: SqlRows, sql: sqlite3.Connection, after: int) -> list[Message]:
    query = "SELECT changed, body FROM jobs WHERE changed > ? ORDER BY changed LIMIT ?"
    found: list[Message] = [
        ("job", job_view(parse_row(JOB.validate_json, row["body"])), row["changed"])
        for row in sql.execute(query, (after, _PAGE))
    ]
    query = "SELECT changed, job_id FROM removals WHERE changed > ? ORDER BY changed LIMIT ?"
    found += [
        ("removed", RemovedJob(job_id=row["job_id"]), row["changed"]) for row in sql.execute(query, (after, _PAGE))
    ]
    return sorted(found, key=lambda message: message[2])[:_PAGE]
