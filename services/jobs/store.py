"""jobs.db: rows, inbox and outbox. A change and the facts that it causes are one transaction."""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import structlog
from pydantic import TypeAdapter

from bus.message import Envelope, Event, event_types
from services.common.errors import StorageFull
from services.common.models import Item, ItemStatus, Job, JobStatus
from services.common.sqlite import Database
from services.jobs.ledger import Out
from services.jobs.rows import FetchRow, FetchState, ItemRow, JobRow, ListingRow
from services.jobs.scheduler import Block, Candidate
from services.jobs.views import item_view, job_view

_log = structlog.get_logger("services.jobs", service="jobs")
T = TypeVar("T")
R = TypeVar("R", JobRow, ListingRow, ItemRow, FetchRow)
_LOOK_FOR_SPACE = 5.0  # seconds
_INBOX_KEPT = timedelta(days=15)  # longer than the stream keeps a message

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  job_id TEXT PRIMARY KEY, status TEXT NOT NULL, type TEXT NOT NULL, created_at TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS jobs_by_time ON jobs (created_at);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status);
CREATE TABLE IF NOT EXISTS listings (
  job_id TEXT NOT NULL, target_index INTEGER NOT NULL, state TEXT NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (job_id, target_index)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS listings_by_state ON listings (state);
CREATE TABLE IF NOT EXISTS items (
  job_id TEXT NOT NULL, video_id TEXT NOT NULL, status TEXT NOT NULL, position INTEGER NOT NULL,
  retry_at TEXT, since TEXT NOT NULL, revision INTEGER NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (job_id, video_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS items_by_turn ON items (job_id, status, position);
CREATE INDEX IF NOT EXISTS items_by_revision ON items (job_id, revision);
CREATE INDEX IF NOT EXISTS items_open ON items (video_id, status) WHERE status IN ('waiting', 'running');
CREATE INDEX IF NOT EXISTS items_by_position ON items (job_id, position, video_id);
CREATE INDEX IF NOT EXISTS items_waiting ON items (job_id, retry_at, position) WHERE status = 'waiting';
CREATE INDEX IF NOT EXISTS items_unanswered ON items (since) WHERE status IN ('listed', 'closing');
CREATE TABLE IF NOT EXISTS fetches (video_id TEXT PRIMARY KEY, state TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS fetches_busy ON fetches (state) WHERE state <> 'idle';
CREATE TABLE IF NOT EXISTS blocks (egress TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS inbox (id TEXT PRIMARY KEY, at TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS broker (one INTEGER PRIMARY KEY CHECK (one = 1), created TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT NOT NULL, envelope BLOB NOT NULL);
"""

_JOB = TypeAdapter(JobRow)
_LISTING = TypeAdapter(ListingRow)
_ITEM = TypeAdapter(ItemRow)
_FETCH = TypeAdapter(FetchRow)
_BLOCK = TypeAdapter(Block)
_OPEN = tuple(status.value for status in JobStatus if not status.ended)


@dataclass(frozen=True)
class Pending:
    """A row of the outbox."""

    seq: int
    kind: type[Event]
    envelope: Envelope


class SqlRows:
    """The Rows of one transaction: loaded on demand, one object per row, saved where changed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.sql = connection
        self._jobs: dict[str, JobRow | None] = {}
        self._listings: dict[tuple[str, int], ListingRow | None] = {}
        self._items: dict[tuple[str, str], ItemRow | None] = {}
        self._fetches: dict[str, FetchRow | None] = {}
        self._loaded: dict[int, Any] = {}  # id of a row object -> the row as it was
        self.touched: set[str] = set()  # jobs with changes, after save()

    def job(self, job_id: str) -> JobRow | None:
        if job_id not in self._jobs:
            self._jobs[job_id] = self._load(_JOB, "SELECT body FROM jobs WHERE job_id=?", job_id)
        return self._jobs[job_id]

    def listing(self, job_id: str, target_index: int) -> ListingRow | None:
        key = (job_id, target_index)
        if key not in self._listings:
            query = "SELECT body FROM listings WHERE job_id=? AND target_index=?"
            self._listings[key] = self._load(_LISTING, query, *key)
        return self._listings[key]

    def item(self, job_id: str, video_id: str) -> ItemRow | None:
        key = (job_id, video_id)
        if key not in self._items:
            self._items[key] = self._load(_ITEM, "SELECT body FROM items WHERE job_id=? AND video_id=?", *key)
        return self._items[key]

    def fetch(self, video_id: str) -> FetchRow | None:
        if video_id not in self._fetches:
            self._fetches[video_id] = self._load(_FETCH, "SELECT body FROM fetches WHERE video_id=?", video_id)
        return self._fetches[video_id]

    def waiters(self, video_id: str) -> Sequence[ItemRow]:
        query = "SELECT job_id FROM items WHERE video_id=? AND status IN ('waiting', 'running')"
        for row in self.sql.execute(query, (video_id,)).fetchall():
            self.item(row["job_id"], video_id)
        found = [
            item
            for (_, video), item in self._items.items()
            if video == video_id and item and item.status in {ItemStatus.WAITING, ItemStatus.RUNNING}
        ]
        return sorted(found, key=lambda item: (self._age(item.job_id), item.job_id))

    def open_items(self, job_id: str, limit: int) -> Sequence[ItemRow]:
        waiting = self._by_status(job_id, (ItemStatus.LISTED, ItemStatus.WAITING), limit)
        running = self._by_status(job_id, (ItemStatus.RUNNING,), limit)
        return [item for item in (*running, *waiting) if not item.cancelling]

    def gaps(self, job_id: str) -> Sequence[ItemRow]:
        return self._by_status(job_id, (ItemStatus.UNAVAILABLE, ItemStatus.FAILED, ItemStatus.CANCELLED), -1)

    def _by_status(self, job_id: str, statuses: Sequence[ItemStatus], limit: int) -> list[ItemRow]:
        self.save()  # the query looks at the table
        marks = ",".join("?" * len(statuses))
        query = f"SELECT video_id FROM items WHERE job_id=? AND status IN ({marks}) ORDER BY position LIMIT ?"  # noqa: S608 - only marks
        found = [self.item(job_id, row["video_id"]) for row in self.sql.execute(query, (job_id, *statuses, limit))]
        return [item for item in found if item is not None]

    def _age(self, job_id: str) -> datetime:
        job = self.job(job_id)
        return job.created_at if job else datetime.max.replace(tzinfo=UTC)

    def add(self, row: JobRow | ListingRow | ItemRow | FetchRow) -> None:
        match row:
            case JobRow():
                self._jobs[row.job_id] = row
            case ListingRow():
                self._listings[row.job_id, row.target_index] = row
            case ItemRow():
                self._items[row.job_id, row.video_id] = row
            case FetchRow():
                self._fetches[row.video_id] = row

    def drop(self, fetch: FetchRow) -> None:
        self.sql.execute("DELETE FROM fetches WHERE video_id=?", (fetch.video_id,))
        self._fetches[fetch.video_id] = None

    def save(self) -> None:
        self.sql.executemany(
            "INSERT OR REPLACE INTO jobs VALUES (?,?,?,?,?)",
            [(j.job_id, j.status, j.type, j.created_at.isoformat(), _json(_JOB, j)) for j in self._changed(self._jobs)],
        )
        self.sql.executemany(
            "INSERT OR REPLACE INTO listings VALUES (?,?,?,?)",
            [(r.job_id, r.target_index, r.state, _json(_LISTING, r)) for r in self._changed(self._listings)],
        )
        self.sql.executemany(
            "INSERT OR REPLACE INTO items VALUES (?,?,?,?,?,?,?,?)",
            [
                (
                    i.job_id,
                    i.video_id,
                    i.status,
                    i.position,
                    _time(i.retry_at),
                    _time(i.since),
                    i.revision,
                    _json(_ITEM, i),
                )
                for i in self._changed(self._items)
            ],
        )
        self.sql.executemany(
            "INSERT OR REPLACE INTO fetches VALUES (?,?,?)",
            [(f.video_id, f.state, _json(_FETCH, f)) for f in self._changed(self._fetches)],
        )

    def _changed(self, rows: dict[Any, R | None]) -> list[R]:
        changed = [row for row in rows.values() if row is not None and self._loaded.get(id(row)) != row]
        self.touched |= {row.job_id for row in changed if isinstance(row, JobRow)}
        for row in changed:
            self._loaded[id(row)] = replace(row)
        return changed

    def _load(self, kind: "TypeAdapter[R]", query: str, *key: object) -> R | None:
        found = self.sql.execute(query, key).fetchone()
        if found is None:
            return None
        row = kind.validate_json(found["body"])
        self._loaded[id(row)] = replace(row)
        return row


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
        self._db = Database(path, SCHEMA, read_only=read_only)
        self._source = source

    def close(self) -> None:
        self._db.close()

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """One transaction; while the disk is full, again and again: nothing that jobs has to note may be dropped."""
        while True:
            try:
                return await self._db.run(work)
            except StorageFull as error:
                _log.error("waiting_for_space", error_message=str(error))
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
                new = sql.execute("INSERT OR IGNORE INTO inbox VALUES (?,?)", (envelope.id, _time(now))).rowcount
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

    async def prune_inbox(self) -> None:
        before = _time(datetime.now(UTC) - _INBOX_KEPT)
        await self._run(lambda sql: sql.execute("DELETE FROM inbox WHERE at < ?", (before,)))

    async def wanted(self, video_ids: Sequence[str]) -> list[str]:
        """Those of these videos that an open item waits for."""
        query = "SELECT video_id FROM fetches WHERE video_id IN (SELECT value FROM json_each(?))"

        def work(_rows: SqlRows, sql: sqlite3.Connection) -> list[str]:
            return [row["video_id"] for row in sql.execute(query, (json.dumps(list(video_ids)),))]

        return await self.read(work)

    # --- what REST shows

    async def job(self, job_id: str) -> Job | None:
        return await self.read(lambda rows, _sql: job_view(row) if (row := rows.job(job_id)) else None)

    async def jobs(self, statuses: Sequence[str], limit: int, offset: int) -> tuple[list[Job], int]:
        """The newest first, and how many there are in all."""
        where, args = "", list[object]()
        if statuses:
            where, args = f"WHERE status IN ({','.join('?' * len(statuses))})", list(statuses)

        def work(_rows: SqlRows, sql: sqlite3.Connection) -> tuple[list[Job], int]:
            (total,) = sql.execute(f"SELECT count(*) FROM jobs {where}", args).fetchone()  # noqa: S608 - only marks
            query = f"SELECT body FROM jobs {where} ORDER BY created_at DESC, job_id LIMIT ? OFFSET ?"  # noqa: S608 - only marks
            found = sql.execute(query, [*args, limit, offset])
            return [job_view(_JOB.validate_json(row["body"])) for row in found], total

        return await self.read(work)

    async def items(self, job_id: str, limit: int, offset: int) -> tuple[list[Item], int]:
        def work(rows: SqlRows, sql: sqlite3.Connection) -> tuple[list[Item], int]:
            job = rows.job(job_id)
            total = job.total if job else 0
            query = "SELECT body FROM items WHERE job_id=? ORDER BY position, video_id LIMIT ? OFFSET ?"
            found = sql.execute(query, (job_id, limit, offset))
            return [item_view(_ITEM.validate_json(row["body"])) for row in found], total

        return await self.read(work)

    async def running(self, job_id: str) -> list[str]:
        """The videos of a job that are being fetched, wherever they stand in it."""
        query = "SELECT video_id FROM items WHERE job_id=? AND status='running' ORDER BY position"
        return await self.read(lambda _rows, sql: [row["video_id"] for row in sql.execute(query, (job_id,))])

    async def changed_since(self, job_id: str, revision: int, limit: int = 1000) -> tuple[Job | None, list[Item]]:
        """The job, and its items that changed after `revision`, in the order of their changes."""

        def work(rows: SqlRows, sql: sqlite3.Connection) -> tuple[Job | None, list[Item]]:
            query = "SELECT body FROM items WHERE job_id=? AND revision>? ORDER BY revision LIMIT ?"
            found = [item_view(_ITEM.validate_json(r["body"])) for r in sql.execute(query, (job_id, revision, limit))]
            row = rows.job(job_id)
            return (job_view(row) if row else None), found

        return await self.read(work)


# --- queries of the scheduler: they run inside its transaction ------------------------------------------------------


def open_jobs(sql: sqlite3.Connection) -> list[str]:
    query = f"SELECT job_id FROM jobs WHERE status IN ({','.join('?' * len(_OPEN))})"  # noqa: S608 - only marks
    return [row["job_id"] for row in sql.execute(query, _OPEN)]


def busy_fetches(sql: sqlite3.Connection) -> list[str]:
    """Videos that have a dispatch, the ones in storage's hands included."""
    return [row["video_id"] for row in sql.execute("SELECT video_id FROM fetches WHERE state <> 'idle'")]


def ready_video(sql: sqlite3.Connection, job_id: str, now: datetime) -> str | None:
    """The first video of a job that could be dispatched now. Of those whose time came, the one that came first counts.

    Two looks at the start of an index: a job's size does not matter.
    """
    query = """SELECT i.video_id, i.position FROM items i JOIN fetches f ON f.video_id = i.video_id
        WHERE i.job_id = ? AND i.status = 'waiting' AND f.state = 'idle' AND """
    untimed = sql.execute(query + "i.retry_at IS NULL ORDER BY i.position LIMIT 1", (job_id,)).fetchone()
    timed = sql.execute(query + "i.retry_at <= ? ORDER BY i.retry_at LIMIT 1", (job_id, _time(now))).fetchone()
    found = min((row for row in (untimed, timed) if row), key=lambda row: int(row["position"]), default=None)
    return found["video_id"] if found else None


def candidates(rows: SqlRows, sql: sqlite3.Connection, served: dict[str, int], now: datetime) -> list[Candidate]:
    """The open jobs that have a ready video and are neither paused nor parked (`served` lists those that may run)."""
    under_way: dict[str, int] = {}
    for video_id in busy_fetches(sql):
        fetch = rows.fetch(video_id)
        if fetch and fetch.state in {FetchState.DISPATCHED, FetchState.CLAIMED}:
            under_way[fetch.job_id] = under_way.get(fetch.job_id, 0) + 1
    found = []
    for job_id, turn in served.items():
        job = rows.job(job_id)
        if job and not job.status.ended and not job.paused and ready_video(sql, job_id, now):
            found.append(Candidate(job_id, job.priority, under_way.get(job_id, 0), turn, job.created_at))
    return found


def open_listings(rows: SqlRows, sql: sqlite3.Connection) -> list[ListingRow]:
    query = "SELECT job_id, target_index FROM listings WHERE state IN ('queued', 'claimed', 'timer')"
    found = [rows.listing(row["job_id"], row["target_index"]) for row in sql.execute(query).fetchall()]
    return [row for row in found if row is not None]


def unanswered_items(rows: SqlRows, sql: sqlite3.Connection, before: datetime, limit: int = 200) -> list[ItemRow]:
    """Items that wait for storage's word since before a time, who waits longest first: listed (archive.checked) or
    closing (work_plan.updated)."""
    query = """SELECT job_id, video_id FROM items WHERE status IN ('listed', 'closing') AND since < ?
        ORDER BY since LIMIT ?"""
    found = [rows.item(row["job_id"], row["video_id"]) for row in sql.execute(query, (_time(before), limit)).fetchall()]
    return [row for row in found if row is not None]


def timers(
    sql: sqlite3.Connection, job: JobRow, now: datetime, blocked: datetime | None
) -> tuple[int, datetime | None]:
    """How many items of a job only wait for a later time, and the earliest of these times.

    While nobody can work (`blocked` until then) that is every item that waits; they are not counted one by one: 0 while
    something else of the job is open, for `retrying` means that nothing is.
    """
    if blocked is None:
        query = """SELECT count(*) n, min(retry_at) at FROM items
            WHERE job_id = ? AND status = 'waiting' AND retry_at > ?"""
        found = sql.execute(query, (job.job_id, _time(now))).fetchone()
        return found["n"], datetime.fromisoformat(found["at"]) if found["at"] else None
    query = "SELECT retry_at FROM items WHERE job_id = ? AND status = 'waiting' ORDER BY retry_at LIMIT 1"
    first = sql.execute(query, (job.job_id,)).fetchone()
    if first is None:
        return 0, None
    query = "SELECT 1 FROM items WHERE job_id = ? AND status IN ('listed', 'running', 'closing') LIMIT 1"
    others = sql.execute(query, (job.job_id,)).fetchone()
    at = datetime.fromisoformat(first["retry_at"]) if first["retry_at"] else blocked
    return 0 if others else job.open, max(at, blocked)


def load_blocks(sql: sqlite3.Connection) -> dict[str, Block]:
    return {row["egress"]: _BLOCK.validate_json(row["body"]) for row in sql.execute("SELECT * FROM blocks")}


def save_block(sql: sqlite3.Connection, egress: str, block: Block | None) -> None:
    if block is None:
        sql.execute("DELETE FROM blocks WHERE egress=?", (egress,))
    else:
        sql.execute("INSERT OR REPLACE INTO blocks VALUES (?,?)", (egress, _json(_BLOCK, block)))


def _json(kind: "TypeAdapter[Any]", row: object) -> str:
    return kind.dump_json(row).decode()


def _time(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat(timespec="microseconds") if at else None
