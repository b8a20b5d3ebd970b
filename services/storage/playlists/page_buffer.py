"""Buffer for the parts of unfinished listings, in catalogue.db: a playlist file is written once, from all of them.

Pages, the playlist's own metadata and the end of a listing arrive in any order, and possibly more than once.
"""

import sqlite3
from datetime import UTC, datetime, timedelta

from services.common.events import ListingCompleted, ListingPageFetched, PlaylistFetched
from services.common.infra.sqlite import Database, utc_text
from services.common.infra.sqlite_files import parse_row
from services.storage.formats.playlist import FinishedListing

_KEPT = timedelta(days=15)  # longer than the stream keeps messages


class PageBuffer:
    """Keyed by (job_id, target_index): a second attempt at a target resumes where the first one ended. A listing
    `again` follows one that is written."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_page(self, page: ListingPageFetched) -> None:
        def work(db: sqlite3.Connection) -> None:
            if _touch(db, page):
                db.execute(
                    "INSERT OR REPLACE INTO listing_pages VALUES (?, ?, ?, ?)",
                    (page.job_id, page.target_index, page.page_key, page.model_dump_json()),
                )

        await self._database.run(work)

    async def add_playlist(self, event: PlaylistFetched) -> None:
        def work(db: sqlite3.Connection) -> None:
            _touch(db, event)
            db.execute(
                "UPDATE listings SET playlist = ? WHERE job_id = ? AND target_index = ?",
                (event.model_dump_json(), event.job_id, event.target_index),
            )

        await self._database.run(work)

    async def complete(self, event: ListingCompleted, *, at: datetime, trace_id: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            if not _touch(db, event):
                return
            db.execute(
                "UPDATE listings SET completed = ?, completed_at = ?, trace_id = ?"
                " WHERE job_id = ? AND target_index = ?",
                (event.model_dump_json(), utc_text(at), trace_id, event.job_id, event.target_index),
            )

        await self._database.run(work)

    async def finished(self, job_id: str, target_index: int) -> FinishedListing | None:
        """Return the listing, once its end and all pages that the end names have arrived; else None."""
        key = (job_id, target_index)

        def work(db: sqlite3.Connection) -> FinishedListing | None:
            row = db.execute("SELECT * FROM listings WHERE job_id = ? AND target_index = ?", key).fetchone()
            if row is None or row["written"] or row["completed"] is None:
                return None
            completed = parse_row(ListingCompleted.model_validate_json, row["completed"])
            there = db.execute("SELECT page_key FROM listing_pages WHERE job_id = ? AND target_index = ?", key)
            if not {page["page_key"] for page in there}.issuperset(completed.page_keys):
                return None
            stored = db.execute("SELECT page FROM listing_pages WHERE job_id = ? AND target_index = ?", key)
            pages = [parse_row(ListingPageFetched.model_validate_json, page["page"]) for page in stored]
            own = parse_row(PlaylistFetched.model_validate_json, row["playlist"]).playlist if row["playlist"] else None
            return FinishedListing(completed, datetime.fromisoformat(row["completed_at"]), row["trace_id"], pages, own)

        return await self._database.read(work)

    async def is_written(self, job_id: str, target_index: int) -> bool:
        query = "SELECT 1 FROM listings WHERE job_id = ? AND target_index = ? AND written = 1"
        return await self._database.read(lambda db: db.execute(query, (job_id, target_index)).fetchone() is not None)

    async def mark_written(self, job_id: str, target_index: int) -> None:
        """Remove the pages of a listing whose file is written. A mark stays, so that a page that is delivered again is
        not stored."""
        await self._database.run(lambda db: _drop_pages(db, job_id, target_index, written=True))

    async def drop(self, job_id: str, target_index: int) -> None:
        """Remove the pages of a listing that failed. It starts again from the beginning, or never."""
        await self._database.run(lambda db: _drop_pages(db, job_id, target_index, written=False))

    async def remove_old(self, now: datetime) -> None:
        """Remove listings that the stream can no longer deliver parts of."""
        horizon = utc_text(now - _KEPT)

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "DELETE FROM listing_pages WHERE (job_id, target_index) IN"
                " (SELECT job_id, target_index FROM listings WHERE touched_at < ?)",
                (horizon,),
            )
            db.execute("DELETE FROM listings WHERE touched_at < ?", (horizon,))

        await self._database.run(work)


def _touch(db: sqlite3.Connection, part: PlaylistFetched | ListingPageFetched | ListingCompleted) -> bool:
    """Create or update the row of a target. Return False if the file of this listing is written already."""
    job_id, target_index = part.job_id, part.target_index
    now = utc_text(datetime.now(UTC))
    db.execute(
        "INSERT INTO listings (job_id, target_index, touched_at) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET touched_at = excluded.touched_at",
        (job_id, target_index, now),
    )
    query = "SELECT written, completed FROM listings WHERE job_id = ? AND target_index = ?"
    written, completed = db.execute(query, (job_id, target_index)).fetchone()
    ended = parse_row(ListingCompleted.model_validate_json, completed) if written and completed else None
    if ended is not None and part.again and ended.listing < part.listing:
        db.execute(
            "UPDATE listings SET written = 0, completed = NULL, playlist = NULL WHERE job_id = ? AND target_index = ?",
            (job_id, target_index),
        )
        return True
    return not written


def _drop_pages(db: sqlite3.Connection, job_id: str, target_index: int, *, written: bool) -> None:
    key = (job_id, target_index)
    db.execute("DELETE FROM listing_pages WHERE job_id = ? AND target_index = ?", key)
    db.execute("UPDATE listings SET written = ? WHERE job_id = ? AND target_index = ?", (written, *key))
