"""The playlists that the archive knows, with what is held of each. Reads the playlists' files and the catalogue."""

import asyncio
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from cachetools import LRUCache
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.common.errors import NotFound
from services.common.infra.sqlite import Database
from services.common.settings.load import Storage
from services.common.web.paging import Page, PageQuery
from services.storage.formats.layout import tree_of
from services.storage.formats.playlist_availability import AvailabilityPoint, availability
from services.storage.playlists.playlist_file import read_playlist_file

_KEPT = 2_000  # parsed files
_MOST_POINTS = 500
_TITLES = "SELECT video_id, title FROM videos WHERE video_id IN (SELECT value FROM json_each(?))"
_HELD = "SELECT count(*) FROM json_each(?) WHERE EXISTS (SELECT 1 FROM videos WHERE video_id = value)"
_LOST = "SELECT count(*) FROM json_each(?) WHERE EXISTS (SELECT 1 FROM known_gone WHERE video_id = value)"
_GONE = "SELECT video_id, reason FROM known_gone WHERE video_id IN (SELECT value FROM json_each(?))"


class PlaylistQuery(PageQuery):
    q: str | None = Field(default=None, min_length=1, max_length=200)


class PlaylistRow(BaseModel):
    """A playlist, or the uploads of a channel. `entries` as of the last complete listing, a video that is listed twice
    counts twice; so many of them are `held`, and `gone`: known to be unavailable on YouTube."""

    playlist_id: str
    title: str | None
    channel: str | None
    channel_id: str | None
    entries: int
    held: int
    gone: int
    fetched_at: AwareDatetime


class PlaylistList(Page):
    """The one that was listed last is first."""

    playlists: list[PlaylistRow]


class EntryQuery(PageQuery):
    """`state`: only entries that are held, or missing, or gone from YouTube."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=500)
    state: Literal["held", "missing", "gone"] | None = None


class PlaylistEntry(BaseModel):
    """`position` from 0. `gone`: why the video is unavailable on YouTube, if it is."""

    position: int
    video_id: str
    title: str | None
    duration_seconds: float | None
    held: bool
    gone: str | None


class PlaylistEntries(Page):
    playlist: PlaylistRow
    description: str | None
    entries: list[PlaylistEntry]


class PlaylistAvailability(BaseModel):
    """From the first listing on, oldest first; at most five hundred points, of which the newest is always there."""

    points: list[AvailabilityPoint]


PlaylistId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


@dataclass(frozen=True)
class _Known:
    """A playlist's file, parsed. `entries`: video_id, title, seconds."""

    playlist_id: str
    title: str | None
    description: str | None
    channel: str | None
    channel_id: str | None
    fetched_at: datetime
    entries: tuple[tuple[str, str | None, float | None], ...]


class PlaylistQueries:
    def __init__(self, database: Database, storage: Storage, kept: int = _KEPT) -> None:
        """`kept`: how many parsed files are kept in memory."""
        self._database = database
        self._storage = storage
        self._parsed: LRUCache[tuple[str, int, int], _Known | None] = LRUCache(kept)
        self._lock = threading.Lock()  # of `_parsed`: files are read on several threads

    async def page(self, query: PlaylistQuery) -> PlaylistList:
        known = await asyncio.to_thread(self._all, query.q)
        page = known[query.offset : query.offset + query.limit]
        rows = await self._database.read(lambda db: [_row(db, one) for one in page])
        return PlaylistList(playlists=rows, total=len(known), limit=query.limit, offset=query.offset)

    async def entries(self, playlist_id: str, query: EntryQuery) -> PlaylistEntries:
        """Raises NotFound."""
        known = await asyncio.to_thread(self._one, playlist_id)
        if known is None:
            raise _unknown(playlist_id)
        return await self._database.read(lambda db: _entries(db, known, query))

    async def availability(self, playlist_id: str) -> PlaylistAvailability:
        """Raises NotFound."""
        points = await asyncio.to_thread(self._availability, playlist_id)
        if points is None:
            raise _unknown(playlist_id)
        return PlaylistAvailability(points=points)

    def _availability(self, playlist_id: str) -> list[AvailabilityPoint] | None:
        files = [file for path in self._places(playlist_id) if (file := read_playlist_file(path)) is not None]
        if not files:
            return None
        return availability(max(files, key=lambda file: file.fetched_at), _MOST_POINTS)

    def _all(self, q: str | None) -> list[_Known]:
        newest: dict[str, _Known] = {}
        for path in self._files():
            one = self._read(path)
            if one is not None and (
                one.playlist_id not in newest or newest[one.playlist_id].fetched_at < one.fetched_at
            ):
                newest[one.playlist_id] = one
        words = (q or "").lower().split()
        found = [one for one in newest.values() if all(word in _text(one) for word in words)]
        return sorted(found, key=lambda one: (one.fetched_at, one.playlist_id), reverse=True)

    def _one(self, playlist_id: str) -> _Known | None:
        found = [one for path in self._places(playlist_id) if (one := self._read(path)) is not None]
        return max(found, key=lambda one: one.fetched_at, default=None)

    def _places(self, playlist_id: str) -> Iterator[Path]:
        for root in self._storage.all_roots:
            yield tree_of(root, self._storage).playlist_metadata(playlist_id)

    def _files(self) -> Iterator[Path]:
        for root in self._storage.all_roots:
            folder = tree_of(root, self._storage).metadata / "playlists"
            if folder.is_dir():
                yield from sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))

    def _read(self, path: Path) -> _Known | None:
        try:
            status = path.stat()
        except OSError:
            return None
        key = (str(path), status.st_mtime_ns, status.st_size)
        with self._lock:
            if key in self._parsed:
                return self._parsed[key]
        known = _known(path)
        with self._lock:
            self._parsed[key] = known
        return known


def _unknown(playlist_id: str) -> NotFound:
    return NotFound(f"The archive knows no playlist {playlist_id}.", playlist_id=playlist_id)


def _known(path: Path) -> _Known | None:
    file = read_playlist_file(path)
    if file is None:
        return None
    return _Known(
        playlist_id=file.playlist_id,
        title=file.title,
        description=file.description,
        channel=file.channel,
        channel_id=file.channel_id,
        fetched_at=file.fetched_at,
        entries=tuple((entry.video_id, entry.title, entry.duration_seconds) for entry in file.entries),
    )


def _text(known: _Known) -> str:
    return f"{known.title or ''} {known.channel or ''} {known.playlist_id}".lower()


def _row(db: sqlite3.Connection, known: _Known) -> PlaylistRow:
    ids = json.dumps([video_id for video_id, _title, _seconds in known.entries])
    return PlaylistRow(
        playlist_id=known.playlist_id,
        title=known.title,
        channel=known.channel,
        channel_id=known.channel_id,
        entries=len(known.entries),
        held=db.execute(_HELD, (ids,)).fetchone()[0],
        gone=db.execute(_LOST, (ids,)).fetchone()[0],
        fetched_at=known.fetched_at,
    )


def _entries(db: sqlite3.Connection, known: _Known, query: EntryQuery) -> PlaylistEntries:
    ids = [video_id for video_id, _title, _seconds in known.entries]
    titles = dict[str, str](db.execute(_TITLES, (json.dumps(ids),)).fetchall())
    gone = dict[str, str](db.execute(_GONE, (json.dumps(ids),)).fetchall())
    rows = [
        PlaylistEntry(
            position=position,
            video_id=video_id,
            title=titles.get(video_id) or title,
            duration_seconds=seconds,
            held=video_id in titles,
            gone=gone.get(video_id),
        )
        for position, (video_id, title, seconds) in enumerate(known.entries)
    ]
    chosen = _chosen(rows, query.state)
    return PlaylistEntries(
        playlist=_row(db, known),
        description=known.description,
        entries=chosen[query.offset : query.offset + query.limit],
        total=len(chosen),
        limit=query.limit,
        offset=query.offset,
    )


def _chosen(rows: Sequence[PlaylistEntry], state: str | None) -> list[PlaylistEntry]:
    match state:
        case "held":
            return [row for row in rows if row.held]
        case "missing":
            return [row for row in rows if not row.held]
        case "gone":
            return [row for row in rows if row.gone is not None]
    return list(rows)
