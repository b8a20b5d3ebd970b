"""One dispatch, from `download.requested` to its last event: claim, fetch, outcome."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import structlog

from bus import Event, NoAnswer, handling
from bus.tasks import unless
from services.common.domain.failures import Failure, FailureKind, Suspicion
from services.common.domain.replies import ClaimAnswer, ClaimVerdict
from services.common.domain.videos import VideoMetadata
from services.common.events import (
    DownloadCancelled,
    DownloadClaim,
    DownloadCompleted,
    DownloadDeferred,
    DownloadFailed,
    DownloadLooked,
    DownloadProgress,
    DownloadStarted,
    MetadataFetched,
    SourceBlocked,
    SourceCleared,
)
from services.common.infra.files import free_space
from services.common.models import ErrorCode
from services.common.settings.load import Config, Storage
from services.common.youtube.messages import (
    BetterFound,
    Downloading,
    FetchMessage,
    FetchRequest,
    FetchResult,
    Finishing,
    MetadataFound,
)
from services.common.youtube.partial import remove_partial
from services.common.youtube.ytdlp import release
from services.common.youtube.ytdlp.installations import Installations
from services.download.attempt import Attempt, Outcome
from services.download.blocks.block_message import block_message
from services.download.blocks.breaker import Breaker
from services.download.blocks.canary import CanaryAnswer, ask_canary, judge_canary
from services.download.context import WorkerContext
from services.download.formats import choose
from services.download.progress import ProgressRule, known_size, progress_of, share_of
from services.download.slots import Slot
from services.download.tasks import TaskRecord, TaskState

CLAIM_TIMEOUT = 5.0  # seconds for one request
CLAIM_PAUSE, CLAIM_LONGEST_PAUSE = 0.25, 5.0  # seconds between two requests while jobs is unavailable

SHUTDOWN = "shutdown"
DISK_FULL = "disk_full"
# Failures that spend no attempt: a full disk, and a partial locked by a worker that jobs considers gone.
WAITS = {DISK_FULL: timedelta(seconds=60), "partial_busy": timedelta(seconds=30)}

_ANSWERS = {FailureKind.GONE, FailureKind.NOT_YET, FailureKind.LEFT_OUT}  # YouTube has answered about the video

T = TypeVar("T")

_log = structlog.get_logger("services.download", service="download")


def no_space(storage: Storage) -> Failure | None:
    """Return a failure if the disk of the partials has less free space than [storage] min_free."""
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


def connections_of(config: Config) -> int:
    """Return how many connections the media of a video may use. A rate limit is for all of them together, so that more
    than one would bring nothing."""
    return 1 if config.youtube.rate_limit else config.download.connections


class Dispatch:
    """One dispatch in one slot."""

    def __init__(self, context: WorkerContext, breaker: Breaker, record: TaskRecord) -> None:
        self._context = context
        self._breaker = breaker
        self._event = record.request
        self.record = record
        self._trace_id = record.trace_id
        self._cause = handling().id
        self._rule = ProgressRule()
        self._metadata: VideoMetadata | None = None
        self._cancelled = asyncio.Event()
        self._by_hand = False
        self._probing: ClaimAnswer | None = None  # the first after a block, whichever worker was blocked

    @property
    def video_id(self) -> str:
        return self._event.video_id

    def cancel(self, *, by_hand: bool = False) -> None:
        """Kill the child, remove the partial and publish `download.cancelled`: no job waits for the video any more, or
        a user stopped the task (`by_hand`)."""
        self._by_hand = self._by_hand or by_hand
        self._cancelled.set()

    async def run(self, slot: Slot) -> AsyncGenerator[Event, None]:
        """Yield the events of this dispatch: none at all if the claim is answered `stale`."""
        ends = await self._claimed(slot)
        if ends is not None:
            for event in ends:
                yield event
            return
        self.record.state = TaskState.EXTRACTING
        if self._probing is not None and self._probing.canary is not None:
            ended, events = await self._probe_with(self._probing.canary, slot)
            for event in events:
                yield event
            if ended:
                return
        yield DownloadStarted(**self._names(), instance=self._context.instance)
        metadata: asyncio.Queue[MetadataFound | None] = asyncio.Queue()
        async with self._attempting(slot, metadata) as attempt:
            while (found := await metadata.get()) is not None:
                if self._event.wanted.metadata:
                    yield self._metadata_fetched(found.metadata)
            outcome = await attempt
        for event in await self._outcome_events(outcome):
            yield event

    async def _claimed(self, slot: Slot) -> list[Event] | None:
        """Wait for the turn of this slot and claim the dispatch. Return None if it may start, else the events that end
        it."""
        await self._until_stopped(slot.rest(self._context.config.youtube.sleep_interval))
        self.record.state = TaskState.CLAIMING
        answer = await self._claim()
        if answer is None:
            return [await self._stopped()]
        if answer.verdict is ClaimVerdict.WAIT:
            return [self._deferred("source_blocked", answer.until)]
        if answer.verdict is ClaimVerdict.STALE:
            return []
        self._probing = answer if answer.verdict is ClaimVerdict.PROBE else None
        full = await asyncio.to_thread(no_space, self._context.config.storage)
        return self._failed(full) if full is not None else None

    async def _probe_with(self, canary: str, slot: Slot) -> tuple[bool, list[Event]]:
        """Ask for the canary. Return whether that ends this dispatch, and the events: the block is over, or it begins.
        After an unclear answer the video of this dispatch is the probe."""
        timeout = self._context.config.download.timeout
        outcome = await self._until_stopped(ask_canary(slot.child, canary, self._event.dispatch_id, timeout))
        if outcome is None:
            return True, [await self._stopped()]
        match judge_canary(outcome, self._suspicion):
            case CanaryAnswer.SERVED:
                events = self._cleared()
                self._probing = None
                return False, events
            case CanaryAnswer.REFUSED if isinstance(outcome, Failure):
                self._log_failure(outcome, canary=canary)
                return True, self._blocked(outcome, canary=True)
            case _:
                return False, []

    @asynccontextmanager
    async def _attempting(
        self, slot: Slot, metadata: "asyncio.Queue[MetadataFound | None]"
    ) -> "AsyncIterator[asyncio.Task[Outcome | None]]":
        """Run an attempt beside the block. It is cancelled, and awaited, at the end of the block."""
        attempt = asyncio.create_task(self._attempt(slot, metadata), name=f"fetch {self._event.video_id}")
        try:
            yield attempt
        finally:
            attempt.cancel()  # has no effect on a task that is done
            await asyncio.gather(attempt, return_exceptions=True)

    async def _attempt(self, slot: Slot, metadata: "asyncio.Queue[MetadataFound | None]") -> Outcome | None:
        """Return the outcome; None if the attempt was stopped and the child killed. None ends the queue."""

        async def receive(message: FetchMessage) -> None:
            if isinstance(message, MetadataFound):  # noted before the messages that follow, which show the title
                self._metadata, self.record.title = message.metadata, message.metadata.title
                metadata.put_nowait(message)
            elif isinstance(message, Downloading):
                self.record.arrived(message)
                await self._progress(message)
            elif isinstance(message, Finishing):
                self.record.state = TaskState.FINISHING
            elif isinstance(message, BetterFound):
                await self._announce_better(message)

        attempt = Attempt(slot.child, self._request(), self._context.config.download.timeout)
        try:
            return await self._until_stopped(attempt.run(receive))
        finally:
            metadata.put_nowait(None)

    async def _outcome_events(self, outcome: Outcome | None) -> list[Event]:
        if outcome is None:
            return [await self._stopped()]
        if isinstance(outcome, Failure):
            return self._failed(outcome)
        if self._metadata is None:
            raise RuntimeError(f"{self._event.video_id}: a result without metadata")
        for warning in outcome.warnings:
            _log.info("yt_dlp_warned", video_id=self.video_id, job_id=self._event.job_id, warning=warning)
        if self._event.wanted.media:
            await self._progress(self.record.bytes or Downloading(downloaded=0), finished=True)
        return [*self._cleared(), self._completed(outcome, self._metadata)]

    def _failed(self, failure: Failure) -> list[Event]:
        now = datetime.now(UTC)
        self._log_failure(failure)
        if self._breaker.judge(failure) or (self._suspicion is not None and failure.unexplained):
            return self._blocked(failure)
        if failure.reason in WAITS:
            return [self._deferred(failure.reason, now + WAITS[failure.reason], failure)]
        title = self._metadata.title if self._metadata else None
        answered = self._probing is not None and failure.kind in _ANSWERS
        return [
            *(self._cleared() if answered else []),
            DownloadFailed(**self._names(), failure=failure, title=title, file_size=known_size(self.record.bytes)),
        ]

    @property
    def _suspicion(self) -> Suspicion | None:
        """The suspicion of the block that this dispatch probes."""
        reason = self._probing.reason if self._probing is not None else None
        return Suspicion(reason) if reason in set(Suspicion) else None

    def _blocked(self, failure: Failure, *, canary: bool = False) -> list[Event]:
        """Block the egress and give the dispatch back. `canary`: it was a video saved before that failed."""
        until = self._breaker.trip(datetime.now(UTC), failure)
        suspected = failure.unexplained or (failure.kind is FailureKind.GONE and canary)
        reason = self._suspicion if suspected and self._suspicion is not None else failure.reason
        storage = self._context.config.storage
        advice = release.advice(Installations.of(storage).in_use().version, storage.run_dir, datetime.now(UTC))
        message = block_message(reason, failure, canary=canary, advice=advice)
        blocked = SourceBlocked(egress=self._context.egress, reason=reason, until=until, message=message)
        return [blocked, self._deferred(reason, until, None if canary else failure)]

    def _log_failure(self, failure: Failure, **more: str) -> None:
        log = _log.info if failure.kind is FailureKind.LEFT_OUT else _log.warning
        log(
            "download_failed",
            video_id=self._event.video_id,
            job_id=self._event.job_id,
            error_code=failure.code,
            error_message=failure.message,
            kind=failure.kind,
            reason=failure.reason,
            **more,
        )

    def _cleared(self) -> list[Event]:
        """Return the event that ends a block, because the site has answered this machine; [] without a block."""
        was_blocked = self._breaker.succeed()
        probed = self._probing is not None
        return [SourceCleared(egress=self._context.egress)] if was_blocked or probed else []

    async def _claim(self) -> ClaimAnswer | None:
        """Return the answer of jobs, however long jobs is unavailable; None when the dispatch is stopped meanwhile."""
        claim = DownloadClaim(
            instance=self._context.instance, egress=self._context.egress, dispatch_id=self._event.dispatch_id
        )

        async def ask() -> ClaimAnswer:
            pause = CLAIM_PAUSE
            while True:
                try:
                    return await self._context.bus.request(
                        claim, ClaimAnswer, trace_id=self._trace_id, timeout=CLAIM_TIMEOUT
                    )
                except NoAnswer as error:
                    _log.warning("claim_unanswered", error_message=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, CLAIM_LONGEST_PAUSE)

        return await self._until_stopped(ask())

    async def _until_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return the result of `work`; None if the service closes or the dispatch is cancelled first."""
        return await unless(work, self._context.closing, self._cancelled)

    async def _stopped(self) -> Event:
        """Return the event of a stopped dispatch. The partial is removed if it was cancelled, and kept for the next
        start if the service shuts down."""
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
        await self._context.bus.publish(progress, trace_id=self._trace_id, caused_by=self._cause)

    async def _announce_better(self, found: BetterFound) -> None:
        looked = DownloadLooked(
            **self._names(), title=self.record.title, **found.model_dump(include={"resolution", "longer", "captions"})
        )
        await self._context.bus.publish(looked, trace_id=self._trace_id, caused_by=self._cause)

    def _request(self) -> FetchRequest:
        wanted, config = self._event.wanted, self._context.config
        return FetchRequest(
            video_id=self._event.video_id,
            dispatch_id=self._event.dispatch_id,
            wanted=wanted,
            choice=choose(wanted.quality, config.download),
            directory=str(self.directory),
            connections=connections_of(config),
        )

    @property
    def directory(self) -> Path:
        return self._context.partial_of(self._event.video_id)

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
        """Return the fields that identify the dispatch in every event about it."""
        event = self._event
        return event.model_dump(include={"dispatch_id", "fetch_id", "job_id", "video_id", "root"})
