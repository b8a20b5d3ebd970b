"""news.db: what is to be told, what was told, and how far the journal of events is read. One transaction for both, so
that nothing is told twice or left out after a kill."""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.common.infra.sqlite import Database
from services.logging.news.notes import Change, Note

_STEPS = (
    """
CREATE TABLE notes (
  key TEXT PRIMARY KEY, urgent INTEGER NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL, at TEXT NOT NULL,
  due TEXT NOT NULL, told TEXT, tries INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX notes_due ON notes (due) WHERE told IS NULL;
CREATE TABLE read (name TEXT PRIMARY KEY, offset INTEGER NOT NULL) WITHOUT ROWID;
""",
)
_KEPT = timedelta(days=400)  # what was told: a video that is hidden for a year is not news again


@dataclass(frozen=True)
class Waiting:
    """A note that was not told yet."""

    key: str
    urgent: bool
    title: str
    text: str
    at: datetime
    due: datetime
    tries: int


class NewsStore:
    def __init__(self, path: Path) -> None:
        self._db = Database(path, _STEPS, on_recreated=lambda _reason: None)

    def close(self) -> None:
        self._db.close()

    async def read_so_far(self) -> dict[str, int] | None:
        """Return how many bytes of each file of the journal are read; None at the first time."""

        def work(sql: sqlite3.Connection) -> dict[str, int] | None:
            found = sql.execute("SELECT name, offset FROM read").fetchall()
            return {row["name"]: row["offset"] for row in found} if found else None

        return await self._db.read(work)

    async def apply(self, changes: Sequence[Change], read: Mapping[str, int], now: datetime) -> None:
        """Store what the events up to `read` change. Files that are not in `read` are gone."""

        def work(sql: sqlite3.Connection) -> None:
            for change in changes:
                if isinstance(change, Note):
                    _add(sql, change, now)
                else:
                    sql.execute("DELETE FROM notes WHERE key = ?", (change.key,))
            sql.execute("DELETE FROM read")
            sql.executemany("INSERT INTO read VALUES (?, ?)", list({"": 0, **read}.items()))

        await self._db.run(work)

    async def waiting(self) -> list[Waiting]:
        """Return what was not told yet, the oldest first."""

        def work(sql: sqlite3.Connection) -> list[Waiting]:
            found = sql.execute("SELECT * FROM notes WHERE told IS NULL ORDER BY at, key").fetchall()
            return [
                Waiting(
                    row["key"],
                    bool(row["urgent"]),
                    row["title"],
                    row["text"],
                    datetime.fromisoformat(row["at"]),
                    datetime.fromisoformat(row["due"]),
                    row["tries"],
                )
                for row in found
            ]

        return await self._db.read(work)

    async def told(self, keys: Collection[str], now: datetime) -> None:
        def work(sql: sqlite3.Connection) -> None:
            sql.executemany("UPDATE notes SET told = ? WHERE key = ?", [(_iso(now), key) for key in keys])
            sql.execute("DELETE FROM notes WHERE told < ?", (_iso(now - _KEPT),))

        await self._db.run(work)

    async def postpone(self, keys: Collection[str], until: datetime) -> None:
        """After a failed delivery."""
        query = "UPDATE notes SET tries = tries + 1, due = ? WHERE key = ?"
        await self._db.run(lambda sql: sql.executemany(query, [(_iso(until), key) for key in keys]))


def _add(sql: sqlite3.Connection, note: Note, now: datetime) -> None:
    known = sql.execute("SELECT told FROM notes WHERE key = ?", (note.key,)).fetchone()
    if known is not None and known["told"] is None:
        return  # it waits already, since its first time
    if known is not None:
        again = note.again
        if again is None or now - datetime.fromisoformat(known["told"]) < again:
            return
    values = (note.key, note.urgent, note.title, note.text, _iso(now), _iso(now + note.wait))
    sql.execute("INSERT OR REPLACE INTO notes (key, urgent, title, text, at, due) VALUES (?,?,?,?,?,?)", values)


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")
