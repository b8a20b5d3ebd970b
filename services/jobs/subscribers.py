"""Who watches: a listener is woken when its job changes and reads what is new, so a slow one holds nobody up."""

import asyncio
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from services.common.events import DownloadProgress

_OVER_KEPT = 1000


class Listener:
    """One watcher of one job. Progress is kept as the newest per video: what was not read in time is not missed."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._progress: dict[str, DownloadProgress] = {}

    def tell(self, progress: DownloadProgress | None = None) -> None:
        if progress is not None:
            self._progress[progress.video_id] = progress
        self._news.set()

    def forget(self, video_id: str) -> None:
        self._progress.pop(video_id, None)

    async def news(self, patience: float, video_ids: Collection[str]) -> list[DownloadProgress]:
        """Wait for a change, at most `patience` seconds; the progress of these videos meanwhile."""
        try:
            async with asyncio.timeout(patience):
                await self._news.wait()
        except TimeoutError:
            return []
        self._news.clear()
        told, self._progress = self._progress, {}
        return [event for event in told.values() if event.video_id in video_ids]


class Live:
    """The downloads that run now, and the listeners of each job."""

    def __init__(self) -> None:
        self._running: dict[str, DownloadProgress] = {}
        self._listeners: dict[str, set[Listener]] = {}
        self._watchers: set[asyncio.Event] = set()  # of all jobs
        self._over: dict[str, None] = {}  # the dispatches that ended last, in order

    def progressed(self, event: DownloadProgress) -> None:
        if event.dispatch_id in self._over:
            return  # it came another way than the end, and later
        self._running[event.video_id] = event
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.tell(event)

    def ended(self, video_id: str, dispatch_id: str) -> None:
        """Nothing is kept of it, also for listeners that do not listen."""
        self._over[dispatch_id] = None
        if len(self._over) > _OVER_KEPT:
            del self._over[next(iter(self._over))]
        self._running.pop(video_id, None)
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.forget(video_id)

    def of(self, video_ids: Iterable[str]) -> dict[str, DownloadProgress]:
        return {video_id: self._running[video_id] for video_id in video_ids if video_id in self._running}

    def changed(self, job_ids: Iterable[str]) -> None:
        for watcher in self._watchers:
            watcher.set()
        for job_id in job_ids:
            for listener in self._listeners.get(job_id, ()):
                listener.tell()

    @contextmanager
    def listening(self, job_id: str) -> Iterator[Listener]:
        listener = Listener()
        self._listeners.setdefault(job_id, set()).add(listener)
        try:
            yield listener
        finally:
            self._listeners[job_id].discard(listener)
            if not self._listeners[job_id]:
                del self._listeners[job_id]

    @contextmanager
    def watching(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever any job changes; who waits for it clears it."""
        watcher = asyncio.Event()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
