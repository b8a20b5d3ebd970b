"""Lists that people page through: each is read once and kept for some minutes, however many pages are asked for.

A source that goes on from a token for nothing (the Data API) is read as far as somebody asked. yt-dlp begins every
listing at its front, so it reads one page, which is all that most look-ups want, or else the whole list in one go.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime

from services.common.errors import ServiceUnavailable
from services.common.events import PAGE_SIZE
from services.common.models import Entry, PlaylistMetadata, Target, TargetKind
from services.metadata.pages import Page
from services.metadata.permits import Leave
from services.metadata.sources import Source, SourceGivesUp

KEPT = 300.0  # seconds
MOST = 16  # lists
LONGEST = 20_000  # lines of one list: a mix has no end
WHOLE = 600.0  # seconds for one list, whoever waits


@dataclass
class Reading:
    """One list, as far as it is known. `leaves` are the ways to read it, the best first."""

    target: Target
    leaves: list[Leave[Source]]
    begun: float
    read_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    playlist: PlaylistMetadata | None = None
    entries: list[Entry] = field(default_factory=list)
    complete: bool = False  # nothing more is read of it
    capped: bool = False  # because it is too long to be read for a look-up
    _lines: int = 0
    _token: str = ""
    _wanted: int = 0
    _task: asyncio.Task[None] | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def up_to(self, count: int, trace_id: str) -> None:
        """Returns when so many entries are known, or all that there are; who gives up waiting does not stop it. Raises
        SourceFailed, ServiceUnavailable."""
        self._wanted = max(self._wanted, count)
        while not self._enough(count):
            if self._task is None:
                self._task = asyncio.create_task(self._read(trace_id), name=f"reading {self.target}")
                self._task.add_done_callback(_look_at)
            if self._news.is_set():
                self._news = asyncio.Event()
            task, news = self._task, asyncio.ensure_future(self._news.wait())
            try:
                await asyncio.wait({task, news}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()
            if task.done():
                if self._task is task:
                    self._task = None
                if task.cancelled():
                    raise ServiceUnavailable(f"{self.target}: it was put aside for other lists. Try again.")
                task.result()

    @property
    def total(self) -> int:
        """As the list announces it, until its end was seen."""
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
                    return await self._read_by(self.leaves[0], trace_id)
                except SourceGivesUp:
                    if len(self.leaves) == 1:
                        raise
                    self.leaves.pop(0)
                    self.entries, self._lines, self._token = [], 0, ""  # the next one begins anew

    async def _read_by(self, leave: Leave[Source], trace_id: str) -> None:
        whole = leave.reads_on and (self._lines > 0 or self._wanted > PAGE_SIZE)
        parts = leave.source.parts(self.target, self._lines, self._token)
        async with leave.asking(trace_id), aclosing(parts):
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

    def _take(self, page: Page) -> None:
        if page.offset < self._lines:  # the token was void: it began again
            self.entries = []
        self.entries += page.entries
        self._lines, self._token = page.following, page.token
        self._news.set()


def _look_at(task: asyncio.Task[None]) -> None:
    """Whoever waited has heard of an error already, or went away."""
    if not task.cancelled():
        task.exception()


class Readings:
    """The lists read of late. `clock` counts seconds."""

    def __init__(
        self, leaves: Callable[[], Iterable[Leave[Source]]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._leaves = leaves
        self._clock = clock
        self._kept: OrderedDict[tuple[TargetKind, str], Reading] = OrderedDict()
        self._dropped: set[asyncio.Task[None]] = set()

    async def read(self, target: Target, count: int, trace_id: str) -> Reading:
        """A list of which `count` entries are known, or all. One that failed is forgotten. Raises as Reading.up_to."""
        name = (target.kind, target.id)
        reading = self._kept.get(name)
        if reading is None or self._clock() - reading.begun > KEPT:
            self._drop(name)
            reading = self._kept[name] = Reading(target, list(self._leaves()), self._clock())
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
            closing = asyncio.create_task(reading.close(), name="closing a reading")
            self._dropped.add(closing)
            closing.add_done_callback(self._dropped.discard)

    async def close(self) -> None:
        for name in list(self._kept):
            self._drop(name)
        await asyncio.gather(*self._dropped)
