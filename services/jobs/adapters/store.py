"""jobs.db: its transactions, inbox and outbox. A change and the facts that it causes are one transaction."""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import structlog

from bus.message import Envelope, Event, event_types
from services.common.errors import StorageFull
from services.common.infra.sqlite import Database
from services.common.models import Item, Job
from services.jobs.adapters.schema import STEPS
from services.jobs.adapters.unit_of_work import ITEM, JOB, SqlRows, as_time
from services.jobs.domain.accounting import Out
from services.jobs.domain.views import item_view, job_view

_log = structlog.get_logger("services.jobs", service="jobs")
T = TypeVar("T")
_AT_ONCE = 2000  # rows, or pages, that one transaction removes
_LOOK_FOR_SPACE = 5.0  # seconds
_INBOX_KEPT = timedelta(days=15)  # longer than the stream keeps a message


@dataclass(frozen=True)
class Pending:
    """A row of the outbox."""

    seq: int
    kind: type[Event]
    envelope: Envelope


@dataclass(frozen=True)
class Change:
    """What a transaction did: jobs that changed, whether the outbox has something to publish, and which messages
    (by id) were applied and not known already."""

    jobs: frozenset[str]
    outbox: bool
    applied: frozenset[str] = frozenset()


class Store:
    """jobs.db. Its methods are coroutines; each is one transaction."""

    def __init__(self, path: Path, source: str, *, read_only: bool = False) -> None:
        self._db = Database(path, STEPS, read_only=read_only)
        self._source = source

    def close(self) -> None:
        self._db.close()

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """One transaction; while the disk is full, again and again: nothing that jobs has to note may be dropped."""
        while True:
            try:
                return await self._db.run(work)
            except StorageFull as error:
                _log.error("waiting_for_space", error_code=error.code, error_message=str(error))
            await asyncio.sleep(_LOOK_FOR_SPACE)

    async def apply(
        self, envelopes: Sequence[Envelope], step: Callable[[SqlRows, Envelope, datetime], list[Out]]
    ) -> Change:
        """Apply messages that were not applied before, and queue what they cause."""

        def work(sql: sqlite3.Connection) -> Change:
            now = datetime.now(UTC)
            rows = SqlRows(sql)
            outbox = False
            applied = set()
            for envelope in envelopes:
                new = sql.execute("INSERT OR IGNORE INTO inbox VALUES (?,?)", (envelope.id, as_time(now))).rowcount
                if new:
                    applied.add(envelope.id)
                    outbox |= self._queue(sql, step(rows, envelope, now), caused_by=envelope.id)
            rows.save()
            return Change(frozenset(rows.touched), outbox, frozenset(applied))

        return await self._run(work)

    async def change(self, work: Callable[[SqlRows, sqlite3.Connection, datetime], list[Out]]) -> Change:
        """A change that no message causes: the scheduler's."""

        def transaction(sql: sqlite3.Connection) -> Change:
            rows = SqlRows(sql)
            outbox = self._queue(sql, work(rows, sql, datetime.now(UTC)), caused_by=None)
            rows.save()
            return Change(frozenset(rows.touched), outbox)

        return await self._run(transaction)

    async def read(self, work: Callable[[SqlRows, sqlite3.Connection], T]) -> T:
        return await self._run(lambda sql: work(SqlRows(sql), sql))

    def _queue(self, sql: sqlite3.Connection, outs: Iterable[Out], *, caused_by: str | None) -> bool:
        rows = []
        for event, trace_id in outs:
            envelope = Envelope.around(event, source=self._source, trace_id=trace_id, caused_by=caused_by)
            rows.append((event.subject, envelope.to_bytes()))
        sql.executemany("INSERT INTO outbox (type, envelope) VALUES (?,?)", rows)
        return bool(rows)

    # --- outbox and inbox

    async def pending(self, limit: int = 500) -> list[Pending]:
        kinds = {kind.subject: kind for kind in event_types()}

        def work(sql: sqlite3.Connection) -> list[Pending]:
            found = sql.execute("SELECT * FROM outbox ORDER BY seq LIMIT ?", (limit,)).fetchall()
            return [Pending(r["seq"], kinds[r["type"]], Envelope.from_bytes(r["envelope"], r["type"])) for r in found]

        return await self._run(work)

    async def published(self, pending: Sequence[Pending]) -> None:
        await self._run(lambda sql: sql.executemany("DELETE FROM outbox WHERE seq=?", [(p.seq,) for p in pending]))

    async def met_another(self, created: str) -> bool:
        """Remember when the broker's store was made. Returns whether it is another one than last time."""

        def work(sql: sqlite3.Connection) -> bool:
            before = sql.execute("SELECT created FROM broker").fetchone()
            sql.execute("INSERT OR REPLACE INTO broker VALUES (1, ?)", (created,))
            return before is not None and before["created"] != created

        return await self._run(work)

    async def prune_inbox(self, now: datetime | None = None) -> int:
        """Forget the ids of messages that the stream cannot bring any more, bit by bit. How many."""
        before, after, gone = as_time((now or datetime.now(UTC)) - _INBOX_KEPT), "", 0
        query = "SELECT id FROM inbox WHERE id > ? AND at < ? ORDER BY id LIMIT ?"

        def work(sql: sqlite3.Connection) -> list[str]:
            ids = [row["id"] for row in sql.execute(query, (after, before, _AT_ONCE))]
            sql.executemany("DELETE FROM inbox WHERE id = ?", [(id,) for id in ids])
            return ids

        while ids := await self._run(work):
            after, gone = ids[-1], gone + len(ids)
        return gone

    async def give_back_space(self) -> None:
        """Pages that nothing is in go back to the disk, a few MB at a time; in files of version 1 they are reused."""

        def work(sql: sqlite3.Connection) -> int:
            (free,) = sql.execute("PRAGMA freelist_count").fetchone()
            for _ in range(min(free, _AT_ONCE)):
                sql.execute("PRAGMA incremental_vacuum(1)")  # sqlite3 takes one step of it, hence one page
            (left,) = sql.execute("PRAGMA freelist_count").fetchone()
            return int(left) if left < free else 0

        while await self._run(work):
            pass

    async def wanted(self, video_ids: Sequence[str]) -> list[str]:
        """Those of these videos that an open item waits for."""
        query = "SELECT video_id FROM fetches WHERE video_id IN (SELECT value FROM json_each(?))"

        def work(_rows: SqlRows, sql: sqlite3.Connection) -> list[str]:
            return [row["video_id"] for row in sql.execute(query, (json.dumps(list(video_ids)),))]

        return await self.read(work)

    # --- what REST shows

    async def job(self, job_id: str) -> Job | None:
        return await self.read(lambda rows, _sql: job_view(row) if (row := rows.job(job_id)) else None)

    async def jobs(
        self, statuses: Sequence[str], limit: int, offset: int, kind: str | None = None
    ) -> tuple[list[Job], int]:
        """The newest first, and how many there are in all. No `statuses`, no `kind`: of every one."""
        where, args = "WHERE 1", list[object]()
        if statuses:
            where, args = where + f" AND status IN ({','.join('?' * len(statuses))})", [*args, *statuses]
        if kind is not None:
            where, args = where + " AND type = ?", [*args, kind]

        def work(_rows: SqlRows, sql: sqlite3.Connection) -> tuple[list[Job], int]:
            (total,) = sql.execute(f"SELECT count(*) FROM jobs {where}", args).fetchone()  # noqa: S608 - only marks
            query = f"SELECT body FROM jobs {where} ORDER BY created_at DESC, job_id LIMIT ? OFFSET ?"  # noqa: S608 - only marks
            found = sql.execute(query, [*args, limit, offset])
            return [job_view(JOB.validate_json(row["body"])) for row in found], total

        return await self.read(work)

    async def items(self, job_id: str, limit: int, offset: int) -> tuple[list[Item], int]:
        def work(rows: SqlRows, sql: sqlite3.Connection) -> tuple[list[Item], int]:
            job = rows.job(job_id)
            total = job.total if job else 0
            query = "SELECT body FROM items WHERE job_id=? ORDER BY position, video_id LIMIT ? OFFSET ?"
            found = sql.execute(query, (job_id, limit, offset))
            return [item_view(ITEM.validate_json(row["body"])) for row in found], total

        return await self.read(work)

    async def running(self, job_id: str) -> list[str]:
        """The videos of a job that are being fetched, wherever they stand in it."""
        query = "SELECT video_id FROM items WHERE job_id=? AND status='running' ORDER BY position"
        return await self.read(lambda _rows, sql: [row["video_id"] for row in sql.execute(query, (job_id,))])

    async def changed_since(self, job_id: str, revision: int, limit: int = 1000) -> tuple[Job | None, list[Item]]:
        """The job, and its items that changed after `revision`, in the order of their changes."""

        def work(rows: SqlRows, sql: sqlite3.Connection) -> tuple[Job | None, list[Item]]:
            query = "SELECT body FROM items WHERE job_id=? AND revision>? ORDER BY revision LIMIT ?"
            found = [item_view(ITEM.validate_json(r["body"])) for r in sql.execute(query, (job_id, revision, limit))]
            row = rows.job(job_id)
            return (job_view(row) if row else None), found

        return await self.read(work)
