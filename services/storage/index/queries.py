"""Queries for the catalogue: which videos are held, how many, how much space they take.

They need no running service: catalogue.db may be open in another process, or closed.
"""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, Field

from services.common.domain.archive import FileFact, KnownGone, Revisit, RevisitReason
from services.common.errors import ServiceUnavailable
from services.common.infra.sqlite import Database
from services.common.infra.sqlite_files import parse_row
from services.common.names import VideoSort, VideoStatus
from services.common.settings.load import Storage
from services.common.web.paging import Page, PageQuery
from services.storage.formats.manifest import Holding, fact_of
from services.storage.formats.revisit import next_look
from services.storage.index.catalogue import OPEN_PLAN_ENTRIES
from services.storage.index.tokenizer import parse_query
from services.storage.playlists.playlist_file import members_of

_SORT_COLUMNS = {
    "title": "title COLLATE NOCASE",
    "archived_at": "archived_at",
    "upload_date": "upload_date",
    "duration": "duration_seconds",
    "bytes": "bytes",
}

# Something requested is absent upstream, or was never delivered. A replaced quality is not missing.
_INCOMPLETE = """(
  json_array_length(holding, '$.absent') > 0
  OR (json_array_length(holding, '$.asked.qualities') > 0 AND NOT EXISTS (
    SELECT 1 FROM json_each(holding, '$.fixity') WHERE json_extract(value, '$.role') IN ('video', 'audio')))
  OR (json_extract(holding, '$.asked.thumbnail') AND NOT EXISTS (
    SELECT 1 FROM json_each(holding, '$.fixity') WHERE json_extract(value, '$.role') = 'thumbnail'))
  OR EXISTS (SELECT 1 FROM json_each(holding, '$.asked.captions') AS asked WHERE NOT EXISTS (
    SELECT 1 FROM json_each(holding, '$.fixity') AS held
    WHERE json_extract(held.value, '$.language') = asked.value)))"""
_BELOW_WANTED = "json_array_length(holding, '$.revisit.reasons') > 0"
_STATUS = {
    "complete": f"NOT {_INCOMPLETE}",
    "incomplete": _INCOMPLETE,
    "gone": "video_id IN (SELECT video_id FROM known_gone)",
}
_MATCHES = """EXISTS (SELECT 1 FROM searched_rows r WHERE r.root = videos.root AND r.video_id = videos.video_id
  AND r.id IN (SELECT rowid FROM search_index WHERE search_index MATCH ?))"""


class VideoQuery(PageQuery):
    """`q`: words of title or channel, all of which must match, as in /storage/search; `channel`: its id or name.

    `status`: `complete`, everything that was requested is held; `incomplete`, something is not (for example, upstream
    has no captions); `gone`, the video is known to be unavailable upstream. `below_wanted`: only videos
    that might get better, with the reasons. `sort` with `-`: descending.
    """

    q: str | None = Field(default=None, min_length=1, max_length=200)
    channel: str | None = Field(default=None, min_length=1, max_length=200)
    playlist: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    status: VideoStatus | None = None
    below_wanted: bool = False
    sort: VideoSort = "-archived_at"


class Prospect(BaseModel):
    """Why a video might get better, and when it is looked at again; `next_look` null: not any more. `resolution`
    and `offered`, at the last look, are lines of the shorter side; `captions` were asked for and are not held."""

    reasons: list[RevisitReason]
    next_look: AwareDatetime | None
    looked_at: AwareDatetime | None
    resolution: int | None
    offered: int | None
    captions: list[str]


class VideoRow(BaseModel):
    """`prospect`: unset for a video that is as good as it gets."""

    root: str
    video_id: str
    title: str
    channel: str | None
    channel_id: str | None
    duration_seconds: float | None
    upload_date: str | None
    archived_at: AwareDatetime
    bytes: int
    qualities: list[str]
    prospect: Prospect | None = None


class VideoPage(Page):
    videos: list[VideoRow]


class HeldCopy(BaseModel):
    """The files that one root holds of a video."""

    root: str
    files: list[FileFact]
    bytes: int
    absent: list[str]
    prospect: Prospect | None = None


class Existence(BaseModel):
    video_id: str
    exists: bool
    copies: list[HeldCopy]
    known_gone: KnownGone | None = None


class RootStats(BaseModel):
    """`free_bytes` is null where the disk cannot be read."""

    root: str
    videos: int
    bytes: int
    duration_seconds: float
    free_bytes: int | None


class ChannelStats(BaseModel):
    channel: str
    videos: int
    bytes: int


class ArchiveStats(BaseModel):
    videos: int
    bytes: int
    duration_seconds: float
    roots: list[RootStats]
    channels: list[ChannelStats]  # the twenty with the most videos
    known_gone: int
    open_plan_entries: int
    oldest: AwareDatetime | None
    newest: AwareDatetime | None


def expect_index(db: sqlite3.Connection) -> None:
    """Raise ServiceUnavailable when a version without a text index wrote the catalogue."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'search_index'").fetchone():
        raise ServiceUnavailable("The archive's texts are not indexed yet: start `ytarchive up` once, it does that.")


class CatalogueQueries:
    """`database` may be read-only. `revisit_after`: [revisit] after."""

    def __init__(self, database: Database, storage: Storage, revisit_after: Sequence[timedelta]) -> None:
        self._database = database
        self._storage = storage
        self._revisit_after = revisit_after

    async def videos(self, query: VideoQuery) -> VideoPage:
        """Raises ServiceUnavailable for `q` while there is no text index."""
        members = None
        if query.playlist is not None:
            members = await asyncio.to_thread(members_of, query.playlist, self._storage)
        where, values = _conditions(query, members)
        column = _SORT_COLUMNS[query.sort.removeprefix("-")]
        order = f"{column} IS NULL, {column} {'DESC' if query.sort.startswith('-') else 'ASC'}, root, video_id"

        def work(db: sqlite3.Connection) -> VideoPage:
            if query.q is not None:
                expect_index(db)
            (total,) = db.execute(f"SELECT count(*) FROM videos WHERE {where}", values).fetchone()  # noqa: S608 - ours
            rows = db.execute(
                f"SELECT * FROM videos WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",  # noqa: S608 - ours
                (*values, query.limit, query.offset),
            )
            found = [self._row(row) for row in rows]
            return VideoPage(videos=found, total=total, limit=query.limit, offset=query.offset)

        return await self._database.read(work)

    async def existence(self, video_id: str) -> Existence:
        def work(db: sqlite3.Connection) -> Existence:
            rows = db.execute("SELECT root, holding FROM videos WHERE video_id = ? ORDER BY root", (video_id,))
            copies = [self._copy(row["root"], _holding(row)) for row in rows]
            gone = db.execute("SELECT reason, at FROM known_gone WHERE video_id = ?", (video_id,)).fetchone()
            return Existence(
                video_id=video_id,
                exists=bool(copies),
                copies=copies,
                known_gone=KnownGone(**dict(gone)) if gone else None,
            )

        return await self._database.read(work)

    async def stats(self, roots: Sequence[Path]) -> ArchiveStats:
        def work(db: sqlite3.Connection) -> ArchiveStats:
            query = "SELECT root, count(*), sum(bytes), coalesce(sum(duration_seconds), 0) FROM videos GROUP BY root"
            held = {row[0]: tuple(row) for row in db.execute(query)}
            named = list(dict.fromkeys([*map(str, roots), *held]))
            per_root = [_root_stats(root, held.get(root)) for root in named]
            query = (
                "SELECT coalesce(channel, channel_id, '') AS channel, count(*) AS videos, sum(bytes) AS bytes"
                " FROM videos GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20"
            )
            channels = [ChannelStats(**dict(row)) for row in db.execute(query)]
            oldest, newest = db.execute("SELECT min(archived_at), max(archived_at) FROM videos").fetchone()
            (gone,) = db.execute("SELECT count(*) FROM known_gone").fetchone()
            (waiting,) = db.execute(OPEN_PLAN_ENTRIES).fetchone()
            return ArchiveStats(
                videos=sum(root.videos for root in per_root),
                bytes=sum(root.bytes for root in per_root),
                duration_seconds=sum(root.duration_seconds for root in per_root),
                roots=per_root,
                channels=channels,
                known_gone=gone,
                open_plan_entries=waiting,
                oldest=oldest,
                newest=newest,
            )

        return await self._database.read(work)

    async def may_get_better(self) -> list[tuple[str, Holding]]:
        """Return (root, holding) of all videos that might get better and are not known to be gone."""
        query = f"SELECT root, holding FROM videos WHERE {_BELOW_WANTED} AND NOT {_STATUS['gone']}"  # noqa: S608 - constants
        return await self._database.read(lambda db: [(row["root"], _holding(row)) for row in db.execute(query)])

    def _row(self, row: sqlite3.Row) -> VideoRow:
        prospect = self._prospect(_holding(row).revisit)
        return VideoRow(**{**dict(row), "qualities": json.loads(row["qualities"]), "prospect": prospect})

    def _copy(self, root: str, holding: Holding) -> HeldCopy:
        files = [fact_of(name, entry) for name, entry in sorted(holding.fixity.items())]
        prospect = self._prospect(holding.revisit)
        return HeldCopy(root=root, files=files, bytes=holding.bytes, absent=list(holding.absent), prospect=prospect)

    def _prospect(self, revisit: Revisit | None) -> Prospect | None:
        if revisit is None or not revisit.reasons:
            return None
        return Prospect(
            reasons=list(revisit.reasons),
            next_look=next_look(revisit, self._revisit_after, datetime.now(UTC)),
            looked_at=revisit.looked_at,
            resolution=revisit.resolution,
            offered=revisit.offered,
            captions=list(revisit.captions),
        )


def _conditions(query: VideoQuery, members: Sequence[str] | None) -> tuple[str, list[Any]]:
    conditions, values = ["1"], list[Any]()
    if query.q is not None:
        text_query = parse_query(query.q)
        wanted, unwanted = text_query.expression("title", "channel"), text_query.exclusion("title", "channel")
        conditions += ["0"] if wanted is None else [_MATCHES]
        conditions += [] if unwanted is None else [f"NOT {_MATCHES}"]
        values += [expression for expression in (wanted, unwanted) if expression is not None]
    if query.status is not None:
        conditions.append(_STATUS[query.status])
    if query.below_wanted:
        conditions.append(_BELOW_WANTED)
    if query.channel is not None:
        conditions.append("(channel_id = ? OR channel = ? COLLATE NOCASE)")
        values += [query.channel, query.channel]
    if members is not None:
        conditions.append("video_id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(list(members)))
    return " AND ".join(conditions), values


def _holding(row: sqlite3.Row) -> Holding:
    return parse_row(Holding.model_validate_json, row["holding"])


def _root_stats(root: str, held: tuple[Any, ...] | None) -> RootStats:
    _root, videos, size, seconds = held or (root, 0, 0, 0.0)
    try:
        free = shutil.disk_usage(root).free
    except OSError:
        free = None
    return RootStats(root=root, videos=videos, bytes=size, duration_seconds=seconds, free_bytes=free)
