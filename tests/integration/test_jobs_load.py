"""The scheduler under load: fifty jobs with priorities, attempts and timers, and a playlist of 5,000 entries."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from bus import Bus, BusSettings, Event, Handlers
from services.common import events as e
from services.common.domain.archive import Held
from services.common.domain.failures import Failure, FailureKind
from services.common.domain.jobs import Job
from services.common.domain.registry import ServiceInfo
from services.common.domain.replies import ClaimAnswer, ClaimVerdict
from services.common.domain.videos import Entry
from services.common.messaging import connect_bus
from services.common.models import ErrorCode
from services.common.settings.load import Config
from services.jobs.rest_models import ItemQuery, JobQuery
from services.jobs.service import JobsService
from tests.fixtures.emulated import emulator_variables
from tests.fixtures.heartbeats import HeartbeatSender
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

JOBS, EACH, SLOTS = 50, 3, 4


class OtherServices:
    """Stand-ins for metadata, storage and one worker with SLOTS slots; `failing` holds the failures by video."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.heartbeats = HeartbeatSender(bus)
        self.begun: list[tuple[str, datetime]] = []  # video and time of every attempt, in order
        self.failing: dict[str, Failure] = {}
        self.listed = 0

    async def announce(self, slots: int) -> None:
        services = [
            ServiceInfo(
                name=name, instance=name, url="http://x", version="1", pid=os.getpid(), egress="e",
                slots=slots if name == "download" else 0, started_at=datetime.now(UTC),
            )
            for name in ("download", "metadata", "storage")
        ]  # fmt: skip
        await self.heartbeats.announce(*services)

    async def attempt(self, event: e.DownloadRequested) -> AsyncIterator[Event]:
        claim = e.DownloadClaim(instance="download", egress="e", dispatch_id=event.dispatch_id)
        answer = await self.bus.request(claim, ClaimAnswer, trace_id="t", timeout=60)
        if answer.verdict is not ClaimVerdict.GO:
            return
        self.begun.append((event.video_id, datetime.now(UTC)))
        names = event.model_dump(include={"job_id", "video_id", "root", "dispatch_id"})
        if event.video_id in self.failing:
            yield e.DownloadFailed(**names, fetch_id=event.fetch_id, failure=self.failing[event.video_id])
            return
        held = Held(video_id=event.video_id, qualities=(event.wanted.quality,), thumbnail=True, metadata=True)
        yield e.VideoArchived(**names, directory="/x", files=(), bytes=1, held=held)


class _AnyService(Handlers):
    """Handlers that may publish the events of all replaced services."""

    def check_publishes(self, event: Event) -> None:
        assert type(event).publishers & {"metadata", "download", "storage"}


other_handlers = _AnyService("others")


@other_handlers.on(e.JobQueued, slots=4)
async def _queued(event: e.JobQueued, others: OtherServices) -> AsyncIterator[Event]:
    about = {"job_id": event.job_id, "root": event.root, "target_index": 0, "listing": event.listing}
    entries = tuple(Entry(video_id=v, position=n) for n, v in enumerate(event.target.video_ids))
    held = tuple(Held(video_id=v.video_id) for v in entries)
    yield e.ArchiveChecked(**about, page_key="p", entries=entries, held=held)
    yield e.ListingCompleted(**about, page_keys=("p",), total=len(entries))


@other_handlers.on(e.VideoFailed, slots=4)
async def _given_up(event: e.VideoFailed, _others: OtherServices) -> AsyncIterator[Event]:
    yield e.WorkPlanUpdated(
        plan_id=event.job_id, job_id=event.job_id, video_ids=(event.video_id,), number=event.number,
        path="/plan.json", unavailable=0, failed=1, resolved=0,
    )  # fmt: skip


@other_handlers.on(e.DownloadRequested, slots=SLOTS)
async def _requested(event: e.DownloadRequested, others: OtherServices) -> AsyncIterator[Event]:
    async for fact in others.attempt(event):
        yield fact


@pytest.fixture
async def jobs(config: Config, broker: BusSettings) -> AsyncIterator[JobsService]:
    service = JobsService(config, broker)
    await service.startup()
    yield service
    await service.shutdown(5)


@pytest.fixture
async def others(broker: BusSettings) -> AsyncIterator[OtherServices]:
    bus = await connect_bus(broker, source="others/1")
    everyone = OtherServices(bus)
    await bus.serve(other_handlers, everyone)
    async with everyone.heartbeats.sending():
        yield everyone
    await bus.stop_serving(1)
    await bus.close()


def video(job: int, number: int) -> str:
    return f"job{job:04d}-{number:03d}"


async def create(jobs: JobsService, job: int, *, priority: int = 0, videos: int = EACH) -> None:
    targets = tuple(video(job, number) for number in range(videos))
    event = e.JobCreated(
        job_id=f"j{job}", targets=targets, priority=priority, options={"include_captions": False}
    )  # fmt: skip
    await jobs.parts.queue.submit(event, "t")


async def all_jobs(jobs: JobsService) -> list[Job]:
    return (await jobs.parts.reader.jobs(JobQuery(limit=500))).jobs


Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


async def test_fifty_jobs_are_served_round_robin_after_the_urgent_one(
    jobs: JobsService, others: OtherServices, eventually: Eventually
) -> None:
    await others.announce(0)  # no slots: nothing is released before all jobs are listed
    for job in range(JOBS):
        await create(jobs, job, priority=5 if job == JOBS - 1 else 0)

    async def listed() -> bool:
        return sum(job.counts.total for job in await all_jobs(jobs)) == JOBS * EACH

    async def done() -> bool:
        return all(job.status.ended for job in await all_jobs(jobs))

    await eventually(listed)
    assert others.begun == []
    await others.announce(SLOTS)
    await eventually(done)
    assert all(job.counts.archived == EACH for job in await all_jobs(jobs))
    order = [begun[:7] for begun, _at in others.begun]
    assert len(order) == JOBS * EACH  # each video once
    assert set(order[:EACH]) == {video(JOBS - 1, 0)[:7]}  # the urgent job, although it was created last
    rest = order[EACH:]
    for job in range(JOBS - 1):
        turns = [turn for turn, name in enumerate(rest) if name == video(job, 0)[:7]]
        waits = [later - earlier for earlier, later in zip([-1, *turns], turns, strict=False)]
        assert max(waits) <= JOBS + 2 * SLOTS, (job, turns)  # one round, and the dispatches in progress


async def test_a_failing_video_has_three_attempts_and_none_before_its_retry_time(
    jobs: JobsService, others: OtherServices, eventually: Eventually
) -> None:
    """Of three jobs one fails until its last attempt, one has a retry time, and one is delayed by neither."""
    later = datetime.now(UTC) + timedelta(seconds=4)
    about = {"code": ErrorCode.NETWORK_TIMEOUT, "reason": "http_503", "message": "503"}
    others.failing[video(0, 0)] = Failure.model_validate(about | {"kind": FailureKind.PASSING})
    others.failing[video(1, 0)] = Failure.model_validate(about | {"kind": FailureKind.NOT_YET, "retry_after": later})
    await others.announce(SLOTS)
    for job in range(3):
        await create(jobs, job, videos=1)

    async def ended(job_id: str) -> bool:
        job = await jobs.parts.reader.find(job_id)
        return job is not None and job.status.ended

    async def tried() -> bool:
        return video(1, 0) in {begun for begun, _at in others.begun}

    await eventually(lambda: ended("j2"))
    assert datetime.now(UTC) < later
    await eventually(tried)
    del others.failing[video(1, 0)]
    await eventually(lambda: ended("j1"))
    await eventually(lambda: ended("j0"))
    attempts = Counter(begun for begun, _at in others.begun)
    assert attempts == {video(0, 0): 3, video(1, 0): 2, video(2, 0): 1}
    times = [at for begun, at in others.begun if begun == video(1, 0)]
    assert times[1] >= later
    items = (await jobs.parts.reader.items("j0", ItemQuery(limit=1))).items
    assert (items[0].status, items[0].attempts) == ("failed", 3)
    gaps = [at for begun, at in others.begun if begun == video(0, 0)]
    assert gaps[1] - gaps[0] >= timedelta(seconds=2)  # SPEC: backoff_factor 2
    assert gaps[2] - gaps[1] >= timedelta(seconds=4)


# --- a playlist of 5,000 entries, on a real stack in its own process --------------------------------------------------

LARGE = 5_000
PLAYLIST = "PLlarge_playlist_of_5000_x"
MEMORY_LIMIT = 40 * 1024**2  # bytes


def memory(pid: int) -> int:
    """Return the resident memory of a process in bytes, without its children (broker and yt-dlp)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class StackProcess:
    """`ytarchive up` as a child process that uses the emulator."""

    def __init__(self, config: Config, emulator: EmulatorClient, folder: Path) -> None:
        names = ("JOBS", "METADATA", "DOWNLOAD", "STORAGE", "LOGGING")
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("YTARCHIVE")},
            **{f"YTARCHIVE_SERVICES__{name}__PORT": "0" for name in names},
            **emulator_variables(emulator, config.storage.base_data_dir, config.storage.base_path),
        }
        self.folder = folder
        self.info = config.storage.run_dir / "stack.json"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ytarchive", "up", cwd=self.folder, env=self.env,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

    async def ready(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, "the stack has exited"
        return self.info.exists()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def jobs_url(self) -> str:
        url: str = json.loads(self.info.read_text())["services"]["jobs"]
        return f"{url}/api/v1/jobs"

    async def stop(self) -> None:
        if self.process is None or self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(30):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


class WatchedJob:
    """A job of the stack process, and the peak memory of that process while the job is polled."""

    def __init__(self, stack: StackProcess, http: aiohttp.ClientSession) -> None:
        self.stack, self.http = stack, http
        self.peak = 0
        self.job_id = ""

    async def create(self, playlist: str) -> None:
        body = {"targets": [playlist], "type": "metadata_only"}
        async with self.http.post(self.stack.jobs_url, json=body) as response:
            assert response.status == 201, await response.text()
            self.job_id = (await response.json())["data"]["job_id"]

    async def wait_until(self, true: Callable[[Job], bool], seconds: float = 60) -> Job:
        async with asyncio.timeout(seconds):
            while True:
                async with self.http.get(f"{self.stack.jobs_url}/{self.job_id}") as response:
                    job = Job.model_validate((await response.json())["data"]["job"])
                self.peak = max(self.peak, memory(self.stack.pid))
                if true(job):
                    return job
                await asyncio.sleep(0.1)

    async def cancel(self) -> None:
        async with self.http.post(f"{self.stack.jobs_url}/{self.job_id}/cancel") as response:
            assert response.status == 200, await response.text()


@pytest.mark.timeout(600)
async def test_a_playlist_of_5000_is_streamed_with_bounded_memory(
    config: Config, emulator: EmulatorClient, tmp_path: Path, eventually: Eventually
) -> None:
    """The first video is archived while the rest of the listing is delayed; then all 5,000 are listed.

    The job is cancelled instead of downloading them.
    """
    emulator.put_playlist(PLAYLIST, count=LARGE, channel=sample.CHANNEL)
    stack = StackProcess(config, emulator, tmp_path)
    await stack.start()
    try:
        await eventually(stack.ready)
        async with aiohttp.ClientSession() as http:
            watched = WatchedJob(stack, http)
            await watched.create(sample.PLAYLIST_20)  # loads what is loaded only once
            await watched.wait_until(lambda job: job.status.ended)
            before = memory(stack.pid)
            delay = emulator.add_fault("browse", "delay", seconds=1.0)
            await watched.create(PLAYLIST)
            first = await watched.wait_until(lambda job: job.counts.archived > 0)
            assert not first.listed
            assert first.counts.total < LARGE / 2
            emulator.remove_fault(delay)
            listed = await watched.wait_until(lambda job: job.listed)
            assert listed.counts.total == LARGE
            await watched.cancel()
            ended = await watched.wait_until(lambda job: job.status.ended)
        assert ended.status == "cancelled"
        assert ended.counts.archived + ended.counts.cancelled == LARGE
        assert watched.peak - before < MEMORY_LIMIT, f"{(watched.peak - before) / 1024**2:.0f} MB"
    finally:
        await stack.stop()
