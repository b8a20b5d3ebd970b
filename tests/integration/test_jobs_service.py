"""The jobs service with a real broker and a real SQLite file; stand-ins on the bus replace the other services."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from bus import Bus, BusSettings, Envelope, Event, Handlers
from services.common import events as e
from services.common.domain.archive import Held
from services.common.domain.failures import Failure, FailureKind
from services.common.domain.jobs import ItemStatus
from services.common.domain.registry import ServiceInfo
from services.common.domain.replies import ClaimAnswer, ClaimVerdict
from services.common.domain.videos import Entry
from services.common.messaging import connect_bus
from services.common.models import ErrorCode, Progress
from services.common.settings.load import Config
from services.jobs.rest_models import ItemQuery
from services.jobs.service import JobsService
from tests.fixtures.heartbeats import HeartbeatSender

VIDEOS = [f"video{n:06d}" for n in range(1, 7)]
WORKER = "worker-1"


class OtherServices:
    """Stand-ins for metadata, download and storage that answer every request of jobs as configured."""

    def __init__(self, bus: Bus, slots: int = 2) -> None:
        self.bus = bus
        self.heartbeats = HeartbeatSender(bus)
        self.slots = slots
        self.held: dict[str, Held] = {}
        self.fails: dict[str, Failure] = {}
        self.dispatched: list[e.DownloadRequested] = []
        self.hold = asyncio.Event()  # downloads end once it is set
        self.hold.set()
        self.running = asyncio.Event()

    async def announce(self) -> None:
        services = [
            ServiceInfo(
                name=name, instance=WORKER if name == "download" else name, url="http://x", version="1", pid=1,
                slots=self.slots if name == "download" else 0, egress="e", started_at=datetime.now(UTC),
            )
            for name in ("download", "metadata", "storage")
        ]  # fmt: skip
        await self.heartbeats.announce(*services)

    async def answer(self, event: Event) -> AsyncIterator[Event]:
        match event:
            case e.JobQueued():
                claim = e.DownloadClaim(instance="metadata", egress="e", job_id=event.job_id, listing=event.listing)
                answer = await self.bus.request(claim, ClaimAnswer, trace_id="t", timeout=60)
                if answer.verdict is not ClaimVerdict.GO:
                    return
                about = {"job_id": event.job_id, "root": event.root, "target_index": 0, "listing": event.listing}
                entries = tuple(Entry(video_id=v, position=n) for n, v in enumerate(event.target.video_ids))
                yield e.ListingPageFetched(
                    **about, type=event.type, options=event.options, page_key="p", entries=entries
                )
                held = tuple(self.held.get(v.video_id, Held(video_id=v.video_id)) for v in entries)
                yield e.ArchiveChecked(**about, page_key="p", entries=entries, held=held)
                yield e.ListingCompleted(**about, page_keys=("p",), total=len(entries))
            case e.VideoFailed():
                yield e.WorkPlanUpdated(
                    plan_id=event.job_id, job_id=event.job_id, video_ids=(event.video_id,), number=event.number,
                    path="/plan.json", unavailable=1, failed=0, resolved=0,
                )  # fmt: skip

    async def download(self, event: e.DownloadRequested) -> AsyncIterator[Event]:
        claim = e.DownloadClaim(instance=WORKER, egress="e", dispatch_id=event.dispatch_id)
        answer = await self.bus.request(claim, ClaimAnswer, trace_id="t", timeout=60)
        if answer.verdict is not ClaimVerdict.GO:
            return
        self.dispatched.append(event)
        self.running.set()
        await self.hold.wait()
        names = event.model_dump(include={"job_id", "video_id", "root", "dispatch_id"})
        if event.video_id in self.fails:
            yield e.DownloadFailed(**names, fetch_id=event.fetch_id, failure=self.fails[event.video_id])
            return
        held = Held(video_id=event.video_id, qualities=(event.wanted.quality,), thumbnail=True, metadata=True)
        yield e.VideoArchived(**names, directory="/x", files=(), bytes=1, held=held)


others_handlers = Handlers("others")


@others_handlers.on(e.JobQueued, slots=4)
async def _queued(event: e.JobQueued, others: OtherServices) -> AsyncIterator[Event]:
    async for fact in others.answer(event):
        yield fact


@others_handlers.on(e.VideoFailed, slots=4)
async def _failed(event: e.VideoFailed, others: OtherServices) -> AsyncIterator[Event]:
    async for fact in others.answer(event):
        yield fact


@others_handlers.on(e.DownloadRequested, slots=16)
async def _requested(event: e.DownloadRequested, others: OtherServices) -> AsyncIterator[Event]:
    async for fact in others.download(event):
        yield fact


class _AnyService(Handlers):
    """Handlers that may publish the events of all replaced services."""

    def check_publishes(self, event: Event) -> None:
        assert type(event).publishers & {"metadata", "download", "storage"}


others_handlers.__class__ = _AnyService


@pytest.fixture
async def jobs(config: Config, broker: BusSettings) -> AsyncIterator[JobsService]:
    async with _running(JobsService(config, broker)) as service:
        yield service


@asynccontextmanager
async def _running(service: JobsService) -> AsyncIterator[JobsService]:
    await service.startup()
    try:
        yield service
    finally:
        await service.shutdown(5)


@pytest.fixture
async def others(broker: BusSettings) -> AsyncIterator[OtherServices]:
    bus = await connect_bus(broker, source="others/1")
    played = OtherServices(bus)
    await bus.serve(others_handlers, played)
    async with played.heartbeats.sending():
        yield played
    await bus.stop_serving(1)
    await bus.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def _follow(
    http: aiohttp.ClientSession, jobs: JobsService, job_id: str, last: str | None = None
) -> list[tuple[str, Any]]:
    """Return all server-sent events of a job until its end, as (event, data)."""
    headers = {"Last-Event-ID": last} if last else {}
    events: list[tuple[str, Any]] = []
    name = ""
    async with http.get(f"{jobs.url}/api/v1/jobs/{job_id}/events", headers=headers) as response:
        assert response.status == 200
        async for line in response.content:
            text = line.decode().strip()
            if text.startswith("event: "):
                name = text.removeprefix("event: ")
            elif text.startswith("data: "):
                events.append((name, json.loads(text.removeprefix("data: "))))
    return events


async def _create(http: aiohttp.ClientSession, jobs: JobsService, **body: Any) -> dict[str, Any]:
    body = {"targets": VIDEOS, "options": {"include_captions": False}} | body
    async with http.post(f"{jobs.url}/api/v1/jobs", json=body) as response:
        assert response.status == 201, await response.text()
        created: dict[str, Any] = (await response.json())["data"]
        return created


async def test_a_job_created_over_rest_runs_to_its_end(
    jobs: JobsService, others: OtherServices, http: aiohttp.ClientSession
) -> None:
    await others.announce()
    others.held[VIDEOS[0]] = Held(video_id=VIDEOS[0], qualities=("best",), thumbnail=True, metadata=True)
    others.fails[VIDEOS[1]] = Failure(
        kind=FailureKind.GONE, code=ErrorCode.VIDEO_UNAVAILABLE, reason="private", message="Private video"
    )
    job = await _create(http, jobs)
    events = await _follow(http, jobs, job["job_id"])
    assert events[0][0] == "snapshot"
    end = events[-1]
    assert end[0] == "end"
    assert end[1]["status"] == "completed"
    counts = end[1]["counts"]
    assert (counts["archived"], counts["skipped"], counts["unavailable"], counts["open"]) == (4, 1, 1, 0)
    assert end[1]["work_plan"] == "/plan.json"
    async with http.get(f"{jobs.url}/api/v1/jobs/{job['job_id']}") as response:
        detail = (await response.json())["data"]
    assert {item["video_id"]: item["status"] for item in detail["items"]}[VIDEOS[1]] == "unavailable"
    assert [item["video_id"] for item in detail["items"]] == VIDEOS


async def test_no_progress_is_published_for_an_ended_job(
    jobs: JobsService, others: OtherServices, http: aiohttp.ClientSession
) -> None:
    """Progress overtakes `job.completed`, which is stored first, so a subscriber would see the end too early."""
    await others.announce()
    async with others.bus.tail(e.JobProgress) as tail, asyncio.timeout(60):
        ended = (await _create(http, jobs, targets=VIDEOS[:1]))["job_id"]
        await _follow(http, jobs, ended)
        others.hold.clear()
        for video in VIDEOS[1:3]:  # progress of the second job follows all progress of the first
            job_id = (await _create(http, jobs, targets=[video]))["job_id"]
            while (told := e.JobProgress.read(await anext(tail))).job_id != job_id:
                assert not told.job.status.ended
    others.hold.set()


async def test_all_events_of_a_job_carry_its_trace_id(
    jobs: JobsService, others: OtherServices, http: aiohttp.ClientSession
) -> None:
    await others.announce()
    seen: list[Envelope] = []
    async with others.bus.tail(e.JobCreated, e.JobQueued, e.DownloadRequested, e.JobCompleted) as tail:
        async with http.post(
            f"{jobs.url}/api/v1/jobs",
            json={"targets": VIDEOS[:2], "options": {"include_captions": False}},
            headers={"X-Trace-Id": "trace-1"},
        ) as response:
            assert response.status == 201
        async for envelope in tail:
            seen.append(envelope)
            if envelope.type == "job.completed":
                break
    assert {envelope.trace_id for envelope in seen} == {"trace-1"}
    assert len(seen) == 5


async def test_two_jobs_for_one_video_download_it_once(
    jobs: JobsService, others: OtherServices, http: aiohttp.ClientSession, eventually: Callable[..., Awaitable[object]]
) -> None:
    await others.announce()
    others.hold.clear()
    first = await _create(http, jobs, targets=VIDEOS[:1])
    await others.running.wait()
    second = await _create(http, jobs, targets=VIDEOS[:1])

    async def joined() -> bool:
        items = (await jobs.parts.reader.items(second["job_id"], ItemQuery(limit=1))).items
        return bool(items) and items[0].status is ItemStatus.WAITING

    await eventually(joined)
    others.hold.set()
    for job in (first, second):
        assert (await _follow(http, jobs, job["job_id"]))[-1][1]["counts"]["archived"] == 1
    assert len(others.dispatched) == 1


async def test_a_small_job_does_not_wait_for_a_large_one(
    jobs: JobsService, others: OtherServices, http: aiohttp.ClientSession
) -> None:
    await others.announce()
    others.hold.clear()
    await _create(http, jobs, targets=[f"large{n:06d}" for n in range(60)])
    await others.running.wait()
    small = await _create(http, jobs, targets=VIDEOS[:1])
    others.hold.set()
    await _follow(http, jobs, small["job_id"])
    order = [event.video_id for event in others.dispatched]
    assert order.index(VIDEOS[0]) <= 2 * others.slots  # only dispatches released before went first


async def test_no_more_dispatches_are_released_than_there_are_slots(
    jobs: JobsService, others: OtherServices, http: aiohttp.ClientSession
) -> None:
    await others.announce()
    others.hold.clear()
    released = await others.bus.js.stream_info("EVENTS", subjects_filter="download.requested")
    job = await _create(http, jobs)
    await others.running.wait()
    async with http.get(f"{jobs.url}/api/v1/jobs/{job['job_id']}/items") as response:
        assert (await response.json())["data"]["total"] == len(VIDEOS)
    released = await others.bus.js.stream_info("EVENTS", subjects_filter="download.requested")
    assert released.state.subjects is not None
    assert released.state.subjects["download.requested"] <= others.slots
    others.hold.set()
    await _follow(http, jobs, job["job_id"])


async def test_an_open_job_continues_after_a_restart(
    config: Config, broker: BusSettings, others: OtherServices
) -> None:
    async with aiohttp.ClientSession() as http:
        async with _running(JobsService(config, broker)) as before:
            job = await _create(http, before)  # without announced slots nothing starts
        async with _running(JobsService(config, broker)) as after:
            await others.announce()
            events = await _follow(http, after, job["job_id"])
            assert events[-1][1]["counts"]["archived"] == len(VIDEOS)


async def test_a_parked_job_continues_when_it_is_created_again(
    config: Config, broker: BusSettings, others: OtherServices
) -> None:
    async with aiohttp.ClientSession() as http:
        async with _running(JobsService(config, broker)) as before:
            parked = await _create(http, before, job_id="parked")
        async with _running(JobsService(config, broker, park_open=True)) as after:
            await others.announce()
            other = await _create(http, after, targets=VIDEOS[:1])
            await _follow(http, after, other["job_id"])
            assert [event.job_id for event in others.dispatched] == [other["job_id"]]
            await others.bus.publish(e.JobCreated(job_id="parked", targets=("x",)), trace_id="t")
            events = await _follow(http, after, parked["job_id"])
            assert events[-1][1]["status"] == "completed"


async def test_a_reconnecting_subscriber_gets_the_changes_since_its_last_event(
    jobs: JobsService, others: OtherServices, http: aiohttp.ClientSession
) -> None:
    await others.announce()
    job = await _create(http, jobs)
    whole = await _follow(http, jobs, job["job_id"])
    revision = whole[-1][1]["revision"]
    again = await _follow(http, jobs, job["job_id"], last=str(revision))
    assert [name for name, _ in again] == ["job", "end"]
    ahead = await _follow(http, jobs, job["job_id"], last=str(revision + 1000))
    assert [name for name, _ in ahead] == ["snapshot", "items", "job", "end"]


async def test_progress_is_sent_to_the_subscribers_of_the_job(
    jobs: JobsService, others: OtherServices, http: aiohttp.ClientSession, eventually: Callable[..., Awaitable[object]]
) -> None:
    await others.announce()
    others.hold.clear()
    job = await _create(http, jobs, targets=VIDEOS[:1])
    following = asyncio.create_task(_follow(http, jobs, job["job_id"]))
    await others.running.wait()
    event = others.dispatched[0]
    about = event.model_dump(include={"dispatch_id", "fetch_id", "job_id", "video_id", "root"})
    progress = Progress(current=5, total=10, percentage=50, message="downloading", speed_bps=1.0, eta_seconds=5)

    async def shown() -> bool:
        await others.bus.publish(e.DownloadProgress(**about, progress=progress), trace_id="t")
        async with http.get(f"{jobs.url}/api/v1/jobs/{job['job_id']}") as response:
            return VIDEOS[0] in (await response.json())["data"]["running"]

    await eventually(shown)
    others.hold.set()
    events = await following
    assert any(name == "progress" and data["progress"]["percentage"] == 50 for name, data in events)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"targets": []}, "targets"),
        ({"targets": ["https://example.com/x"]}, "example.com"),
        ({"targets": VIDEOS, "options": {"quality": "best[["}}, "quality"),
        ({"targets": VIDEOS, "options": {"output_dir": "../../etc"}}, "output_dir"),
        ({"targets": VIDEOS, "options": {"output_dir": "/usr"}}, "root"),
        ({"targets": VIDEOS, "options": {"caption_languages": ["e;n"]}}, "caption language"),
        ({"targets": VIDEOS, "wrong": 1}, "wrong"),
    ],
)
async def test_an_invalid_job_is_refused_and_not_created(
    jobs: JobsService, http: aiohttp.ClientSession, body: dict[str, Any], message: str
) -> None:
    async with http.post(f"{jobs.url}/api/v1/jobs", json=body) as response:
        answer = await response.json()
    assert response.status == 400
    assert answer["error"]["code"] == "E007"
    assert message in answer["error"]["message"]
    async with http.get(f"{jobs.url}/api/v1/jobs") as response:
        assert (await response.json())["data"]["total"] == 0


async def test_an_invalid_job_published_on_the_bus_fails(jobs: JobsService, others: OtherServices) -> None:
    async with others.bus.tail(e.JobFailed) as tail:
        await others.bus.publish(e.JobCreated(job_id="bad", targets=("nonsense here",)), trace_id="t-bad")
        envelope = await anext(tail)
    failed = e.JobFailed.read(envelope)
    assert envelope.trace_id == "t-bad"
    assert failed.job.error is not None
    assert failed.job.error.code is ErrorCode.INVALID_REQUEST


async def test_lists_are_paged_and_filtered(
    jobs: JobsService, others: OtherServices, http: aiohttp.ClientSession
) -> None:
    await others.announce()
    ids = [(await _create(http, jobs, targets=VIDEOS[:1]))["job_id"] for _ in range(3)]
    for job_id in ids:
        await _follow(http, jobs, job_id)
    async with http.get(f"{jobs.url}/api/v1/jobs?status=completed&limit=2&offset=1") as response:
        page = (await response.json())["data"]
    assert (page["total"], [job["job_id"] for job in page["jobs"]]) == (3, [ids[1], ids[0]])
    async with http.get(f"{jobs.url}/api/v1/jobs?status=open") as response:
        assert (await response.json())["data"]["total"] == 0
    async with http.get(f"{jobs.url}/api/v1/jobs/none") as response:
        assert response.status == 404
