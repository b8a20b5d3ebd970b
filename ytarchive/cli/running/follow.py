"""Following one job to its end: live events from the bus, snapshots over REST in case some were missed (DESIGN §3)."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from bus import Bus, BusError
from bus.message import Delivery, Envelope, Event
from services.common import events as e
from services.common.errors import NotFound, ServiceUnavailable
from services.common.models import Item, Job, Progress
from ytarchive.cli.exits import parked
from ytarchive.cli.render.displays import Display
from ytarchive.cli.running.job_state import Picture
from ytarchive.cli.running.result import Tally
from ytarchive.client.rest import Rest

SNAPSHOT_EVERY = 10.0  # seconds
_TICK = 0.5  # seconds between two looks at whether the stack is still there
_PAGE = 1000  # items
_NOT_ABOUT_JOBS = {e.ServiceRegistered, e.ServiceHeartbeat, e.ServiceStopped, e.LogRecorded}
FOLLOWED: tuple[type[Event], ...] = tuple(
    kind for kind in e.catalogue() if kind not in _NOT_ABOUT_JOBS and kind.delivery is not Delivery.REQUEST
)


class StackGone(Exception):
    """The stack that we were attached to is not there any more."""


class Follower:
    """`still_there` says whether the stack that works on the job is alive."""

    def __init__(
        self, bus: Bus, jobs: Rest, picture: Picture, display: Display, still_there: Callable[[], Awaitable[bool]]
    ) -> None:
        self._bus = bus
        self._jobs = jobs
        self._picture = picture
        self._display = display
        self._still_there = still_there
        self._over = asyncio.Event()
        self._subscribed = asyncio.Event()

    async def run(self, begin: Callable[[], Awaitable[None]]) -> Job:
        """Listen, then `begin` (publish the job), then follow until the job ended or only far timers are left.

        Raises StackGone.
        """
        await _first_of(self._over.wait(), self._listen(), self._take_snapshots(begin), self._watch())
        job = self._picture.job
        assert job is not None  # noqa: S101 - it is over once a job was seen to have ended
        return job

    async def _listen(self) -> None:
        while True:  # a tail ends when the bus has to connect anew
            await self._bus.online.wait()
            with suppress(BusError):
                async with self._bus.tail(*FOLLOWED) as envelopes:
                    self._subscribed.set()
                    async for envelope in envelopes:
                        self._hear(envelope)
            await asyncio.sleep(0.1)

    def _hear(self, envelope: Envelope) -> None:
        if not self._picture.concerns(envelope):
            return
        self._display.heard(envelope)
        notices = self._picture.apply(envelope)
        self._display.show(self._picture, notices)
        self._look_for_the_end()

    async def _take_snapshots(self, begin: Callable[[], Awaitable[None]]) -> None:
        again = asyncio.Event()

        async def reconnected() -> None:
            again.set()

        self._bus.on_reconnect.append(reconnected)
        self._bus.on_store_lost.append(begin)  # jobs may not have read it yet
        await self._subscribed.wait()
        await begin()
        while True:
            with suppress(NotFound, ServiceUnavailable):  # not taken up yet, or about to go: _watch knows
                await self._snapshot()
            with suppress(TimeoutError):
                async with asyncio.timeout(SNAPSHOT_EVERY if self._picture.job else _TICK):
                    await again.wait()
            again.clear()

    async def _snapshot(self) -> None:
        data = await self._jobs.get(f"jobs/{self._picture.job_id}")
        items = [Item.model_validate(item) for item in data["items"]]
        running = {video_id: Progress.model_validate(progress) for video_id, progress in data["running"].items()}
        self._picture.snapshot(Job.model_validate(data["job"]), items, running)
        self._display.show(self._picture, [])
        self._look_for_the_end()

    def _look_for_the_end(self) -> None:
        job = self._picture.job
        if job is None or job.revision <= self._picture.since:
            return
        if job.status.ended or parked(job, datetime.now(UTC)):
            self._over.set()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            if not await self._still_there():
                raise StackGone


async def tally(jobs: Rest, job_id: str) -> Tally:
    """All items of a job, counted; pages of 1,000."""
    found = Tally()
    offset = 0
    while True:
        data = await jobs.get(f"jobs/{job_id}/items", limit=_PAGE, offset=offset)
        found.add(Item.model_validate(item) for item in data["items"])
        offset += _PAGE
        if offset >= data["total"]:
            return found


async def _first_of(*work: Coroutine[Any, Any, Any]) -> None:
    """Run all until one ends, and cancel the others. Raises what that one raised; of several the first counts."""
    tasks = [asyncio.ensure_future(part) for part in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        next(task for task in tasks if task.done()).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
