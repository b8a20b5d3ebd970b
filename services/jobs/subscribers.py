"""Subscribers to the changes of jobs. A subscriber is woken by a change and reads it from jobs.db at its own pace, so
that a slow one delays nobody."""

import asyncio
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from services.common.events import DownloadProgress
from services.jobs.adapters.commits import Commit

_ENDED_KEPT = 1000  # dispatches


class JobSubscription:
    """A subscription to one job. Of the progress of a video only the latest is kept."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._progress: dict[str, DownloadProgress] = {}

    def wake(self, progress: DownloadProgress | None = None) -> None:
        if progress is not None:
            self._progress[progress.video_id] = progress
        self._woken.set()

    def forget(self, video_id: str) -> None:
        self._progress.pop(video_id, None)

    async def wait(self, within: float, video_ids: Collection[str]) -> list[DownloadProgress]:
        """Wait for a change, up to `within` seconds. Return the latest progress of these videos."""
        try:
            async with asyncio.timeout(within):
                await self._woken.wait()
        except TimeoutError:
            return []
        self._woken.clear()
        latest, self._progress = self._progress, {}
        return [event for event in latest.values() if event.video_id in video_ids]


class Subscribers:
    """The subscriptions to single jobs and to all jobs, and the progress of the running downloads."""

    def __init__(self) -> None:
        self._running: dict[str, DownloadProgress] = {}  # by video
        self._by_job: dict[str, set[JobSubscription]] = {}
        self._to_all: set[asyncio.Event] = set()
        self._ended: dict[str, None] = {}  # the last dispatches that ended, in order

    def committed(self, commit: Commit) -> None:
        """Wake the subscribers of the jobs that changed."""
        if not commit.jobs:
            return
        for woken in self._to_all:
            woken.set()
        for job_id in commit.jobs:
            for subscription in self._by_job.get(job_id, ()):
                subscription.wake()

    def progressed(self, event: DownloadProgress) -> None:
        if event.dispatch_id in self._ended:
            return  # progress is not ordered with the other events: it arrived after the end
        self._running[event.video_id] = event
        for subscriptions in self._by_job.values():
            for subscription in subscriptions:
                subscription.wake(event)

    def ended(self, video_id: str, dispatch_id: str) -> None:
        """Drop the progress of a download."""
        self._ended[dispatch_id] = None
        if len(self._ended) > _ENDED_KEPT:
            del self._ended[next(iter(self._ended))]
        self._running.pop(video_id, None)
        for subscriptions in self._by_job.values():
            for subscription in subscriptions:
                subscription.forget(video_id)

    def running(self, video_ids: Iterable[str]) -> dict[str, DownloadProgress]:
        """Return the latest progress of those of these videos that are being downloaded."""
        return {video_id: self._running[video_id] for video_id in video_ids if video_id in self._running}

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[JobSubscription]:
        subscription = JobSubscription()
        self._by_job.setdefault(job_id, set()).add(subscription)
        try:
            yield subscription
        finally:
            self._by_job[job_id].discard(subscription)
            if not self._by_job[job_id]:
                del self._by_job[job_id]

    @contextmanager
    def subscribe_to_all(self) -> Iterator[asyncio.Event]:
        """Return an event that is set whenever any job changes. The caller clears it."""
        woken = asyncio.Event()
        self._to_all.add(woken)
        try:
            yield woken
        finally:
            self._to_all.discard(woken)
