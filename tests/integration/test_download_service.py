"""The download service with a real bus and the emulator; the test stands in for jobs and answers claims."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from bus import Bus, BusSettings, EmbeddedServer, Envelope, Event, Handlers
from services.common.domain.archive import Held
from services.common.domain.failures import FailureKind, Suspicion
from services.common.domain.replies import ClaimAnswer, ClaimVerdict, PartialsOwned
from services.common.domain.videos import Wanted
from services.common.events import (
    DownloadCancelled,
    DownloadClaim,
    DownloadCompleted,
    DownloadDeferred,
    DownloadFailed,
    DownloadProgress,
    DownloadRequested,
    DownloadStarted,
    MetadataFetched,
    PartialsLeft,
    ServiceHeartbeat,
    SourceBlocked,
    SourceCleared,
    VideoArchived,
)
from services.common.messaging import connect_bus
from services.common.models import ErrorCode
from services.common.settings.load import Config, load_config
from services.common.settings.retry_policy import BreakerState
from services.common.youtube.classify import UNREACHED
from services.common.youtube.partial import working_in
from services.download.blocks.breaker import THRESHOLD
from services.download.service import DownloadService
from services.download.tasks import TaskOutcome, TaskState
from tests.fixtures.emulated import emulator_variables
from ytarchive.emulator import EmulatorClient, emulator_process
from ytarchive.emulator.site import sample

KINDS = (
    DownloadCancelled,
    DownloadCompleted,
    DownloadDeferred,
    DownloadFailed,
    DownloadProgress,
    DownloadStarted,
    MetadataFetched,
    ServiceHeartbeat,
    SourceBlocked,
    SourceCleared,
)
E = TypeVar("E", bound=Event)
TIMEOUT = 60.0


@dataclass
class FakeJobs:
    """A stand-in for jobs that answers every claim with `verdict` and records the events it receives."""

    bus: Bus
    verdict: ClaimVerdict = ClaimVerdict.GO
    until: datetime | None = None
    reason: str | None = None
    canary: str | None = None
    owned: set[str] = field(default_factory=set)
    claims: list[DownloadClaim] = field(default_factory=list)
    received: list[Envelope] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def record_events(self, envelopes: AsyncIterator[Envelope]) -> None:
        async for envelope in envelopes:
            self.received.append(envelope)
            async with self.arrived:
                self.arrived.notify_all()

    def all(self, kind: type[E]) -> list[E]:
        return [kind.read(envelope) for envelope in self.received if envelope.type == kind.subject]

    async def wait(self, kind: type[E], condition: Callable[[E], bool] = lambda _event: True) -> E:
        """Wait for an event that meets the condition, and return the first one; earlier events count."""
        async with asyncio.timeout(TIMEOUT), self.arrived:
            await self.arrived.wait_for(lambda: any(map(condition, self.all(kind))))
        return next(filter(condition, self.all(kind)))

    async def request(self, video_id: str, **wanted: Any) -> DownloadRequested:
        event = DownloadRequested(
            dispatch_id=uuid4().hex,
            fetch_id="f1",
            job_id="job-1",
            video_id=video_id,
            root="/archive",
            wanted=Wanted(**wanted),
        )
        await self.bus.publish(event, trace_id=f"trace-{event.dispatch_id}")
        return event


jobs_handlers = Handlers("jobs")


@jobs_handlers.answer(DownloadClaim)
async def answer(claim: DownloadClaim, jobs: FakeJobs) -> ClaimAnswer:
    verdict = ClaimAnswer(verdict=jobs.verdict, until=jobs.until, reason=jobs.reason, canary=jobs.canary)
    jobs.claims.append(claim)
    async with jobs.arrived:
        jobs.arrived.notify_all()
    return verdict


@jobs_handlers.answer(PartialsLeft)
async def owned_partials(question: PartialsLeft, jobs: FakeJobs) -> PartialsOwned:
    return PartialsOwned(video_ids=tuple(video for video in question.video_ids if video in jobs.owned))


@pytest.fixture(scope="module")
def emulator_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorClient]:
    with emulator_process(tmp_path_factory.getbasetemp().parent / "emulator-cache") as client:
        yield client


@pytest.fixture
def emulator(emulator_module: EmulatorClient) -> EmulatorClient:
    emulator_module.reset()
    return emulator_module


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[BusSettings]:
    server = EmbeddedServer(tmp_path / "nats")
    settings = await server.start()
    yield settings.model_copy(update={"ack_wait": 2.0})
    await server.stop()


@asynccontextmanager
async def running_fake_jobs(broker: BusSettings) -> AsyncIterator[FakeJobs]:
    bus = await connect_bus(broker, source="jobs/test")
    jobs = FakeJobs(bus)
    async with bus.tail(*KINDS) as envelopes:
        recording = asyncio.create_task(jobs.record_events(envelopes))
        await bus.serve(jobs_handlers, jobs)
        yield jobs
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)
    await bus.close()


@pytest.fixture
async def jobs(broker: BusSettings) -> AsyncIterator[FakeJobs]:
    async with running_fake_jobs(broker) as jobs:
        yield jobs


Start = Callable[..., Awaitable[DownloadService]]


@pytest.fixture
async def start(emulator: EmulatorClient, broker: BusSettings, tmp_path: Path) -> AsyncIterator[Start]:
    def config(**changes: str) -> Config:
        environment = {
            **emulator_variables(emulator, tmp_path / "data", tmp_path / "archive"),
            "YTARCHIVE_DOWNLOAD__SOCKET_TIMEOUT": "5",
            "YTARCHIVE_SERVICES__DOWNLOAD__PORT": "0",
        }
        given = {f"YTARCHIVE_{name.upper()}": value for name, value in changes.items()}
        return load_config(env={**environment, **given}, cwd=tmp_path)

    async with AsyncExitStack() as stack:

        async def run(**changes: str) -> DownloadService:
            service = DownloadService(config(**changes), broker)
            await service.startup()
            stack.push_async_callback(service.shutdown, 5.0)
            return service

        yield run


@pytest.fixture
async def service(start: Start) -> DownloadService:
    return await start()


def files_in(directory: str | Path) -> list[str]:
    folder = Path(directory)
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def test_a_download_publishes_its_events_in_order(service: DownloadService, jobs: FakeJobs) -> None:
    asked = await jobs.request(sample.VIDEO_TWO_CAPTIONS, captions=("en", "de"))
    done = await jobs.wait(DownloadCompleted)
    received = [envelope for envelope in jobs.received if envelope.type != ServiceHeartbeat.subject]
    types = [envelope.type for envelope in received if envelope.type != DownloadProgress.subject]
    assert types == [DownloadStarted.subject, MetadataFetched.subject, DownloadCompleted.subject]
    assert {envelope.trace_id for envelope in received} == {f"trace-{asked.dispatch_id}"}
    assert {envelope.source for envelope in received} == {f"download/{service.instance}"}
    assert len({envelope.caused_by for envelope in received}) == 1

    assert [claim.dispatch_id for claim in jobs.claims] == [asked.dispatch_id]
    assert jobs.claims[0].egress == service.parts.context.egress
    metadata = jobs.all(MetadataFetched)[0]
    assert (metadata.source_name, metadata.dispatch_id) == ("yt_dlp", asked.dispatch_id)
    assert metadata.metadata == done.metadata
    assert done.provenance.trace_id == f"trace-{asked.dispatch_id}"
    assert {file.name for file in done.files} <= set(files_in(done.directory))
    assert Path(done.directory) == service.config.storage.tmp_dir / f"{sample.VIDEO_TWO_CAPTIONS}.part"

    progress = jobs.all(DownloadProgress)
    assert progress[-1].progress.percentage == 100.0
    assert progress[-1].title == done.metadata.title


async def test_a_metadata_only_request_downloads_no_files(service: DownloadService, jobs: FakeJobs) -> None:
    await jobs.request(sample.VIDEO_OK, media=False, thumbnail=False)
    done = await jobs.wait(DownloadCompleted)
    assert done.files == ()
    assert jobs.all(MetadataFetched)
    assert not jobs.all(DownloadProgress)


async def test_heartbeats_announce_the_free_slots(service: DownloadService, jobs: FakeJobs) -> None:
    await jobs.request(sample.VIDEO_OK)
    await jobs.wait(ServiceHeartbeat, lambda beat: beat.service.free_slots == 1)
    await jobs.wait(DownloadCompleted)
    beat = await jobs.wait(ServiceHeartbeat, lambda beat: beat.service.free_slots == 2)
    assert (beat.service.slots, beat.service.egress) == (2, service.parts.context.egress)


async def test_a_stale_claim_sends_no_request_and_publishes_no_event(
    service: DownloadService, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    jobs.verdict = ClaimVerdict.STALE
    await jobs.request(sample.VIDEO_OK)
    async with asyncio.timeout(TIMEOUT), jobs.arrived:
        await jobs.arrived.wait_for(lambda: jobs.claims)
    jobs.verdict = ClaimVerdict.GO
    await jobs.request(sample.VIDEO_480P)
    done = await jobs.wait(DownloadCompleted)
    assert done.video_id == sample.VIDEO_480P
    assert {event.video_id for event in jobs.all(DownloadStarted)} == {sample.VIDEO_480P}
    assert {entry["video_id"] for entry in emulator.log()} == {sample.VIDEO_480P}


async def test_a_claim_answered_with_wait_defers_the_download(
    service: DownloadService, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    jobs.verdict, jobs.until = ClaimVerdict.WAIT, datetime.now(UTC) + timedelta(minutes=7)
    await jobs.request(sample.VIDEO_OK)
    deferred = await jobs.wait(DownloadDeferred)
    assert (deferred.reason, deferred.retry_after) == ("source_blocked", jobs.until)
    assert emulator.log() == []


async def test_a_download_waits_until_jobs_answers_its_claim(
    start: Start, broker: BusSettings, emulator: EmulatorClient
) -> None:
    await start()
    sender = await connect_bus(broker, source="jobs/sender")
    event = await FakeJobs(sender).request(sample.VIDEO_OK)
    await asyncio.sleep(0.5)  # enough time for an unanswered claim
    assert emulator.log() == []
    async with running_fake_jobs(broker) as jobs:
        assert (await jobs.wait(DownloadCompleted)).dispatch_id == event.dispatch_id
    await sender.close()


async def test_a_deleted_video_fails_as_gone_with_its_reason(service: DownloadService, jobs: FakeJobs) -> None:
    await jobs.request(sample.VIDEO_DELETED)
    failed = await jobs.wait(DownloadFailed)
    assert (failed.failure.kind, failed.failure.reason) == (FailureKind.GONE, "deleted")
    assert not jobs.all(MetadataFetched)


async def test_metadata_are_published_although_the_media_fail(
    service: DownloadService, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    emulator.add_fault("media", "status", status=403)
    await jobs.request(sample.VIDEO_OK)
    failed = await jobs.wait(DownloadFailed)
    assert (failed.failure.kind, failed.failure.reason) == (FailureKind.PASSING, "http_403")
    assert failed.title == jobs.all(MetadataFetched)[0].metadata.title


async def test_a_bot_check_blocks_the_worker_and_a_success_clears_it(
    service: DownloadService, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    emulator.set_kind("*", "bot_check")
    first = await jobs.request(sample.VIDEO_OK)
    blocked = await jobs.wait(SourceBlocked)
    deferred = await jobs.wait(DownloadDeferred)
    assert (blocked.egress, blocked.reason) == (service.parts.context.egress, "bot_check")
    assert (deferred.dispatch_id, deferred.retry_after) == (first.dispatch_id, blocked.until)
    assert not jobs.all(DownloadFailed)
    await jobs.wait(ServiceHeartbeat, lambda beat: beat.service.free_slots == 0)
    assert service.metrics()["blocked_until"] == blocked.until.isoformat()
    assert service.breakers() == {service.parts.context.egress: BreakerState("open", until=blocked.until)}

    emulator.set_kind("*", "ok")
    service.parts.breaker.until = datetime.now(UTC)  # the block of five minutes is over
    await jobs.request(sample.VIDEO_OK)
    assert (await jobs.wait(SourceCleared)).egress == service.parts.context.egress
    await jobs.wait(DownloadCompleted)
    assert service.breakers() == {service.parts.context.egress: BreakerState("closed")}


@pytest.mark.parametrize("video_id", [sample.VIDEO_OK, sample.VIDEO_PRIVATE, sample.KINDS["upcoming"]])
async def test_a_probe_that_gets_any_answer_clears_the_block_once(
    service: DownloadService, jobs: FakeJobs, video_id: str
) -> None:
    """The blocked worker may have ended since. That a video is unavailable is an answer, too."""
    jobs.verdict = ClaimVerdict.PROBE
    await jobs.request(video_id)
    assert (await jobs.wait(SourceCleared)).egress == service.parts.context.egress
    jobs.verdict = ClaimVerdict.GO
    last = await jobs.request(video_id)
    ends = (DownloadCompleted, DownloadFailed)

    async with asyncio.timeout(TIMEOUT), jobs.arrived:
        await jobs.arrived.wait_for(
            lambda: any(e.dispatch_id == last.dispatch_id for kind in ends for e in jobs.all(kind))
        )
    assert len(jobs.all(SourceCleared)) == 1


def suspect(jobs: FakeJobs, reason: Suspicion, canary: str | None = sample.VIDEO_480P) -> None:
    """Let the next dispatch be the probe of a suspicion."""
    jobs.verdict, jobs.reason, jobs.canary = ClaimVerdict.PROBE, reason, canary


@pytest.mark.parametrize(
    ("suspicion", "kind"),
    [(Suspicion.SAME_FAILURE, "reload"), (Suspicion.SAME_FAILURE, "unexplained"), (Suspicion.ALL_GONE, "private")],
)
async def test_a_refused_canary_blocks_the_source_by_one_extraction(
    service: DownloadService, jobs: FakeJobs, emulator: EmulatorClient, suspicion: Suspicion, kind: str
) -> None:
    suspect(jobs, suspicion)
    emulator.set_kind("*", kind)
    asked = await jobs.request(sample.VIDEO_OK)
    blocked = await jobs.wait(SourceBlocked)
    deferred = await jobs.wait(DownloadDeferred)
    assert blocked.reason == suspicion
    assert "saved before is refused as well" in blocked.message
    assert (deferred.dispatch_id, deferred.reason, deferred.failure) == (asked.dispatch_id, suspicion, None)
    assert deferred.retry_after == blocked.until
    assert [entry["video_id"] for entry in emulator.log(kind="watch")] == [sample.VIDEO_480P]
    assert not jobs.all(DownloadFailed)


async def test_a_served_canary_ends_the_block_and_its_dispatch_goes_on(
    service: DownloadService, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    suspect(jobs, Suspicion.SAME_FAILURE)
    emulator.set_kind(sample.VIDEO_OK, "reload")
    await jobs.request(sample.VIDEO_OK)
    failed = await jobs.wait(DownloadFailed)
    assert (failed.video_id, failed.failure.reason) == (sample.VIDEO_OK, "reload")
    assert len(jobs.all(SourceCleared)) == 1
    assert not jobs.all(SourceBlocked)
    assert emulator.log(kind="media", video_id=sample.VIDEO_480P) == []


@pytest.mark.parametrize("canary", [None, sample.VIDEO_DELETED])
async def test_without_a_clear_answer_the_video_itself_is_the_probe(
    service: DownloadService, jobs: FakeJobs, emulator: EmulatorClient, canary: str | None
) -> None:
    """There is no canary, or it was deleted since."""
    suspect(jobs, Suspicion.SAME_FAILURE, canary)
    emulator.set_kind(sample.VIDEO_OK, "reload")
    await jobs.request(sample.VIDEO_OK)
    blocked = await jobs.wait(SourceBlocked)
    deferred = await jobs.wait(DownloadDeferred)
    assert blocked.reason == Suspicion.SAME_FAILURE
    assert "The page needs to be reloaded." in blocked.message
    assert deferred.failure is not None
    service.parts.breaker.until = datetime.now(UTC)  # the block is over
    await jobs.request(sample.VIDEO_TWO_CAPTIONS, quality="144p")
    await jobs.wait(DownloadCompleted)
    assert len(jobs.all(SourceCleared)) == 1


async def test_consecutive_429s_of_media_files_block_the_source(
    service: DownloadService, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    emulator.add_fault("media", "status", status=429)
    for _ in range(THRESHOLD - 1):
        asked = await jobs.request(sample.VIDEO_OK)
        await jobs.wait(DownloadFailed, lambda event, id=asked.dispatch_id: event.dispatch_id == id)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    assert not jobs.all(SourceBlocked)
    last = await jobs.request(sample.VIDEO_OK)
    assert (await jobs.wait(SourceBlocked)).reason == "http_429"
    assert (await jobs.wait(DownloadDeferred)).dispatch_id == last.dispatch_id


async def test_an_unreachable_network_blocks_the_source_and_costs_no_more_attempts(
    start: Start, jobs: FakeJobs
) -> None:
    with socket.socket() as unused:  # bound but not listening: no other process gets the port
        unused.bind(("127.0.0.1", 0))
        service = await start(youtube__proxy=f"http://127.0.0.1:{unused.getsockname()[1]}")
        service.parts.breaker.unreached = THRESHOLD - 2  # each failure takes seven seconds of yt-dlp's own retries
        await jobs.request(sample.VIDEO_OK)
        await jobs.wait(DownloadFailed)
        assert not jobs.all(SourceBlocked)
        last = await jobs.request(sample.VIDEO_OK)
        blocked = await jobs.wait(SourceBlocked)
        deferred = await jobs.wait(DownloadDeferred)
    assert blocked.reason in UNREACHED
    assert timedelta(seconds=50) < blocked.until - datetime.now(UTC) < timedelta(seconds=61)
    assert (deferred.dispatch_id, deferred.retry_after) == (last.dispatch_id, blocked.until)
    assert service.breakers() == {service.parts.context.egress: BreakerState("open", until=blocked.until)}


async def test_a_killed_child_fails_the_attempt_and_the_next_one_resumes(
    service: DownloadService, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    fault = emulator.add_fault("media", "throttle", rate=500_000)
    await jobs.request(sample.VIDEO_LARGE)
    await jobs.wait(DownloadProgress, lambda event: event.progress.current > 0)
    await service.parts.slots.close()  # kills the children
    failed = await jobs.wait(DownloadFailed)
    assert (failed.failure.kind, failed.failure.code) == (FailureKind.LOCAL, ErrorCode.INTERNAL_ERROR)
    emulator.remove_fault(fault)
    since = emulator.last()
    await jobs.request(sample.VIDEO_LARGE)
    await jobs.wait(DownloadCompleted)
    assert not emulator.log(since=since, kind="media")[0]["range"].startswith("bytes=0-")


@pytest.mark.claim("7.2", "9.3")
async def test_a_download_without_progress_times_out(start: Start, jobs: FakeJobs, emulator: EmulatorClient) -> None:
    # longer than a child needs to load yt-dlp and to extract the video, even on a busy machine
    await start(download__timeout="12", download__socket_timeout="60", download__slots="1")
    emulator.add_fault("media", "stall", after=100_000)
    await jobs.request(sample.VIDEO_LARGE)
    failure = (await jobs.wait(DownloadFailed)).failure
    assert (failure.kind, failure.code, failure.reason) == (FailureKind.PASSING, ErrorCode.NETWORK_TIMEOUT, "timeout")
    assert failure.gained_bytes
    emulator.clear_faults()
    emulator.add_fault("media", "stall", after=0)
    again = await jobs.request(sample.VIDEO_LARGE)
    second = await jobs.wait(DownloadFailed, lambda event: event.dispatch_id == again.dispatch_id)
    assert second.failure.reason == "timeout"
    assert not second.failure.gained_bytes


@pytest.mark.claim("7.2")
async def test_a_download_that_makes_progress_does_not_time_out(
    start: Start, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    await start(download__timeout="8")
    emulator.put_video("longtime-01", title="Long", channel=sample.CHANNEL, size=900_000)
    emulator.add_fault("media", "throttle", video_id="longtime-01", rate=100_000)
    begun = asyncio.get_running_loop().time()
    await jobs.request("longtime-01")
    assert (await jobs.wait(DownloadCompleted)).files
    assert asyncio.get_running_loop().time() - begun > 8


async def test_a_full_disk_defers_the_download_without_an_attempt(
    start: Start, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    service = await start(storage__min_free=str(2**62))
    await jobs.request(sample.VIDEO_OK)
    deferred = await jobs.wait(DownloadDeferred)
    assert deferred.reason == "disk_full"
    assert deferred.failure is not None
    assert deferred.failure.code is ErrorCode.STORAGE_FULL
    assert "min_free" in deferred.failure.message
    assert deferred.retry_after is not None
    assert 30 < (deferred.retry_after - datetime.now(UTC)).total_seconds() <= 60
    assert emulator.log() == []
    assert service.parts.breaker.until is None


async def test_shutdown_defers_a_running_download_and_the_next_start_resumes_it(
    start: Start, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    service = await start()
    fault = emulator.add_fault("media", "throttle", rate=500_000)
    asked = await jobs.request(sample.VIDEO_LARGE)
    await jobs.wait(DownloadProgress, lambda event: event.progress.current > 0)
    begun = asyncio.get_running_loop().time()
    await service.shutdown()
    assert asyncio.get_running_loop().time() - begun < 10
    deferred = await jobs.wait(DownloadDeferred)
    assert (deferred.dispatch_id, deferred.reason) == (asked.dispatch_id, "shutdown")
    partial = service.parts.context.partial_of(sample.VIDEO_LARGE)
    assert any(name.endswith(".part") for name in files_in(partial))

    emulator.remove_fault(fault)
    since = emulator.last()
    await start()
    await jobs.request(sample.VIDEO_LARGE)
    await jobs.wait(DownloadCompleted)
    assert not emulator.log(since=since, kind="media")[0]["range"].startswith("bytes=0-")


async def test_the_partial_download_is_removed_once_its_video_is_archived(
    service: DownloadService, jobs: FakeJobs, broker: BusSettings
) -> None:
    asked = await jobs.request(sample.VIDEO_OK)
    done = await jobs.wait(DownloadCompleted)
    storage = await connect_bus(broker, source="storage/test")

    async def archived(dispatch_id: str) -> None:
        event = VideoArchived(
            job_id=asked.job_id,
            video_id=asked.video_id,
            root=asked.root,
            dispatch_id=dispatch_id,
            directory="/archive/videos/x",
            files=(),
            bytes=0,
            held=Held(video_id=asked.video_id),
        )
        await storage.publish(event, trace_id="t")

    for _ in range(20):
        await archived("another")
    await archived(asked.dispatch_id)
    async with asyncio.timeout(TIMEOUT):
        while not await service.settled():  # noqa: ASYNC110  # the broker has no event for it
            await asyncio.sleep(0.02)
    assert not files_in(done.directory), "a one-shot stack ends now"
    await storage.close()


async def test_a_slot_pauses_between_two_downloads(start: Start, jobs: FakeJobs) -> None:
    await start(download__slots="1", youtube__sleep_interval="1.5")
    times: dict[str, datetime] = {}
    for video in (sample.VIDEO_OK, sample.VIDEO_480P):
        await jobs.request(video)
    for video in (sample.VIDEO_OK, sample.VIDEO_480P):
        await jobs.wait(DownloadCompleted, lambda event, video=video: event.video_id == video)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    for envelope in jobs.received:
        if envelope.type in (DownloadStarted.subject, DownloadCompleted.subject):
            times[f"{envelope.type} {envelope.data['video_id']}"] = envelope.timestamp
    first_done = times[f"{DownloadCompleted.subject} {sample.VIDEO_OK}"]
    second_start = times[f"{DownloadStarted.subject} {sample.VIDEO_480P}"]
    assert (second_start - first_done).total_seconds() >= 1.3


async def test_a_waiting_task_is_cancelled_without_a_claim(
    start: Start, jobs: FakeJobs, eventually: Callable[..., Awaitable[object]]
) -> None:
    service = await start(download__slots="1", youtube__sleep_interval="60")
    await jobs.request(sample.VIDEO_OK, quality="144p")
    await jobs.wait(DownloadCompleted)
    second = await jobs.request(sample.VIDEO_480P, quality="144p")

    async def waits() -> bool:
        record = service.parts.tasks.find(second.dispatch_id)
        return record is not None and record.state is TaskState.WAITING and service.parts.slots.free == 0

    await eventually(waits)
    record = await service.parts.worker.stop(second.dispatch_id)
    assert record.outcome is TaskOutcome.CANCELLED
    told = await jobs.wait(DownloadCancelled)
    assert (told.dispatch_id, told.by_hand) == (second.dispatch_id, True)
    assert second.video_id not in {event.video_id for event in jobs.all(DownloadStarted)}
    assert service.parts.slots.free == 1


async def test_a_redelivered_request_is_not_downloaded_again(
    start: Start, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    """After a lost acknowledgement the files that storage is about to archive must not change."""
    await start()
    event = await jobs.request(sample.VIDEO_OK, quality="144p")
    await jobs.wait(DownloadCompleted)
    mark = emulator.last()
    await jobs.bus.publish(event, trace_id="again")
    other = await jobs.request(sample.VIDEO_480P, quality="144p")
    await jobs.wait(DownloadCompleted, lambda completed: completed.dispatch_id == other.dispatch_id)
    assert [claim.dispatch_id for claim in jobs.claims] == [event.dispatch_id, other.dispatch_id]
    assert emulator.log(since=mark, video_id=sample.VIDEO_OK) == []


@pytest.mark.claim("13.7")
async def test_partial_downloads_without_an_owner_are_removed(
    start: Start, jobs: FakeJobs, config: Config, eventually: Callable[..., Awaitable[object]]
) -> None:
    owned, unowned = (config.storage.tmp_dir / f"{video}.part" for video in (sample.VIDEO_OK, sample.VIDEO_480P))
    for directory in (owned, unowned):
        with working_in(directory, "fetch.1"):
            (directory / "half.part").touch()
        long_ago = time.time() - 60
        os.utime(directory, (long_ago, long_ago))
    jobs.owned.add(sample.VIDEO_OK)
    await start()

    async def gone() -> bool:
        return not unowned.exists()

    await eventually(gone)
    assert (owned / "half.part").exists()
