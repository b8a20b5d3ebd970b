"""A job that has ended goes: at once for all who ask, its rows bit by bit. Its work plan is not ours to remove."""

import sqlite3
from datetime import UTC, datetime

from services.jobs.adapters.store import Change, Store
from services.jobs.adapters.unit_of_work import SqlRows, as_time, next_change
from services.jobs.domain.accounting import Out

AT_ONCE = 2000  # items that one transaction removes: the scheduler has its turn between two


async def remove(store: Store, job_id: str, *, ended_at: datetime | None = None) -> Change | None:
    """None when there is no such job, or it is open (again), or it ended at another time than `ended_at`."""
    done: list[bool] = []

    def work(rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> list[Out]:
        job = rows.job(job_id)
        fits = job is not None and job.status.ended and ended_at in {None, job.finished_at}
        if fits:
            sql.execute("DELETE FROM jobs WHERE job_id=?", (job_id,))
            removal = (job_id, next_change(sql), as_time(now), 1)
            sql.execute("INSERT OR REPLACE INTO removals VALUES (?,?,?,?)", removal)
        done.append(fits)
        return []

    await store.change(work)
    if not done[-1]:
        return None
    await clear(store)
    return Change(frozenset({job_id}), outbox=False)


async def clear(store: Store) -> None:
    """Clear away what is left of removed jobs, also of a removal that was cut off."""
    while await store.read(lambda _rows, sql: _clear_some(sql)):
        pass


def make_way(sql: sqlite3.Connection, job_id: str) -> None:
    """A job of this id is created anew: nothing of a removed one may be left."""
    if sql.execute("DELETE FROM removals WHERE job_id=?", (job_id,)).rowcount:
        sql.execute("DELETE FROM items WHERE job_id=?", (job_id,))
        sql.execute("DELETE FROM listings WHERE job_id=?", (job_id,))


async def forget_removals(store: Store, before: datetime) -> None:
    """Whoever followed until then and comes back does not hear of them."""
    query = "DELETE FROM removals WHERE clearing = 0 AND at < ?"
    await store.read(lambda _rows, sql: sql.execute(query, (before.astimezone(UTC).isoformat(),)))


def _clear_some(sql: sqlite3.Connection) -> bool:
    """Whether there is more."""
    found = sql.execute("SELECT job_id FROM removals WHERE clearing = 1 LIMIT 1").fetchone()
    if found is None:
        return False
    job_id = found["job_id"]
    some = "SELECT video_id FROM items WHERE job_id = ? LIMIT ?"
    gone = sql.execute(f"DELETE FROM items WHERE job_id = ? AND video_id IN ({some})", (job_id, job_id, AT_ONCE))  # noqa: S608 - constants
    if gone.rowcount < AT_ONCE:
        sql.execute("DELETE FROM listings WHERE job_id = ?", (job_id,))
        sql.execute("UPDATE removals SET clearing = 0 WHERE job_id = ?", (job_id,))
    return True
