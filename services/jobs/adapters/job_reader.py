"""Reads jobs and items from jobs.db: for REST, for the event streams, and for the offline interface."""

import json
import sqlite3
from collections.abc import Sequence

from services.common.domain.jobs import Item, ItemStatus, Job
from services.common.errors import NotFound
from services.common.infra.sqlite_files import parse_row
from services.common.models import JobStatus
from services.jobs.adapters.store import Store
from services.jobs.adapters.unit_of_work import ITEM, JOB, SqlRows
from services.jobs.domain.rows import JobRow
from services.jobs.domain.views import item_view, job_view
from services.jobs.rest_models import OPEN, ItemList, ItemQuery, ItemStates, JobList, JobQuery, JobSummary

_COMPLETE = 100  # videos of a job whose summary has all of them
_EACH = 50  # videos of each kind in the summary of a larger job
_UNSAVED = (ItemStatus.CLOSING, ItemStatus.FAILED, ItemStatus.UNAVAILABLE)
_BODIES = "SELECT body FROM items WHERE job_id=:job_id AND "
_SCHEDULED = "status='waiting' AND retry_at IS NOT NULL ORDER BY retry_at, position"
_PAGE_AT = """SELECT i.body, i.position, i.video_id
    FROM (SELECT video_id FROM items WHERE job_id=:job_id{status} ORDER BY position, video_id
        LIMIT :limit OFFSET :offset) page
    JOIN items i ON i.job_id=:job_id AND i.video_id=page.video_id ORDER BY i.position, i.video_id"""
_PAGE_AFTER = """SELECT body, position, video_id FROM items WHERE job_id=:job_id{status}
    AND (position, video_id) > (:position, :video_id) ORDER BY position, video_id LIMIT :limit"""
_LETTERS = {
    ItemStatus.LISTED: "l",
    ItemStatus.WAITING: "w",
    ItemStatus.RUNNING: "r",
    ItemStatus.CLOSING: "g",
    ItemStatus.ARCHIVED: "a",
    ItemStatus.SKIPPED: "s",
    ItemStatus.UNAVAILABLE: "u",
    ItemStatus.FAILED: "f",
    ItemStatus.CANCELLED: "c",
}
_NEWEST = "created_at DESC, job_id"
# as the scheduler chooses, without what changes with every turn; an ended job has no turn
_QUEUE = """status IN ('completed', 'failed', 'cancelled'), coalesce(json_extract(body, '$.paused'), 0),
    status = 'retrying', coalesce(json_extract(body, '$.priority'), 0) DESC, created_at, job_id"""


class JobReader:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, job_id: str) -> Job | None:
        return await self._store.read(lambda rows, _sql: job_view(row) if (row := rows.job(job_id)) else None)

    async def get(self, job_id: str) -> Job:
        """Raises NotFound."""
        job = await self.find(job_id)
        if job is None:
            raise _no_job(job_id)
        return job

    async def jobs(self, query: JobQuery) -> JobList:
        """Return a page of the jobs, newest first or in the order in which they are served."""
        where, args = "WHERE 1", list[object]()
        if query.status is not None:
            statuses = [s for s in JobStatus if not s.ended] if query.status == OPEN else [query.status]
            where, args = where + f" AND status IN ({','.join('?' * len(statuses))})", [*args, *statuses]
        if query.type is not None:
            where, args = where + " AND type = ?", [*args, query.type]

        def work(_rows: SqlRows, sql: sqlite3.Connection) -> JobList:
            (total,) = sql.execute(f"SELECT count(*) FROM jobs {where}", args).fetchone()  # noqa: S608 - only marks
            order = _QUEUE if query.sort == "queue" else _NEWEST
            select = f"SELECT body FROM jobs {where} ORDER BY {order} LIMIT ? OFFSET ?"  # noqa: S608 - only marks
            found = sql.execute(select, [*args, query.limit, query.offset])
            jobs = [job_view(parse_row(JOB.validate_json, row["body"])) for row in found]
            return JobList(jobs=jobs, total=total, limit=query.limit, offset=query.offset)

        return await self._store.read(work)

    async def items(self, job_id: str, query: ItemQuery) -> ItemList:
        """Return a page of the items of a job, in their order in the list."""

        def work(rows: SqlRows, sql: sqlite3.Connection) -> ItemList:
            job = rows.job(job_id)
            found = _page(sql, job_id, query)
            last = found[query.limit - 1] if len(found) > query.limit else None
            return ItemList(
                items=[_item(row) for row in found[: query.limit]],
                total=_total(sql, job, query.status) if job else 0,
                limit=query.limit,
                offset=query.offset,
                next=f"{last['position']}/{last['video_id']}" if last else None,
            )

        return await self._store.read(work)

    async def states(self, job_id: str) -> ItemStates:
        """Return the state of every item. It reads an index alone, which is not in the order of the list."""

        def work(_rows: SqlRows, sql: sqlite3.Connection) -> str:
            query = "SELECT position, video_id, status FROM items INDEXED BY items_by_turn WHERE job_id=?"
            found = sorted((row["position"], row["video_id"], row["status"]) for row in sql.execute(query, (job_id,)))
            return "".join(_LETTERS[ItemStatus(status)] for _position, _video_id, status in found)

        states = await self._store.read(work)
        return ItemStates(job_id=job_id, states=states, legend={letter: status for status, letter in _LETTERS.items()})

    async def summary(self, job_id: str) -> JobSummary:
        """Return a job with the videos that deserve attention. Raises NotFound."""

        def work(rows: SqlRows, sql: sqlite3.Connection) -> JobSummary:
            job = rows.job(job_id)
            if job is None:
                raise _no_job(job_id)
            if job.total <= _COMPLETE:
                items = [_item(row) for row in _page(sql, job_id, ItemQuery(limit=_COMPLETE))]
            else:
                items = _noteworthy(sql, job_id)
            return JobSummary(job=job_view(job), items=items, left_out=job.total - len(items))

        return await self._store.read(work)

    async def running_videos(self, job_id: str) -> list[str]:
        """Return the videos of a job that are being downloaded now."""
        query = "SELECT video_id FROM items WHERE job_id=? AND status='running' ORDER BY position"
        return await self._store.read(lambda _rows, sql: [row["video_id"] for row in sql.execute(query, (job_id,))])

    async def changed_since(self, job_id: str, revision: int, limit: int = 1000) -> tuple[Job | None, list[Item]]:
        """Return the job, and its items that changed after `revision`, in the order of their changes."""
        query = "SELECT body FROM items WHERE job_id=? AND revision>? ORDER BY revision LIMIT ?"

        def work(rows: SqlRows, sql: sqlite3.Connection) -> tuple[Job | None, list[Item]]:
            found = [_item(row) for row in sql.execute(query, (job_id, revision, limit))]
            row = rows.job(job_id)
            return (job_view(row) if row else None), found

        return await self._store.read(work)

    async def awaited_videos(self, video_ids: Sequence[str]) -> list[str]:
        """Return those of these videos that an open item waits for."""
        query = "SELECT video_id FROM fetches WHERE video_id IN (SELECT value FROM json_each(?))"

        def work(_rows: SqlRows, sql: sqlite3.Connection) -> list[str]:
            return [row["video_id"] for row in sql.execute(query, (json.dumps(list(video_ids)),))]

        return await self._store.read(work)


def _page(sql: sqlite3.Connection, job_id: str, query: ItemQuery) -> list[sqlite3.Row]:
    """Return the rows of a page, and the one after it if there is one. An offset is counted in an index alone."""
    values: dict[str, object] = {"job_id": job_id, "limit": query.limit + 1, "offset": query.offset}
    condition = ""
    if query.status is not None:
        condition, values["status"] = " AND status=:status", query.status
    if query.after is None:
        return sql.execute(_PAGE_AT.format(status=condition), values).fetchall()
    position, video_id = query.after.split("/")
    values |= {"position": int(position), "video_id": video_id}
    return sql.execute(_PAGE_AFTER.format(status=condition), values).fetchall()


def _total(sql: sqlite3.Connection, job: JobRow, status: ItemStatus | None) -> int:
    if status is None:
        return job.total
    query = "SELECT count(*) FROM items WHERE job_id=? AND status=?"
    (total,) = sql.execute(query, (job.job_id, status)).fetchone()
    return int(total)


def _noteworthy(sql: sqlite3.Connection, job_id: str) -> list[Item]:
    """Return up to _EACH videos of each kind that the summary of a job names: an index look-up for each kind."""
    by_status = [f"status='{status}' ORDER BY position" for status in (ItemStatus.RUNNING, *_UNSAVED)]
    found: list[Item] = []
    for condition in (*by_status, _SCHEDULED, f"status='{ItemStatus.CANCELLED}' ORDER BY position"):
        values = {"job_id": job_id, "limit": _EACH}
        found += [_item(row) for row in sql.execute(f"{_BODIES}{condition} LIMIT :limit", values)]
    return found


def _no_job(job_id: str) -> NotFound:
    return NotFound(f"There is no job {job_id}: GET /api/v1/jobs lists them.", job_id=job_id)


def _item(row: sqlite3.Row) -> Item:
    return item_view(parse_row(ITEM.validate_json, row["body"]))
