"""Follow a job to its end: events from the bus, and REST snapshots in case events were missed."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from bus import Bus, BusError
from bus.errors import BrokerRefuses
from bus.message import Delivery, Envelope, Event
from bus.tasks import unless
from services.common import events as e
from services.common.domain.jobs import Job
from services.common.errors import NotFound, ServiceUnavailable
from ytarchive.cli.jobs.exit_codes import parked
from ytarchive.cli.jobs.job_state import JobState
from ytarchive.cli.jobs.result import ItemTotals
from ytarchive.cli.render.displays import Display
from ytarchive.client.jobs import JobsClient, RestJobs

SNAPSHOT_INTERVAL = 10.0  # seconds
_CHECK_INTERVAL = 0.5  # seconds between two checks that the stack is alive
_RESUBSCRIBE_PAUSE = 0.1  # seconds
_NOT_ABOUT_JOBS = {e.ServiceRegistered, e.ServiceHeartbeat, e.ServiceStopped, e.LogRecorded}
FOLLOWED: tuple[type[Event], ...] = tuple(
    kind for kind in e.catalogue() if kind not in _NOT_ABOUT_JOBS and kind.delivery is not Delivery.REQUEST
)


class StackGone(Exception):
    """The stack that we were attached to has ended."""


class Follower:
    """`still_there` returns whether the stack that works on the job is alive."""

    def __init__(
        self, bus: Bus, jobs: RestJobs, state: JobState, display: Display, still_there: Callable[[], Awaitable[bool]]
    ) -> None:
        self._bus = bus
        self._jobs = jobs
        self._state = state
        self._display = display
        self._still_there = still_there
        self._over = asyncio.Event()
        self._subscribed = asyncio.Event()

    async def run(self, begin: Callable[[], Awaitable[None]]) -> Job:
        """Subscribe, call `begin` (which publishes the job), and follow the job until it has ended or is parked.

        Raises StackGone.
        """
        work = _all_of(self._follow_events(), self._take_snapshots(begin), self._watch_stack())
        await unless(work, self._over)
        job = self._state.job
        assert job is not None  # noqa: S101 - `_over` is set after a job was seen
        return job

    async def _follow_events(self) -> None:
        while True:  # the subscription ends when the bus reconnects
            await self._bus.online.wait()
            try:
                async with self._bus.tail(*FOLLOWED) as envelopes:
                    self._subscribed.set()
                    async for envelope in envelopes:
                        self._apply(envelope)
            except BusError as error:
                if isinstance(error, BrokerRefuses):
                    raise
            await asyncio.sleep(_RESUBSCRIBE_PAUSE)

    def _apply(self, envelope: Envelope) -> None:
        if not self._state.concerns(envelope):
            return
        self._display.event(envelope)
        messages = self._state.apply(envelope)
        self._display.update(self._state, messages)
        self._check_end()

    async def _take_snapshots(self, begin: Callable[[], Awaitable[None]]) -> None:
        again = asyncio.Event()

        async def reconnected() -> None:
            again.set()

        self._bus.on_reconnect.append(reconnected)
        self._bus.on_store_lost.append(begin)  # the jobs service may not have read the message yet
        await self._subscribed.wait()
        await begin()
        while True:
            with suppress(NotFound, ServiceUnavailable):  # not created yet, or stopping: see _watch_stack
                await self._take_snapshot()
            with suppress(TimeoutError):
                async with asyncio.timeout(SNAPSHOT_INTERVAL if self._state.job else _CHECK_INTERVAL):
                    await again.wait()
            again.clear()

    async def _take_snapshot(self) -> None:
        detail = await self._jobs.detail(self._state.job_id)
        self._state.apply_snapshot(detail.job, detail.items, detail.running)
        self._display.update(self._state, [])
        self._check_end()

    def _check_end(self) -> None:
        job = self._state.job
        if job is None or job.revision <= self._state.since:
            return
        if job.status.ended or parked(job, datetime.now(UTC)):
            self._over.set()

    async def _watch_stack(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_INTERVAL)
            if not await self._still_there():
                raise StackGone


async def count_items(jobs: JobsClient, job_id: str) -> ItemTotals:
    totals = ItemTotals()
    async for item in jobs.items(job_id):
        totals.add([item])
    return totals


async def _all_of(*work: Coroutine[Any, Any, None]) -> None:
    """Run all concurrently. When one fails, cancel the others and raise its error."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for part in work:
                tasks.create_task(part)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
