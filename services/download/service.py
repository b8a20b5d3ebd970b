"""The download service: slots, the breaker of this egress, partials. It keeps no state that matters: jobs does."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from bus import BusSettings, Event, Handlers, NoAnswer, handling
from services.common.errors import InvalidRequest, NotFound, ServiceUnavailable
from services.common.events import DownloadCancelRequested, DownloadRequested, PartialsLeft, VideoArchived
from services.common.models import Failure, PartialsOwned, ServiceInfo
from services.common.service import ServiceBase
from services.common.settings.load import Config
from services.common.settings.retry_policy import BreakerState
from services.common.validation import validate_video_id
from services.common.web.routing import Route
from services.common.youtube.egress import egress_of
from services.common.youtube.partial import remove_partial
from services.common.youtube.settings import ChildSettings
from services.common.youtube.tools import find_ffmpeg
from services.download import api
from services.download.breaker import Breaker
from services.download.handlers import handlers
from services.download.offers import Offers
from services.download.slots import Slots
from services.download.tasks import Record, TaskOutcome, Tasks
from services.download.work import CLAIM_TIMEOUT, Work

SWEEP_EVERY = 10.0  # seconds between two looks for partials that nobody owns
LOOK_AGAIN = 0.5  # seconds between two looks whether a block has ended
AT_REST = 5.0  # seconds since the last change of a directory
STOPPED_WITHIN = 10.0  # seconds
REMEMBERED = 1_000  # dispatches: what lies in their directories is storage's, also when a request comes again


class DownloadService(ServiceBase):
    name: ClassVar[str] = "download"
    handlers: ClassVar[Handlers] = handlers

    def __init__(self, config: Config, bus: BusSettings) -> None:
        super().__init__(config, bus)
        self.breaker = Breaker()
        self.egress = egress_of(config.youtube.proxy, name=config.youtube.egress)
        self.slots = Slots(config.download.slots, ChildSettings.of(config))
        self.tasks = Tasks()
        self.offers = Offers(self)
        self._in_hand: dict[str, Work] = {}  # by dispatch id
        self._finished: deque[str] = deque(maxlen=REMEMBERED)  # dispatch ids

    async def initialize_resources(self) -> None:
        """Raises ServiceUnavailable without ffmpeg: nothing could be merged."""
        if find_ffmpeg() is None:
            raise ServiceUnavailable("No ffmpeg: install it, or the Python package imageio-ffmpeg.")

    async def after_start(self) -> None:
        self.spawn(self._sweep, "sweep of partials")

    async def cleanup_resources(self) -> None:
        await asyncio.gather(self.slots.close(), self.offers.close())

    def routes(self) -> Sequence[Route]:
        return api.routes(self)

    def disk_paths(self) -> Sequence[Path]:
        return (self.config.storage.tmp_dir,)

    @property
    def free_slots(self) -> int:
        """What jobs may count on: none while the source is blocked or the service closes."""
        if self.closing.is_set() or self.breaker.blocked(datetime.now(UTC)):
            return 0
        return self.slots.free

    def info(self) -> ServiceInfo:
        slots = 0 if self.closing.is_set() else self.slots.count
        update = {"slots": slots, "free_slots": self.free_slots, "egress": self.egress}
        return super().info().model_copy(update=update)

    def metrics(self) -> dict[str, Any]:
        blocked_until = self.breaker.until if self.breaker.blocked(datetime.now(UTC)) else None
        return {
            "slots": self.slots.count,
            "free_slots": self.free_slots,
            "egress": self.egress,
            "blocked_until": blocked_until.isoformat() if blocked_until else None,
            **self.tasks.numbers(),
            "formats_asked": self.offers.asked,
        }

    def breakers(self) -> Mapping[str, BreakerState]:
        return {self.egress: self.breaker.state(datetime.now(UTC))}

    def partial_of(self, video_id: str) -> Path:
        """SPEC: Temporary Files, `{video_id}.part`; a directory here."""
        return (self.config.storage.tmp_dir / f"{video_id}.part").absolute()

    async def ready(self) -> None:
        """Returns when the source is not blocked, as far as this worker knows; a blocked one does not pull. Somebody's
        look-up may find out earlier that it answers again."""
        if not self.breaker.blocked(datetime.now(UTC)):
            return
        while self.breaker.blocked(datetime.now(UTC)):  # noqa: ASYNC110 - its end is a time, or comes earlier
            await asyncio.sleep(LOOK_AGAIN)
        await self.announce()

    async def fetch(self, event: DownloadRequested) -> AsyncGenerator[Event, None]:
        """All facts of one dispatch. A message that comes again, while it is in hand or later, causes nothing."""
        if event.dispatch_id in self._in_hand or event.dispatch_id in self._finished:
            return
        record = self.tasks.begin(event, handling().trace_id)
        work = self._in_hand[event.dispatch_id] = Work(self, record)
        try:
            async with self.slots.take() as slot:
                await self.announce()
                async with aclosing(work.run(slot)) as facts:
                    async for fact in facts:
                        record.note(fact)
                        yield fact
            self._finished.append(event.dispatch_id)
        finally:
            del self._in_hand[event.dispatch_id]
            self.tasks.end(record)
            await self.announce()

    async def clear_away(self, event: VideoArchived) -> None:
        """The files were moved into the archive: what else lies in the directory is of no use any more."""
        if await asyncio.to_thread(remove_partial, self.partial_of(event.video_id), event.dispatch_id):
            self.logger.debug("partial_removed", video_id=event.video_id)

    async def _sweep(self) -> None:
        """Partials that nobody owns go: of a job that ended, or was cancelled, while no worker heard of it."""
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            left = await asyncio.to_thread(self._partials_at_rest)
            if not left:
                continue
            try:
                question = PartialsLeft(video_ids=tuple(left[:1000]))
                owned = await self.bus.request(question, PartialsOwned, trace_id=str(uuid4()), timeout=CLAIM_TIMEOUT)
            except NoAnswer:
                continue  # jobs is away: nothing is anybody's to remove
            for video_id in set(question.video_ids) - set(owned.video_ids):
                if await asyncio.to_thread(remove_partial, self.partial_of(video_id), None):
                    self.logger.info("partial_removed", video_id=video_id, reason="nobody owns it")

    def _partials_at_rest(self) -> list[str]:
        """Videos that have a partial which is not in hand, and was not touched just now (by a worker beside us)."""
        in_hand = {work.video_id for work in self._in_hand.values()}
        before = time.time() - AT_REST
        found = []
        for path in self.config.storage.tmp_dir.glob("*.part"):
            with suppress(FileNotFoundError):
                if validate_video_id(path.stem) and path.stem not in in_hand and path.stat().st_mtime < before:
                    found.append(path.stem)
        return sorted(found)

    async def cancel(self, event: DownloadCancelRequested) -> None:
        """Stop this dispatch; of one that is not in hand any more, the partial goes."""
        work = self._in_hand.get(event.dispatch_id)
        if work is not None:
            work.cancel()
        else:
            await asyncio.to_thread(remove_partial, self.partial_of(event.video_id), event.dispatch_id)

    async def stop(self, task_id: str) -> Record:
        """Cancel a task by hand; returns when its process group is gone and the stream has `download.cancelled`.

        Raises NotFound, InvalidRequest for one that has ended, ServiceUnavailable when the broker is away.
        """
        record, work = self.tasks.get(task_id), self._in_hand.get(task_id)
        if record is None:
            raise self.unknown(task_id)
        if work is not None and not record.decided:
            work.cancel(by_hand=True)
            try:
                await asyncio.wait_for(record.over.wait(), STOPPED_WITHIN)
            except TimeoutError as error:
                message = f"Task {task_id} is stopped here, but jobs could not be told yet. Ask again."
                raise ServiceUnavailable(message, task_id=task_id) from error
            if record.outcome is TaskOutcome.CANCELLED:
                return record
        raise InvalidRequest(
            f"Task {task_id} has ended ({record.progress.message}): there is nothing to cancel.",
            task_id=task_id,
            outcome=record.outcome,
        )

    def unknown(self, task_id: str) -> NotFound:
        message = f"This worker knows no task {task_id}: GET /api/v1/download/tasks lists those it has and had last."
        return NotFound(message, task_id=task_id)

    def log_failure(self, event: DownloadRequested, failure: Failure) -> None:
        self.logger.warning(
            "download_failed",
            video_id=event.video_id,
            job_id=event.job_id,
            error_code=failure.code,
            error_message=failure.message,
            kind=failure.kind,
            reason=failure.reason,
        )
