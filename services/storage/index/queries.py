"""Queries for the catalogue: which videos are held, how many, how much space they take.

They need no running service: catalogue.db may be open in another process, or closed.
"""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from services.common.domain.archive import FileFact, KnownGone, Revisit, RevisitReason
from services.common.infra.sqlite import Database
from services.common.names import VideoSort, VideoStatus
from services.common.settings.load import Storage
from services.common.web.paging import Page, PageQuery
from services.storage.formats.manifest import Holding, fact_of
from services.storage.formats.revisit import next_look
from services.storage.index.catalogue import OPEN_PLAN_ENTRIES
from services.storage.index.holdings import unpack
from services.storage.index.listing import Filter, select_page
from services.storage.index.tokenizer import parse_query
from services.storage.playlists.playlist_file import members_of

_STATUS = {"complete": "NOT incomplete", "incomplete": "incomplete"}
_GONE = "SELECT id FROM videos WHERE video_id IN (SELECT video_id FROM known_gone)"
_OF_CHANNEL = "SELECT id FROM videos WHERE channel_id = ? UNION SELECT id FROM videos WHERE channel = ? COLLATE NOCASE"
_NAMED = "SELECT rowid FROM name_index WHERE name_index MATCH ?"
_OF_PLAYLIST = "SELECT id FROM videos WHERE video_id IN (SELECT value FROM json_each(?))"


class VideoFilter(BaseModel):
    """`q`: words of title or channel, all of which must match, as in /storage/search; `channel`: its id or name.
    `year`: in which the video was made; `quality`: for which it was asked (`1080p`); `captions`: a language that is
    held, or `none`. Lengths are in seconds, `max_length` is excluded. `watched`: whether somebody has watched it to its
    end.

    `status`: `complete`, everything that was requested is held; `incomplete`, something is not (for example, upstream
    has no captions); `gone`, the video is known to be unavailable upstream. `below_wanted`: only videos
    that might get better, with the reasons.
    """

    model_config = ConfigDict(extra="forbid")

    q: str | None = Field(default=None, min_length=1, max_length=200)
    channel: str | None = Field(default=None, min_length=1, max_length=200)
    playlist: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    year: int | None = Field(default=None, ge=1900, le=2999)
    min_length: float | None = Field(default=None, ge=0, le=10**7)
    max_length: float | None = Field(default=None, ge=0, le=10**7)
    quality: str | None = Field(default=None, pattern=r"^[A-Za-z0-9]{1,16}$")
    captions: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    watched: bool | None = None
    status: VideoStatus | None = None
    below_wanted: bool = False


class VideoQuery(VideoFilter, PageQuery):
    """The filters, and `sort`: with `-`, descending. `after`: the `next` of the page before, in place of `offset`:
    pages at the end of a long list then cost what the first one does, and rows that are added meanwhile shift nothing.
    """

    sort: VideoSort = "-archived_at"
    after: str | None = Field(default=None, max_length=8000)

    @model_validator(mode="after")
    def _expect_one_place(self) -> Self:
        if self.after is not None and self.offset:
            raise ValueError("give `after` or `offset`, not both")
        return self


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
    """`next`: `after` of the next page; null at the end of the list."""

    videos: list[VideoRow]
    next: str | None = None


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


class CatalogueQueries:
    """`database` may be read-only. `revisit_after`: [revisit] after."""

    def __init__(self, database: Database, storage: Storage, revisit_after: Sequence[timedelta]) -> None:
        self._database = database
        self._storage = storage
        self._revisit_after = revisit_after

    async def videos(self, query: VideoQuery, watched: Sequence[str] = ()) -> VideoPage:
        """`watched`: the videos that were watched, if the query asks. Raises InvalidRequest for an `after` that is no
        cursor of this list."""
        chosen = await self.filter_of(query, watched)

        def work(db: sqlite3.Connection) -> VideoPage:
            found = select_page(db, chosen, query.sort, limit=query.limit, offset=query.offset, after=query.after)
            rows = [self._row(row) for row in found.rows]
            return VideoPage(videos=rows, total=found.total, next=found.next, limit=query.limit, offset=query.offset)

        return await self._database.read(work)

    async def filter_of(self, query: VideoFilter, watched: Sequence[str] = ()) -> Filter:
        """`watched`: the videos that were watched, if the query asks."""
        members = None
        if query.playlist is not None:
            members = await asyncio.to_thread(members_of, query.playlist, self._storage)
        return _filter(query, members, watched)

    async def rows(self, video_ids: Sequence[str]) -> dict[str, VideoRow]:
        """Return a row for each of these videos that is held, by video_id."""
        query = (
            "SELECT root, video_id, title, channel, channel_id, duration_seconds, upload_date, archived_at, bytes,"
            " qualities, NULL AS packed FROM videos WHERE video_id IN (SELECT value FROM json_each(?))"
            " ORDER BY root DESC"
        )

        def work(db: sqlite3.Connection) -> dict[str, VideoRow]:
            rows = db.execute(query, (json.dumps(list(video_ids)),)).fetchall()
            return {row["video_id"]: self._row(row) for row in rows}

        return await self._database.read(work)

    async def existence(self, video_id: str) -> Existence:
        def work(db: sqlite3.Connection) -> Existence:
            rows = db.execute(
                "SELECT root, packed FROM videos JOIN holdings USING (id) WHERE video_id = ? ORDER BY root", (video_id,)
            )
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
            query = "SELECT root, sum(videos), sum(bytes), sum(milliseconds) / 1000.0 FROM video_totals GROUP BY root"
            held = {row[0]: tuple(row) for row in db.execute(query) if row[1]}
            named = list(dict.fromkeys([*map(str, roots), *held]))
            per_root = [_root_stats(root, held.get(root)) for root in named]
            query = "SELECT channel, videos, bytes FROM channel_totals ORDER BY videos DESC, channel LIMIT 20"
            channels = [ChannelStats(**dict(row)) for row in db.execute(query)]
            (oldest,) = db.execute("SELECT min(archived_at) FROM videos").fetchone()
            (newest,) = db.execute("SELECT max(archived_at) FROM videos").fetchone()  # one by one: each from the index
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
        query = (
            "SELECT root, packed FROM videos INDEXED BY videos_by_archived_at JOIN holdings USING (id)"
            " WHERE below_wanted AND video_id NOT IN (SELECT video_id FROM known_gone)"
        )
        return await self._database.read(lambda db: [(row["root"], _holding(row)) for row in db.execute(query)])

    def _row(self, row: sqlite3.Row) -> VideoRow:
        prospect = self._prospect(_holding(row).revisit) if row["packed"] is not None else None
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


def _filter(query: VideoFilter, members: Sequence[str] | None, watched: Sequence[str]) -> Filter:
    chosen, values = list[str](), list[Any]()
    if query.q is not None:
        text_query = parse_query(query.q)
        wanted, unwanted = text_query.expression(), text_query.exclusion()
        chosen.append("SELECT 0 WHERE 0" if wanted is None else _NAMED + (f" EXCEPT {_NAMED}" if unwanted else ""))
        values += [expression for expression in (wanted, unwanted) if wanted is not None and expression is not None]
    if query.status == "gone":
        chosen.append(_GONE)
    if query.channel is not None:
        chosen.append(_OF_CHANNEL)
        values += [query.channel, query.channel]
    if members is not None:
        chosen.append(_OF_PLAYLIST)
        values.append(json.dumps(list(members)))
    if query.watched:
        chosen.append(_OF_PLAYLIST)
        values.append(json.dumps(list(watched)))
    conditions = list(_conditions(query, watched, sets=bool(chosen)))
    flags = [_STATUS[query.status]] if query.status in _STATUS else []
    flags += ["below_wanted"] if query.below_wanted else []
    joined = " INTERSECT ".join(f"SELECT * FROM ({one})" for one in chosen)  # noqa: S608 - ours
    values += [value for _condition, found in conditions for value in found]
    return Filter(joined or None, tuple(values), tuple(flags), tuple(condition for condition, _found in conditions))


def _conditions(query: VideoFilter, watched: Sequence[str], *, sets: bool) -> Iterator[tuple[str, list[Any]]]:
    """Yield a condition of a row of `videos`, with its values, for each further filter. `+`: not by its index, where
    that would be slower: within a set of rows, or where most rows are read anyway. `sets`: there is such a set."""
    if query.year is not None:
        date = f"{'+' if sets else ''}videos.upload_date"
        yield f"{date} >= ? AND {date} < ?", [f"{query.year}", f"{query.year + 1}"]
    if query.min_length is not None or query.max_length is not None:
        longest = query.max_length if query.max_length is not None else float("inf")
        length = f"{'+' if sets or query.year or query.quality else ''}videos.duration_seconds"
        yield f"{length} >= ? AND {length} < ?", [query.min_length or 0.0, longest]
    if query.quality is not None:
        yield "instr(videos.qualities, ?)", [json.dumps(query.quality)]
    if query.watched is False:
        yield "videos.video_id NOT IN (SELECT value FROM json_each(?))", [json.dumps(list(watched))]
    if query.captions == "none":
        yield "NOT EXISTS (SELECT 1 FROM searched_rows r WHERE r.video = videos.id AND r.language > '')", []
    elif query.captions is not None:
        yield "EXISTS (SELECT 1 FROM searched_rows r WHERE r.video = videos.id AND r.language = ?)", [query.captions]


def _holding(row: sqlite3.Row) -> Holding:
    return unpack(row["packed"])


def _root_stats(root: str, held: tuple[Any, ...] | None) -> RootStats:
    _root, videos, size, seconds = held or (root, 0, 0, 0.0)
    try:
        free = shutil.disk_usage(root).free
    except OSError:
        free = None
    return RootStats(root=root, videos=videos, bytes=size, duration_seconds=seconds, free_bytes=free)
