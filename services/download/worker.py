"""The worker: takes dispatches into its slots, stops them, and removes partials. It keeps no state that matters: jobs
does."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from uuid import uuid4

import structlog

from bus import Event, NoAnswer, handling
from bus.tasks import sleep_to_next
from services.common.domain.replies import PartialsOwned
from services.common.errors import InvalidRequest, ServiceUnavailable
from services.common.events import DownloadCancelRequested, DownloadRequested, PartialsLeft, VideoArchived
from services.common.validation import validate_video_id
from services.common.youtube.partial import remove_partial
from services.download.blocks.breaker import Breaker
from services.download.context import WorkerContext
from services.download.dispatch import CLAIM_TIMEOUT, Dispatch
from services.download.slots import Slots
from services.download.tasks import TaskOutcome, TaskRecord, Tasks

SWEEP_EVERY = 10.0  # seconds between two searches for partials without an owner
POLL_BREAKER = 0.5  # seconds between two checks whether a block has ended
UNTOUCHED = 5.0  # seconds since the last change of a directory, before it may be removed
STOP_TIMEOUT = 10.0  # seconds
FINISHED_KEPT = 1_000  # dispatches: storage owns the files in their directories, also when a request comes again

_log = structlog.get_logger("services.download", service="download")


class Worker:
    def __init__(self, context: WorkerContext, breaker: Breaker, slots: Slots, tasks: Tasks) -> None:
        self._context = context
        self._breaker = breaker
        self._slots = slots
        self._tasks = tasks
        self._running: dict[str, Dispatch] = {}  # by dispatch id
        self._finished: deque[str] = deque(maxlen=FINISHED_KEPT)  # dispatch ids

    @property
    def free_slots(self) -> int:
        """The slots that jobs may use: none while the source is blocked or the service closes."""
        if self._context.closing.is_set() or self._breaker.blocked(datetime.now(UTC)):
            return 0
        return self._slots.free

    async def ready(self) -> None:
        """Return when the source is not blocked, as far as this worker knows: a blocked worker does not pull. A look-up
        of a user may end the block earlier."""
        if not self._breaker.blocked(datetime.now(UTC)):
            return
        while self._breaker.blocked(datetime.now(UTC)):  # noqa: ASYNC110 - it ends at a time, or earlier
            await asyncio.sleep(POLL_BREAKER)
        await self._context.announce()

    # --- dispatches

    async def fetch(self, event: DownloadRequested) -> AsyncGenerator[Event, None]:
        """Yield all events of one dispatch. A repeated message, during the dispatch or after it, causes none."""
        if event.dispatch_id in self._running or event.dispatch_id in self._finished:
            return
        record = self._tasks.begin(event, handling().trace_id)
        work = self._running[event.dispatch_id] = Dispatch(self._context, self._breaker, record)
        try:
            async with self._slots.take() as slot:
                await self._context.announce()
                async with aclosing(work.run(slot)) as events:
                    async for caused in events:
                        record.note(caused)
                        yield caused
            self._finished.append(event.dispatch_id)
        finally:
            del self._running[event.dispatch_id]
            self._tasks.end(record)
            await self._context.announce()

    async def cancel(self, event: DownloadCancelRequested) -> None:
        """Stop a dispatch. If it is not running here, remove its partial."""
        work = self._running.get(event.dispatch_id)
        if work is not None:
            work.cancel()
        else:
            directory = self._context.partial_of(event.video_id)
            await asyncio.to_thread(remove_partial, directory, event.dispatch_id)

    async def stop(self, task_id: str) -> TaskRecord:
        """Cancel a task for a user. Return when its process group has ended and the stream has `download.cancelled`.

        Raises NotFound, InvalidRequest for a task that has ended, ServiceUnavailable when the broker is unavailable.
        """
        record, work = self._tasks.get(task_id), self._running.get(task_id)
        if work is not None and not record.decided:
            work.cancel(by_hand=True)
            try:
                await asyncio.wait_for(record.over.wait(), STOP_TIMEOUT)
            except TimeoutError as error:
                message = f"Task {task_id} is stopped here, but jobs could not be informed yet. Try again."
                raise ServiceUnavailable(message, task_id=task_id) from error
            if record.outcome is TaskOutcome.CANCELLED:
                return record
        raise InvalidRequest(
            f"Task {task_id} has ended ({record.progress.message}): there is nothing to cancel.",
            task_id=task_id,
            outcome=record.outcome,
        )

    # --- partials

    async def remove_archived(self, event: VideoArchived) -> None:
        """Remove the partial of an archived video: its files were moved into the archive."""
        directory = self._context.partial_of(event.video_id)
        if await asyncio.to_thread(remove_partial, directory, event.dispatch_id):
            _log.debug("partial_removed", video_id=event.video_id)

    async def sweep_partials(self) -> None:
        """Remove partials that no job owns any more: of jobs that ended, or were cancelled, while no worker was
        connected. Never returns."""
        while True:
            await sleep_to_next(SWEEP_EVERY)
            running = {work.video_id for work in self._running.values()}
            found = await asyncio.to_thread(self._untouched_partials, running)
            if not found:
                continue
            try:
                question = PartialsLeft(video_ids=tuple(found[:1000]))
                owned = await self._context.bus.request(
                    question, PartialsOwned, trace_id=str(uuid4()), timeout=CLAIM_TIMEOUT
                )
            except NoAnswer:
                continue  # jobs is unavailable, and only jobs knows the owners
            for video_id in set(question.video_ids) - set(owned.video_ids):
                if await asyncio.to_thread(remove_partial, self._context.partial_of(video_id), None):
                    _log.info("partial_removed", video_id=video_id, reason="nobody owns it")

    def _untouched_partials(self, running: set[str]) -> list[str]:
        """Return the videos with a partial that is not running here, and was not just changed by another worker."""
        now = time.time()  # a change far in the future is one that a wrong clock dated
        found = []
        for path in self._context.config.storage.tmp_dir.glob("*.part"):
            with suppress(FileNotFoundError):
                touched = abs(now - path.stat().st_mtime) < UNTOUCHED
                if validate_video_id(path.stem) and path.stem not in running and not touched:
                    found.append(path.stem)
        return sorted(found)
