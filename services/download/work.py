"""From `download.requested` to its answer: claim, fetch, tell. One call per dispatch; yields the facts in order."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bus import Event, NoAnswer, handling
from services.common.events import (
    DownloadCancelled,
    DownloadClaim,
    DownloadCompleted,
    DownloadDeferred,
    DownloadFailed,
    DownloadProgress,
    DownloadStarted,
    MetadataFetched,
    SourceBlocked,
    SourceCleared,
)
from services.common.infra.files import free_space
from services.common.models import ClaimAnswer, ClaimVerdict, ErrorCode, Failure, FailureKind, VideoMetadata
from services.common.settings.load import Storage
from services.common.youtube.messages import (
    Downloading,
    FetchMessage,
    FetchRequest,
    FetchResult,
    Finishing,
    MetadataFound,
)
from services.common.youtube.partial import remove_partial
from services.download.attempt import Attempt, Outcome
from services.download.formats import choose
from services.download.progress import ProgressRule, progress_of, share_of
from services.download.slots import Slot
from services.download.tasks import Record, TaskState

if TYPE_CHECKING:
    from services.download.service import DownloadService

CLAIM_TIMEOUT = 5.0  # seconds for one question
CLAIM_PAUSE, CLAIM_LONGEST_PAUSE = 0.25, 5.0  # seconds between two questions while jobs is away

SHUTDOWN = "shutdown"
DISK_FULL = "disk_full"
# What costs no attempt: a disk to wait for, and a worker that was given up on and still holds the partial.
WAITS = {DISK_FULL: timedelta(seconds=60), "partial_busy": timedelta(seconds=30)}

T = TypeVar("T")


def no_space(storage: Storage) -> Failure | None:
    """Is there less free on the disk of the partials than the configuration wants kept?"""
    free = free_space(storage.tmp_dir)
    if free >= storage.min_free:
        return None
    return Failure(
        kind=FailureKind.LOCAL,
        code=ErrorCode.STORAGE_FULL,
        reason=DISK_FULL,
        message=f"{free / 1e9:.1f} GB are free on the disk of {storage.tmp_dir}, and [storage] min_free keeps "
        f"{storage.min_free / 1e9:.1f} GB: free some, or lower it",
    )


class Work:
    """One dispatch in one slot."""

    def __init__(self, service: "DownloadService", record: Record) -> None:
        self._service = service
        self._event = record.request
        self.record = record
        self._trace_id = record.trace_id
        self._cause = handling().id
        self._rule = ProgressRule()
        self._metadata: VideoMetadata | None = None
        self._cancelled = asyncio.Event()
        self._by_hand = False
        self._probing = False  # the first through a block that has run out, whoever was blocked

    @property
    def video_id(self) -> str:
        return self._event.video_id

    def cancel(self, *, by_hand: bool = False) -> None:
        """Nobody waits for it any more, or a person wants it stopped (`by_hand`): the child is killed, the partial
        goes, `download.cancelled` is said."""
        self._by_hand = self._by_hand or by_hand
        self._cancelled.set()

    async def run(self, slot: Slot) -> AsyncGenerator[Event, None]:
        """The facts of this dispatch. Nothing at all when the claim says that it is stale."""
        await self._until_stopped(slot.rest(self._service.config.youtube.sleep_interval))
        self.record.state = TaskState.CLAIMING
        answer = await self._claim()
        if answer is None:
            yield await self._stopped()
        elif answer.verdict is ClaimVerdict.WAIT:
            yield self._deferred("source_blocked", answer.until)
        elif answer.verdict is not ClaimVerdict.STALE:
            self._probing = answer.verdict is ClaimVerdict.PROBE
            async with aclosing(self._fetch(slot)) as facts:
                async for fact in facts:
                    yield fact

    async def _fetch(self, slot: Slot) -> AsyncGenerator[Event, None]:
        config = self._service.config
        if (full := await asyncio.to_thread(no_space, config.storage)) is not None:
            for fact in self._failed(full):
                yield fact
            return
        self.record.state = TaskState.EXTRACTING
        yield DownloadStarted(**self._names(), instance=self._service.instance)
        told: asyncio.Queue[MetadataFound | None] = asyncio.Queue()
        attempt = asyncio.create_task(self._attempt(slot, told), name=f"fetch {self._event.video_id}")
        try:
            while (found := await told.get()) is not None:
                self._metadata, self.record.title = found.metadata, found.metadata.title
                if self._event.wanted.metadata:
                    yield self._metadata_fetched(found.metadata)
            outcome = await attempt
        finally:
            attempt.cancel()  # does nothing to one that is done
            await asyncio.gather(attempt, return_exceptions=True)
        async with aclosing(self._tell_outcome(outcome)) as facts:
            async for fact in facts:
                yield fact

    async def _attempt(self, slot: Slot, told: "asyncio.Queue[MetadataFound | None]") -> Outcome | None:
        """None: it was stopped, and the child was killed."""

        async def tell(message: FetchMessage) -> None:
            if isinstance(message, MetadataFound):
                told.put_nowait(message)
            elif isinstance(message, Downloading):
                self.record.arrived(message)
                await self._progress(message)
            elif isinstance(message, Finishing):
                self.record.state = TaskState.FINISHING

        attempt = Attempt(slot.child, self._request(), self._service.config.download.timeout)
        try:
            return await self._until_stopped(attempt.run(tell))
        finally:
            told.put_nowait(None)

    async def _tell_outcome(self, outcome: Outcome | None) -> AsyncGenerator[Event, None]:
        if outcome is None:
            yield await self._stopped()
        elif isinstance(outcome, Failure):
            for fact in self._failed(outcome):
                yield fact
        elif self._metadata is None:
            raise RuntimeError(f"{self._event.video_id}: a result without metadata")
        else:
            for fact in self._cleared():
                yield fact
            if self._event.wanted.media:
                await self._progress(self.record.bytes or Downloading(downloaded=0), finished=True)
            yield self._completed(outcome, self._metadata)

    def _failed(self, failure: Failure) -> list[Event]:
        now = datetime.now(UTC)
        self._service.log_failure(self._event, failure)
        if self._service.breaker.judge(failure):
            until = self._service.breaker.trip(now, failure)
            blocked = SourceBlocked(egress=self._service.egress, reason=failure.reason, until=until)
            return [blocked, self._deferred(failure.reason, until, failure)]
        if failure.reason in WAITS:
            return [self._deferred(failure.reason, now + WAITS[failure.reason], failure)]
        title = self._metadata.title if self._metadata else None
        answered = self._probing and failure.kind in {FailureKind.GONE, FailureKind.NOT_YET}
        return [
            *(self._cleared() if answered else []),
            DownloadFailed(**self._names(), failure=failure, title=title),
        ]

    def _cleared(self) -> list[Event]:
        """The site speaks to this machine. If there was a block, jobs shall hear that it is over."""
        was_blocked = self._service.breaker.succeed()
        return [SourceCleared(egress=self._service.egress)] if was_blocked or self._probing else []

    async def _claim(self) -> ClaimAnswer | None:
        """Jobs' answer, however long jobs is away; None when it is stopped meanwhile."""
        claim = DownloadClaim(
            instance=self._service.instance, egress=self._service.egress, dispatch_id=self._event.dispatch_id
        )

        async def ask() -> ClaimAnswer:
            pause = CLAIM_PAUSE
            while True:
                try:
                    return await self._service.bus.request(
                        claim, ClaimAnswer, trace_id=self._trace_id, timeout=CLAIM_TIMEOUT
                    )
                except NoAnswer as error:
                    self._service.logger.warning("claim_unanswered", error_message=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, CLAIM_LONGEST_PAUSE)

        return await self._until_stopped(ask())

    async def _until_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of `work`; None if the service closes or the dispatch is cancelled before it is there, and then
        `work` is cancelled."""
        task = asyncio.ensure_future(work)
        ends = [asyncio.ensure_future(event.wait()) for event in (self._service.closing, self._cancelled)]
        try:
            await asyncio.wait({task, *ends}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for part in (task, *ends):
                part.cancel()
            await asyncio.gather(task, *ends, return_exceptions=True)

    async def _stopped(self) -> Event:
        """Cancelled: the partial goes. Shut down: it stays, for the next start."""
        if not self._cancelled.is_set():
            return self._deferred(SHUTDOWN)
        await asyncio.to_thread(remove_partial, self.directory, self._event.dispatch_id)
        return DownloadCancelled(**self._names(), by_hand=self._by_hand)

    async def _progress(self, state: Downloading, *, finished: bool = False) -> None:
        now = asyncio.get_running_loop().time()
        if not self._rule.due(now, share_of(state), last=finished):
            return
        progress = DownloadProgress(
            **self._names(),
            title=self._metadata.title if self._metadata else None,
            progress=progress_of(state, finished=finished),
        )
        await self._service.bus.publish(progress, trace_id=self._trace_id, caused_by=self._cause)

    def _request(self) -> FetchRequest:
        wanted = self._event.wanted
        return FetchRequest(
            video_id=self._event.video_id,
            dispatch_id=self._event.dispatch_id,
            wanted=wanted,
            choice=choose(wanted.quality),
            directory=str(self.directory),
        )

    @property
    def directory(self) -> Path:
        return self._service.partial_of(self._event.video_id)

    def _metadata_fetched(self, metadata: VideoMetadata) -> MetadataFetched:
        return MetadataFetched(
            job_id=self._event.job_id,
            root=self._event.root,
            video_id=self._event.video_id,
            source_name="yt_dlp",
            fetched_at=datetime.now(UTC),
            metadata=metadata,
            dispatch_id=self._event.dispatch_id,
        )

    def _completed(self, result: FetchResult, metadata: VideoMetadata) -> DownloadCompleted:
        return DownloadCompleted(
            **self._names(),
            wanted=self._event.wanted,
            directory=str(self.directory),
            files=result.files,
            absent=result.absent,
            metadata=metadata,
            provenance=result.provenance.model_copy(update={"trace_id": self._trace_id}),
        )

    def _deferred(
        self, reason: str, retry_after: datetime | None = None, failure: Failure | None = None
    ) -> DownloadDeferred:
        return DownloadDeferred(**self._names(), reason=reason, retry_after=retry_after, failure=failure)

    def _names(self) -> dict[str, Any]:
        """What names the dispatch, for every event about it."""
        event = self._event
        return event.model_dump(include={"dispatch_id", "fetch_id", "job_id", "video_id", "root"})
