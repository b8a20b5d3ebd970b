"""The history of all playlists in catalogue.db, so that a video's can be told across them. The truth is in their files."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from services.common.paging import Page
from services.storage.history import Change

T = TypeVar("T")

SCHEMA = """
CREATE TABLE IF NOT EXISTS history (
  root TEXT NOT NULL, playlist_id TEXT NOT NULL, number INTEGER NOT NULL,
  video_id TEXT NOT NULL, at TEXT NOT NULL, change TEXT NOT NULL,
  PRIMARY KEY (root, playlist_id, number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS history_of_video ON history (video_id);
CREATE INDEX IF NOT EXISTS history_of_playlist ON history (playlist_id);
"""


class Transactions(Protocol):
    """A database of this process, or one that is open for reading only."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T: ...


class HistoryLine(Change):
    """A change, and where it was seen."""

    root: str
    playlist_id: str


class HistoryPage(Page):
    """Newest first."""

    changes: list[HistoryLine]


class HistoryIndex:
    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def put(self, root: str, playlist_id: str, history: Sequence[Change]) -> None:
        """What is known of one playlist from now on."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM history WHERE root = ? AND playlist_id = ?", (root, playlist_id))
            db.executemany(
                "INSERT INTO history VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (root, playlist_id, number, change.video_id, change.at.isoformat(), change.model_dump_json())
                    for number, change in enumerate(history)
                ],
            )

        await self._database.run(work)

    async def forget_others(self, root: str, playlist_ids: set[str]) -> None:
        """Forget the playlists of `root` that have no file any more."""

        def work(db: sqlite3.Connection) -> None:
            known = {row[0] for row in db.execute("SELECT DISTINCT playlist_id FROM history WHERE root = ?", (root,))}
            lost = [(root, playlist_id) for playlist_id in known - playlist_ids]
            db.executemany("DELETE FROM history WHERE root = ? AND playlist_id = ?", lost)

        await self._database.run(work)

    async def of(self, name: str, limit: int, offset: int) -> HistoryPage:
        """What happened to a playlist, or to a video in all playlists that were looked at. Ids cannot be mixed up:
        a video's has 11 characters, a playlist's more."""
        column = "video_id" if len(name) == 11 else "playlist_id"

        def work(db: sqlite3.Connection) -> HistoryPage:
            where = f"FROM history WHERE {column} = ?"
            (total,) = db.execute(f"SELECT count(*) {where}", (name,)).fetchone()  # noqa: S608 - a constant
            rows = db.execute(
                f"SELECT * {where} ORDER BY at DESC, root, playlist_id, number DESC LIMIT ? OFFSET ?",  # noqa: S608 - a constant
                (name, limit, offset),
            )
            found = [
                HistoryLine(
                    **Change.model_validate_json(row["change"]).model_dump(),
                    root=row["root"],
                    playlist_id=row["playlist_id"],
                )
                for row in rows
            ]
            return HistoryPage(changes=found, total=total, limit=limit, offset=offset)

        return await self._database.run(work)
