"""Cache of playlists that people page through: each is read once and kept for some minutes.

A resumable source (the Data API) is read as far as requested. yt-dlp starts each listing at the beginning, so it reads
one page, which is enough for most lookups, or else the whole list at once.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bus.tasks import unless
from services.common.domain.videos import Entry, PlaylistMetadata, Target, TargetKind
from services.common.errors import ServiceUnavailable
from services.common.events import PAGE_SIZE
from services.metadata.pages import ListingPage
from services.metadata.permits import PermittedSource
from services.metadata.sources import Source, SourceGivesUp

KEPT = 300.0  # seconds
MOST = 16  # lists
LONGEST = 20_000  # lines of one list: a mix is endless
WHOLE = 600.0  # seconds for one list, even when nobody waits


@dataclass
class CachedListing:
    """One list, as far as it was read. `sources` are in order of preference."""

    target: Target
    sources: list[PermittedSource[Source]]
    begun: float
    read_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    playlist: PlaylistMetadata | None = None
    entries: list[Entry] = field(default_factory=list)
    complete: bool = False  # no more pages will be read
    capped: bool = False  # because it exceeds LONGEST
    _lines: int = 0
    _token: str = ""
    _wanted: int = 0
    _task: asyncio.Task[None] | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def up_to(self, count: int, trace_id: str) -> None:
        """Return when `count` entries or all entries are known. Cancelling the wait does not stop the reading. Raise
        SourceFailed, ServiceUnavailable."""
        self._wanted = max(self._wanted, count)
        while not self._enough(count):
            if self._task is None:
                self._task = asyncio.create_task(self._read(trace_id), name=f"reading {self.target}")
                self._task.add_done_callback(_retrieve_error)
            if self._news.is_set():
                self._news = asyncio.Event()
            task = self._task
            await unless(asyncio.wait({task}), self._news)
            if task.done():
                if self._task is task:
                    self._task = None
                if task.cancelled():
                    raise ServiceUnavailable(
                        f"{self.target}: reading it was stopped in favour of other lists. Try again."
                    )
                task.result()

    @property
    def total(self) -> int:
        """The number of entries: as announced until all were read."""
        announced = self.playlist.entry_count if self.playlist else None
        seen = self.complete and not self.capped
        return len(self.entries) if seen or announced is None else max(announced, len(self.entries))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _enough(self, count: int) -> bool:
        if self.complete:
            return True
        counted = self.playlist is not None and self.playlist.entry_count is not None
        return counted and len(self.entries) >= count

    async def _read(self, trace_id: str) -> None:
        async with asyncio.timeout(WHOLE):
            while True:
                try:
                    return await self._read_by(self.sources[0], trace_id)
                except SourceGivesUp:
                    if len(self.sources) == 1:
                        raise
                    self.sources.pop(0)
                    self.entries, self._lines, self._token = [], 0, ""  # the next source starts from the beginning

    async def _read_by(self, permitted: PermittedSource[Source], trace_id: str) -> None:
        whole = not permitted.resumable and (self._lines > 0 or self._wanted > PAGE_SIZE)
        parts = permitted.source.parts(self.target, self._lines, self._token)
        async with permitted.permission(trace_id), aclosing(parts):
            async for part in parts:
                if isinstance(part, PlaylistMetadata):
                    self.playlist = part
                    continue
                self._take(part)
                if self._lines >= LONGEST:
                    self.capped = True
                    break
                if self._enough(self._wanted) and not whole:
                    return
        self.complete = True

    def _take(self, page: ListingPage) -> None:
        if page.offset < self._lines:  # the token had expired: it started again
            self.entries = []
        self.entries += page.entries
        self._lines, self._token = page.following, page.token
        self._news.set()


def _retrieve_error(task: asyncio.Task[None]) -> None:
    """Mark the error as retrieved: whoever waited has received it already."""
    if not task.cancelled():
        task.exception()


class ListingCache:
    """The lists read recently. `clock` returns seconds."""

    def __init__(
        self, sources: Callable[[], Iterable[PermittedSource[Source]]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sources = sources
        self._clock = clock
        self._kept: OrderedDict[tuple[TargetKind, str], CachedListing] = OrderedDict()
        self._dropped: set[asyncio.Task[None]] = set()

    async def read(self, target: Target, count: int, trace_id: str) -> CachedListing:
        """Return a list of which `count` entries, or all, are known. A list that failed is dropped. Raise as
        CachedListing.up_to."""
        name = (target.kind, target.id)
        reading = self._kept.get(name)
        if reading is None or self._clock() - reading.begun > KEPT:
            self._drop(name)
            reading = self._kept[name] = CachedListing(target, list(self._sources()), self._clock())
            while len(self._kept) > MOST:
                self._drop(next(iter(self._kept)))
        self._kept.move_to_end(name)
        try:
            await reading.up_to(count, trace_id)
        except Exception:
            if self._kept.get(name) is reading:
                self._drop(name)
            raise
        return reading

    def _drop(self, name: tuple[TargetKind, str]) -> None:
        reading = self._kept.pop(name, None)
        if reading is not None:
            closing = asyncio.create_task(reading.close(), name="closing a listing")
            self._dropped.add(closing)
            closing.add_done_callback(self._dropped.discard)

    async def close(self) -> None:
        for name in list(self._kept):
            self._drop(name)
        await asyncio.gather(*self._dropped)
