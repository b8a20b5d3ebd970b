"""jobs.db: transactions, inbox and outbox. A change and the events that it causes are one transaction."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog

from bus.message import Envelope, Event
from services.common.errors import StateDamaged, code_of
from services.common.infra.sqlite import Database
from services.jobs.adapters.commits import Commit
from services.jobs.adapters.schema import STEPS
from services.jobs.adapters.unit_of_work import SqlRows, as_time

if TYPE_CHECKING:
    from services.jobs.domain.accounting import Out

_log = structlog.get_logger("services.jobs", service="jobs")
T = TypeVar("T")
RESTORED_AT_START = "Stop ytarchive and start `ytarchive up`: it is restored from the newest copy in jobs/backups."
_BATCH = 2000  # rows, or pages, that one transaction removes
_FULL_DISK_PAUSE = 5.0  # seconds
_INBOX_KEPT = timedelta(days=15)  # longer than the stream keeps a message


@dataclass(frozen=True)
class OutboxRow:
    """An event that is to be published."""

    seq: int
    kind: type[Event]
    envelope: Envelope


class Store:
    """Reads and transactions of jobs.db. While the disk is full a write is repeated: no message may be dropped."""

    def __init__(self, path: Path, source: str, *, read_only: bool = False) -> None:
        self._db = Database(
            path,
            STEPS,
            read_only=read_only,
            pause_while_full=partial(asyncio.sleep, _FULL_DISK_PAUSE),
            report_full=_report_full,
            remedy=RESTORED_AT_START,
        )
        self._source = source
        self._published = 0  # seq of the last event that was published

    def close(self) -> None:
        self._db.close()

    # --- transactions

    async def apply(
        self, envelopes: Sequence[Envelope], step: Callable[[SqlRows, Envelope, datetime], "list[Out]"]
    ) -> Commit:
        """Apply the messages that were not applied before, and queue the events that they cause."""

        def work(sql: sqlite3.Connection) -> Commit:
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
            self._remove_published(sql)
            return Commit(frozenset(rows.touched), outbox, frozenset(applied))

        return await self._db.run(work)

    async def change(self, work: Callable[[SqlRows, sqlite3.Connection, datetime], "list[Out]"]) -> Commit:
        """Run a change that no message causes, and queue the events that it returns."""

        def transaction(sql: sqlite3.Connection) -> Commit:
            rows = SqlRows(sql)
            outbox = self._queue(sql, work(rows, sql, datetime.now(UTC)), caused_by=None)
            rows.save()
            self._remove_published(sql)
            return Commit(frozenset(rows.touched), outbox)

        return await self._db.run(transaction)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run one write transaction that changes no job and queues no event."""
        return await self._db.run(work)

    async def read(self, work: Callable[[SqlRows, sqlite3.Connection], T]) -> T:
        """Run `work` on a read-only connection. It does not wait for write transactions."""
        return await self._db.read(lambda sql: work(SqlRows(sql), sql))

    def _queue(self, sql: sqlite3.Connection, outs: "Iterable[Out]", *, caused_by: str | None) -> bool:
        rows = []
        for event, trace_id in outs:
            envelope = Envelope.around(event, source=self._source, trace_id=trace_id, caused_by=caused_by)
            rows.append((event.subject, envelope.to_bytes()))
        sql.executemany("INSERT INTO outbox (type, envelope) VALUES (?,?)", rows)
        return bool(rows)

    # --- outbox and inbox

    async def pending(self, limit: int = 500) -> list[OutboxRow]:
        """Return the oldest events that are not published yet."""
        from services.common.events import catalogue  # not to read jobs

        kinds = {kind.subject: kind for kind in catalogue()}

        def work(sql: sqlite3.Connection) -> list[OutboxRow]:
            query = "SELECT * FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?"
            found = sql.execute(query, (self._published, limit)).fetchall()
            return [OutboxRow(r["seq"], kinds[r["type"]], Envelope.from_bytes(r["envelope"], r["type"])) for r in found]

        return await self._db.read(work)

    def published(self, row: OutboxRow) -> None:
        """Note that this event and all before it are published. The next transaction removes them: one of its own would
        sync the file once more for each event. After a crash they are published again, under the same ids."""
        self._published = max(self._published, row.seq)

    async def remove_published(self) -> None:
        """Remove the published events from the outbox now. A disk that is full or damaged does not hold up the end."""
        with suppress(StateDamaged, TimeoutError):
            async with asyncio.timeout(_FULL_DISK_PAUSE / 5):
                await self._db.run(self._remove_published)

    def _remove_published(self, sql: sqlite3.Connection) -> None:
        sql.execute("DELETE FROM outbox WHERE seq <= ?", (self._published,))

    async def applied(self, message_id: str) -> bool:
        """Return whether this message was applied before."""
        query = "SELECT 1 FROM inbox WHERE id=?"
        return await self._db.read(lambda sql: sql.execute(query, (message_id,)).fetchone() is not None)

    async def identity(self) -> str:
        """Return the id of this database, which stays when the file is copied or restored."""
        return await self._db.read(lambda sql: str(sql.execute("SELECT id FROM identity").fetchone()["id"]))

    async def note_broker_store(self, created: str) -> bool:
        """Store when the broker's store was created. Return whether it is another store than the last time."""

        def work(sql: sqlite3.Connection) -> bool:
            before = sql.execute("SELECT created FROM broker").fetchone()
            sql.execute("INSERT OR REPLACE INTO broker VALUES (1, ?)", (created,))
            return before is not None and before["created"] != created

        return await self._db.run(work)

    async def prune_inbox(self, now: datetime | None = None) -> int:
        """Delete the ids of messages that the stream has discarded, in batches. Return their number."""
        before, after, deleted = as_time((now or datetime.now(UTC)) - _INBOX_KEPT), "", 0
        query = "SELECT id FROM inbox WHERE id > ? AND at < ? ORDER BY id LIMIT ?"

        def work(sql: sqlite3.Connection) -> list[str]:
            ids = [row["id"] for row in sql.execute(query, (after, before, _BATCH))]
            sql.executemany("DELETE FROM inbox WHERE id = ?", [(id,) for id in ids])
            return ids

        while ids := await self._db.run(work):
            after, deleted = ids[-1], deleted + len(ids)
        return deleted

    async def release_free_pages(self) -> None:
        """Return unused pages to the file system, a few MB at a time. In files of version 1 they are reused instead."""

        def work(sql: sqlite3.Connection) -> int:
            (free,) = sql.execute("PRAGMA freelist_count").fetchone()
            for _ in range(min(free, _BATCH)):
                sql.execute("PRAGMA incremental_vacuum(1)")  # sqlite3 executes one step of it, hence one page
            (left,) = sql.execute("PRAGMA freelist_count").fetchone()
            return int(left) if left < free else 0

        while await self._db.run(work):
            pass


def _report_full(error: Exception) -> None:
    _log.error("waiting_for_space", error_code=code_of(error), error_message=str(error))
