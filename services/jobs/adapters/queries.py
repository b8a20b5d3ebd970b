"""Queries of the dispatcher, run inside its transaction. The cost of each is independent of the size of a job."""

import sqlite3
from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from services.common.infra.sqlite_files import parse_row
from services.common.models import JobStatus
from services.jobs.adapters.unit_of_work import BLOCK, SqlRows, as_time
from services.jobs.domain.rows import FetchState, ItemRow, JobRow, ListingRow, ListingState
from services.jobs.domain.scheduler import Block, Candidate

OPEN_LISTINGS = tuple(state for state in ListingState if state.open)
_OPEN = tuple(status.value for status in JobStatus if not status.ended)


def open_jobs(sql: sqlite3.Connection) -> list[str]:
    query = f"SELECT job_id FROM jobs WHERE status IN ({','.join('?' * len(_OPEN))})"  # noqa: S608 - only marks
    return [row["job_id"] for row in sql.execute(query, _OPEN)]


def busy_fetches(sql: sqlite3.Connection) -> list[str]:
    """Return the videos that have a dispatch, including those that storage is archiving."""
    return [row["video_id"] for row in sql.execute("SELECT video_id FROM fetches WHERE state <> 'idle'")]


class ReadyVideo(NamedTuple):
    refused: bool  # the site has refused this video before
    position: int
    video_id: str


def ready_video(sql: sqlite3.Connection, job_id: str, now: datetime) -> ReadyVideo | None:
    """Return the first video of a job that can be dispatched now. Of videos that waited for a time, the earliest comes
    first; one that the site has refused comes after all that were not tried yet.

    Two index look-ups, whatever the size of the job. The index is named because SQLite, without statistics, may choose
    one that has the videos that wait for a time first.
    """
    query = """SELECT i.video_id, i.position, json_extract(i.body, '$.refused') refused
        FROM items i INDEXED BY items_waiting JOIN fetches f ON f.video_id = i.video_id
        WHERE i.job_id = ? AND i.status = 'waiting' AND f.state = 'idle' AND """
    untimed = sql.execute(query + "i.retry_at IS NULL ORDER BY i.position LIMIT 1", (job_id,)).fetchone()
    timed = sql.execute(query + "i.retry_at <= ? ORDER BY i.retry_at LIMIT 1", (job_id, as_time(now))).fetchone()
    found = (ReadyVideo(bool(row["refused"]), row["position"], row["video_id"]) for row in (untimed, timed) if row)
    return min(found, default=None)


def candidates(rows: SqlRows, sql: sqlite3.Connection, served: dict[str, int], now: datetime) -> list[Candidate]:
    """Return the open jobs that have a ready video and are neither paused nor parked. `served` maps the jobs that may
    run to their last turn."""
    under_way: dict[str, int] = {}
    for video_id in busy_fetches(sql):
        fetch = rows.fetch(video_id)
        if fetch and fetch.state in {FetchState.DISPATCHED, FetchState.CLAIMED}:
            under_way[fetch.job_id] = under_way.get(fetch.job_id, 0) + 1
    found = []
    for job_id, turn in served.items():
        job = rows.job(job_id)
        if job and not job.status.ended and not job.paused and (ready := ready_video(sql, job_id, now)):
            running = under_way.get(job_id, 0)
            found.append(Candidate(job_id, job.priority, running, turn, job.created_at, ready.refused))
    return found


def open_listings(
    rows: SqlRows, sql: sqlite3.Connection, states: Collection[ListingState] = OPEN_LISTINGS
) -> list[ListingRow]:
    query = f"SELECT job_id, target_index FROM listings WHERE state IN ({','.join('?' * len(states))})"  # noqa: S608 - only marks
    found = [rows.listing(row["job_id"], row["target_index"]) for row in sql.execute(query, tuple(states)).fetchall()]
    return [row for row in found if row is not None]


def open_listing(rows: SqlRows, sql: sqlite3.Connection, job_id: str, number: int) -> ListingRow | None:
    """Return the open listing of a job with this number."""
    query = """SELECT target_index FROM listings INDEXED BY listings_by_number
        WHERE job_id = ? AND json_extract(body, '$.number') = ?"""
    found = [rows.listing(job_id, row["target_index"]) for row in sql.execute(query, (job_id, number)).fetchall()]
    return next((row for row in found if row is not None and row.state.open and row.number == number), None)


def unanswered_items(rows: SqlRows, sql: sqlite3.Connection, before: datetime, limit: int = 200) -> list[ItemRow]:
    """Return items that have been waiting for storage since before that time, the longest wait first: LISTED ones wait
    for archive.checked, CLOSING ones for work_plan.updated."""
    query = """SELECT job_id, video_id FROM items WHERE status IN ('listed', 'closing') AND since < ?
        ORDER BY since LIMIT ?"""
    found = [
        rows.item(row["job_id"], row["video_id"]) for row in sql.execute(query, (as_time(before), limit)).fetchall()
    ]
    return [row for row in found if row is not None]


def items_of_the_future(rows: SqlRows, sql: sqlite3.Connection, now: datetime, limit: int) -> list[ItemRow]:
    """Return items whose wait began after now, because the clock was set back."""
    query = """SELECT job_id, video_id FROM items WHERE status IN ('listed', 'closing') AND since > :now
        UNION ALL SELECT job_id, video_id FROM items WHERE status = 'waiting' AND retry_at > :now AND since > :now
        LIMIT :limit"""
    found = sql.execute(query, {"now": as_time(now), "limit": limit}).fetchall()
    return [item for row in found if (item := rows.item(row["job_id"], row["video_id"])) is not None]


def timers(
    sql: sqlite3.Connection, job: JobRow, now: datetime, blocked: datetime | None
) -> tuple[int, datetime | None]:
    """Return how many items of a job only wait for a later time, and the earliest of these times.

    While all workers are blocked (until `blocked`), every waiting item does. They are not counted individually: the
    number is 0 while other items of the job are open, because a job is `retrying` only when there are none.
    """
    values = {"job_id": job.job_id, "now": as_time(now)}
    scheduled = "status = 'waiting'" if blocked is not None else "status = 'waiting' AND retry_at > :now"
    query = f"SELECT retry_at FROM items WHERE job_id = :job_id AND {scheduled} ORDER BY retry_at LIMIT 1"  # noqa: S608 - constants
    first = sql.execute(query, values).fetchone()
    if first is None:
        return 0, None
    others = ["items WHERE job_id = :job_id AND status IN ('listed', 'running', 'closing')"]
    if blocked is None:
        waiting = "items INDEXED BY items_waiting WHERE job_id = :job_id AND status = 'waiting'"
        others += [f"{waiting} AND retry_at IS NULL", f"{waiting} AND retry_at <= :now"]
    any_other = any(sql.execute(f"SELECT 1 FROM {other} LIMIT 1", values).fetchone() for other in others)  # noqa: S608 - constants
    at = datetime.fromisoformat(first["retry_at"]) if first["retry_at"] else blocked
    earliest = at if at is None or blocked is None else max(at, blocked)
    return 0 if any_other else job.open, earliest


def load_blocks(sql: sqlite3.Connection) -> dict[str, Block]:
    return {row["egress"]: parse_row(BLOCK.validate_json, row["body"]) for row in sql.execute("SELECT * FROM blocks")}


# --- follows


def due_follows(sql: sqlite3.Connection, now: datetime, limit: int, *, only_wanted: bool) -> list[str]:
    """Return the follows that are to be looked at: those that somebody asks for, then the longest overdue."""
    query = (
        "SELECT follow_id FROM follows WHERE wanted AND next_look <= ? AND looking IS NULL ORDER BY next_look LIMIT ?"
    )
    found = [row["follow_id"] for row in sql.execute(query, (as_time(now), limit))]
    if not only_wanted and len(found) < limit:
        query = """SELECT follow_id FROM follows WHERE next_look <= ? AND looking IS NULL AND NOT wanted
            ORDER BY next_look, follow_id LIMIT ?"""
        found += [row["follow_id"] for row in sql.execute(query, (as_time(now), limit - len(found)))]
    return found


def open_looks(sql: sqlite3.Connection) -> list[str]:
    """Return the follows that are being looked at."""
    return [row["follow_id"] for row in sql.execute("SELECT follow_id FROM follows WHERE looking IS NOT NULL")]


def all_follows(sql: sqlite3.Connection) -> list[str]:
    return [row["follow_id"] for row in sql.execute("SELECT follow_id FROM follows")]


def next_follow(sql: sqlite3.Connection) -> datetime | None:
    """Return when the next follow is due."""
    (at,) = sql.execute("SELECT min(next_look) FROM follows WHERE next_look IS NOT NULL").fetchone()
    return datetime.fromisoformat(at) if at else None
