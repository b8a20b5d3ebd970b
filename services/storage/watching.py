"""Where somebody was in a video: `{base_data_dir}/watching.db`, a file of its own that backups contain. It cannot be
rebuilt from the archive, and is no part of it."""

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.common.infra.sqlite import Database
from services.common.web.paging import Page
from services.storage.index.queries import CatalogueQueries, VideoFilter, VideoRow

BEGUN, FINISHED = 15.0, 0.95  # seconds, and the share of a video, from which on it counts as begun and as watched
_STEPS = (
    """
CREATE TABLE IF NOT EXISTS watching (
  video_id TEXT PRIMARY KEY, position_seconds REAL NOT NULL, duration_seconds REAL, watched INTEGER NOT NULL,
  at TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS watching_by_time ON watching (at) WHERE NOT watched;
""",
)
_LONGEST = 7 * 86_400.0  # seconds
_log = structlog.get_logger()


class WatchedBody(BaseModel):
    """`watched`: the video counts as watched, or as not watched, wherever somebody was; unset: from 95 % on."""

    model_config = ConfigDict(extra="forbid")

    position_seconds: float = Field(ge=0, le=_LONGEST, allow_inf_nan=False)
    duration_seconds: float | None = Field(default=None, gt=0, le=_LONGEST, allow_inf_nan=False)
    watched: bool | None = None


class WatchState(BaseModel):
    """`at` null: nobody has watched the video here yet."""

    video_id: str
    position_seconds: float = 0.0
    duration_seconds: float | None = None
    watched: bool = False
    at: AwareDatetime | None = None


class Watching(VideoRow):
    """An archived video that somebody has begun."""

    state: WatchState


class WatchingPage(Page):
    """Videos that were begun and not finished, the last one first."""

    videos: list[Watching]


def watching_path(base_data_dir: Path) -> Path:
    return base_data_dir / "watching.db"


class WatchStates:
    def __init__(
        self,
        base_data_dir: Path,
        queries: CatalogueQueries,
        pause_while_full: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """The file is opened when it is first needed. A damaged one is set aside."""
        self._queries = queries
        self._open = partial(
            Database,
            watching_path(base_data_dir),
            _STEPS,
            pause_while_full=pause_while_full,
            readers=1,
            on_recreated=_report,
        )
        self._opening = asyncio.Lock()
        self._opened: Database | None = None

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    async def _database(self) -> Database:
        async with self._opening:
            if self._opened is None:
                self._opened = await asyncio.to_thread(self._open)
            return self._opened

    async def state(self, video_id: str) -> WatchState:
        return (await self.states([video_id])).get(video_id) or WatchState(video_id=video_id)

    async def states(self, video_ids: Sequence[str]) -> dict[str, WatchState]:
        """Return the states of those videos that somebody has watched."""

        def work(db: sqlite3.Connection) -> dict[str, WatchState]:
            query = "SELECT * FROM watching WHERE video_id IN (SELECT value FROM json_each(?))"
            rows = db.execute(query, (json.dumps(list(video_ids)),)).fetchall()
            return {row["video_id"]: WatchState(**dict(row)) for row in rows}

        return await (await self._database()).read(work)

    async def watched(self, query: VideoFilter) -> list[str]:
        """Return the videos that were watched, if a list is filtered by it; else nothing is read."""
        if query.watched is None:
            return []

        def work(db: sqlite3.Connection) -> list[str]:
            return [row[0] for row in db.execute("SELECT video_id FROM watching WHERE watched")]

        return await (await self._database()).read(work)

    async def note(self, video_id: str, body: WatchedBody) -> WatchState:
        share = body.position_seconds / body.duration_seconds if body.duration_seconds else 0.0
        state = WatchState(
            video_id=video_id,
            position_seconds=body.position_seconds,
            duration_seconds=body.duration_seconds,
            watched=share >= FINISHED if body.watched is None else body.watched,
            at=datetime.now(UTC),
        )
        values = state.model_dump(mode="json")

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT OR REPLACE INTO watching (video_id, position_seconds, duration_seconds, watched, at)"
                " VALUES (:video_id, :position_seconds, :duration_seconds, :watched, :at)",
                values,
            )

        await (await self._database()).run(work)
        return state

    async def continued(self, limit: int, offset: int) -> WatchingPage:
        """Return the videos that were begun and not finished and are still held."""

        def work(db: sqlite3.Connection) -> list[WatchState]:
            query = "SELECT * FROM watching WHERE NOT watched AND position_seconds >= ? ORDER BY at DESC LIMIT 1000"
            return [WatchState(**dict(row)) for row in db.execute(query, (BEGUN,))]

        begun = await (await self._database()).read(work)
        rows = await self._queries.rows([state.video_id for state in begun])
        found = [
            Watching(**rows[state.video_id].model_dump(), state=state) for state in begun if state.video_id in rows
        ]
        return WatchingPage(videos=found[offset : offset + limit], total=len(found), limit=limit, offset=offset)


def _report(reason: str) -> None:
    _log.warning("watch_states_lost", error_message=f"watching.db was damaged ({reason}) and is set aside.")
