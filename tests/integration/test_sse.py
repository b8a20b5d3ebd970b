"""Subscribers to a job (SSE): late, interrupted, many or slow, they all end with the state that REST returns."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from bus import Bus, BusSettings, Envelope, Event
from services.common import events as e
from services.common.domain.archive import Held
from services.common.domain.failures import Failure, FailureKind
from services.common.domain.registry import ServiceInfo
from services.common.domain.replies import ClaimVerdict
from services.common.domain.videos import Entry
from services.common.messaging import connect_bus
from services.common.models import ErrorCode, Progress
from services.common.settings.load import Config
from services.jobs.service import JobsService

VIDEOS = [f"video{n:06d}" for n in range(40)]
ROUNDS = 4  # the videos end in this many groups


@dataclass
class View:
    """The state that a subscriber has collected: the job, and its items by video."""

    job: dict[str, Any] = field(default_factory=dict)
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    changes: list[tuple[str, int]] = field(default_factory=list)  # of items, in order of arrival
    last_id: str = ""

    def take(self, name: str, data: dict[str, Any], id: str) -> None:
        self.names.append(name)
        self.last_id = id
        if name in {"snapshot", "job", "end"}:
            self.job = data
        elif name == "items":
            self.items |= {item["video_id"]: item for item in data["items"]}
            self.changes += [(item["video_id"], item["revision"]) for item in data["items"]]

    @property
    def ended(self) -> bool:
        return "end" in self.names


class ScriptedJob:
    """A job whose events the test injects into the jobs service, step by step."""

    def __init__(self, jobs: JobsService, bus: Bus, http: aiohttp.ClientSession) -> None:
        self.jobs, self.bus, self.http = jobs, bus, http
        self.url = f"{jobs.url}/api/v1/jobs/j"
        self.root = str(jobs.config.storage.base_path)
        self.requests: dict[str, e.DownloadRequested] = {}
        self.videos: Sequence[str] = ()

    async def begin(self, videos: Sequence[str] = VIDEOS) -> None:
        self.videos = videos
        body = {"targets": videos, "job_id": "j", "options": {"include_captions": False}}
        async with self.http.post(f"{self.jobs.url}/api/v1/jobs", json=body) as response:
            assert response.status == 201, await response.text()

    async def listed(self) -> None:
        entries = tuple(Entry(video_id=v, position=n) for n, v in enumerate(self.videos))
        about = {"job_id": "j", "root": self.root, "target_index": 0, "listing": 1}
        held = tuple(Held(video_id=v) for v in self.videos)
        await self.inject(e.ArchiveChecked(**about, page_key="p", entries=entries, held=held))
        await self.inject(e.ListingCompleted(**about, page_keys=("p",), total=len(entries)))

    async def inject(self, event: Event) -> None:
        await self.jobs.parts.queue.take([Envelope.around(event, source="test/1", trace_id="t")])

    async def end(self, videos: list[str]) -> None:
        """Let the videos be dispatched, and archive all but every fifth of them."""
        slots = {"slots": len(self.videos), "egress": "e", "started_at": datetime.now(UTC)}
        worker = ServiceInfo.model_validate(
            {"name": "download", "instance": "w", "url": "http://x", "version": "1", "pid": 1} | slots
        )
        async with self.bus.tail(e.DownloadRequested) as tail:
            self.jobs.parts.registry.seen(worker)
            while len(self.requests) < len(self.videos):
                request = e.DownloadRequested.read(await anext(tail))
                self.requests[request.video_id] = request
        for video in videos:
            await self.end_one(self.requests[video])

    async def start(self) -> None:
        for request in self.requests.values():
            claim = e.DownloadClaim(instance="w", egress="", dispatch_id=request.dispatch_id)
            assert (await self.jobs.parts.dispatcher.claim(claim)).verdict is ClaimVerdict.GO

    async def end_one(self, request: e.DownloadRequested) -> None:
        names = request.model_dump(include={"job_id", "video_id", "root", "dispatch_id"})
        if int(request.video_id[-2:]) % 5:
            held = Held(video_id=request.video_id, qualities=("1080p",), thumbnail=True, metadata=True)
            await self.inject(e.VideoArchived(**names, directory="/x", files=(), bytes=1, held=held))
            return
        failure = Failure(kind=FailureKind.GONE, code=ErrorCode.VIDEO_UNAVAILABLE, reason="private", message="private")
        await self.inject(e.DownloadFailed(**names, fetch_id=request.fetch_id, failure=failure))
        await self.inject(
            e.WorkPlanUpdated(
                plan_id="j", job_id="j", video_ids=(request.video_id,), number=1, path="/p", unavailable=1, failed=0,
                resolved=0,
            )
        )  # fmt: skip

    def progress(self, video: str, percentage: int) -> None:
        request = self.requests[video]
        names = request.model_dump(include={"job_id", "video_id", "root", "dispatch_id", "fetch_id"})
        told = Progress(current=percentage, total=100, percentage=percentage, message="x" * 200_000)
        self.jobs.parts.subscribers.progressed(e.DownloadProgress(**names, progress=told))

    async def rest(self) -> View:
        """Return the state from REST."""
        async with self.http.get(self.url) as response:
            detail = (await response.json())["data"]
        return View(detail["job"], {item["video_id"]: item for item in detail["items"]})

    async def follow(self, view: View, *, most: int = 10**6) -> View:
        """Follow from the last known event to the end, or for `most` messages."""
        headers = {"Last-Event-ID": view.last_id} if view.last_id else {}
        name, id = "", ""
        async with self.http.get(f"{self.url}/events", headers=headers) as response:
            assert response.status == 200
            async for raw in response.content:
                key, _, value = raw.decode().strip().partition(": ")
                if key == "event":
                    name = value
                elif key == "id":
                    id = value
                elif key == "data":
                    view.take(name, json.loads(value), id)
                    most -= 1
                    if name == "end" or not most:
                        break
        return view


@pytest.fixture
async def job(config: Config, broker: BusSettings) -> AsyncIterator[ScriptedJob]:
    jobs = JobsService(config, broker)
    await jobs.startup()
    bus = await connect_bus(broker, source="storage/1")
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, read_bufsize=1024**2) as http:
        yield ScriptedJob(jobs, bus, http)
    await bus.close()
    await jobs.shutdown(5)


def groups() -> list[list[str]]:
    return [VIDEOS[n::ROUNDS] for n in range(ROUNDS)]


async def test_subscribers_that_join_at_any_time_end_with_the_same_state(job: ScriptedJob) -> None:
    """They join at the start, after each step, and after the end."""
    await job.begin()
    following = [asyncio.create_task(job.follow(View()))]
    await job.listed()
    following.append(asyncio.create_task(job.follow(View())))
    for group in groups():
        await job.end(group)
        following.append(asyncio.create_task(job.follow(View())))
    async with asyncio.timeout(8):  # less than the keep-alive interval: the events were sent at once
        views = [await task for task in following]
    expected = await job.rest()
    assert expected.job["status"] == "completed"
    assert {item["status"] for item in expected.items.values()} == {"archived", "unavailable"}
    for view in views:
        assert (view.job, view.items) == (expected.job, expected.items)
    assert "job" in views[0].names[:-2]  # the first subscriber received the changes


async def test_a_repeatedly_interrupted_subscriber_misses_nothing(job: ScriptedJob) -> None:
    """Disconnect after every message, also between the items of a change and its job."""
    await job.begin()
    await job.listed()
    view = await job.follow(View(), most=2)
    assert view.names == ["snapshot", "items"]
    for group in groups():
        await job.end(group)
        expected = await job.rest()
        async with asyncio.timeout(8):  # less than the keep-alive interval: the events were sent at once
            while view.job["revision"] < expected.job["revision"]:
                await job.follow(view, most=1)
    await job.follow(view)
    expected = await job.rest()
    assert (view.job, view.items) == (expected.job, expected.items)
    assert view.names.count("snapshot") == 1
    assert len(set(view.changes)) == len(view.changes)  # no change was sent twice


@pytest.mark.parametrize("most", [2, 10**6])
async def test_a_snapshot_sent_in_parts_survives_an_interruption_between_them(job: ScriptedJob, most: int) -> None:
    many = [f"large{n:06d}" for n in range(2_100)]  # more than fit into two messages
    await job.begin(many)
    await job.listed()
    async with job.http.post(f"{job.url}/cancel", json={}) as response:
        assert response.status == 200
    await job.follow(View())
    view = View()
    async with asyncio.timeout(60):
        while not view.ended:
            await job.follow(view, most=most)
    assert {video: item["status"] for video, item in view.items.items()} == dict.fromkeys(many, "cancelled")
    assert view.job["counts"]["cancelled"] == len(many)
    assert len(view.changes) == len(many)


@pytest.mark.parametrize("last", ["9" * 6000, "9" * 19, "-1", "x", "1.5", "٣", "0", "", "1 OR 1"])
async def test_an_unknown_last_event_id_returns_the_whole_state(job: ScriptedJob, last: str) -> None:
    await job.begin()
    await job.listed()
    for group in groups():
        await job.end(group)
    view = await job.follow(View(last_id=last))
    expected = await job.rest()
    assert view.job == expected.job
    if last != "٣":  # Python reads it as a number, and the job has that revision
        assert view.items == expected.items


async def test_two_hundred_subscribers_receive_the_end(job: ScriptedJob) -> None:
    few = VIDEOS[:8]  # every change is read two hundred times
    await job.begin(few)
    following = [asyncio.create_task(job.follow(View())) for _ in range(200)]
    await job.listed()
    for video in few:
        await job.end([video])
    async with asyncio.timeout(60):
        views = await asyncio.gather(*following)
    expected = await job.rest()
    assert all(view.job == expected.job for view in views)
    assert all(view.items == expected.items for view in views)
    assert job.jobs.parts.subscribers._by_job == {}


async def _subscribe_without_reading(job: ScriptedJob) -> asyncio.StreamWriter:
    """Open a subscription that is never read."""
    place = urlsplit(job.url)
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, (place.hostname, place.port))
    _reader, writer = await asyncio.open_connection(sock=narrow, limit=1)
    transport = writer.transport
    assert isinstance(transport, asyncio.ReadTransport)
    await asyncio.sleep(0)  # the transport begins to read in the next loop iteration
    transport.pause_reading()
    writer.write(f"GET {place.path}/events HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
    await writer.drain()
    return writer


async def test_a_subscriber_that_never_reads_blocks_no_other_and_keeps_no_backlog(job: ScriptedJob) -> None:
    """Progress arrives faster than it can be read; for a stalled subscriber only the newest is kept."""
    await job.begin()
    with ExitStack() as ends:
        stalled = [await _subscribe_without_reading(job) for _ in range(5)]
        for writer in stalled:
            ends.callback(writer.close)
        await job.listed()
        following = asyncio.create_task(job.follow(View()))
        await job.end([])
        await job.start()
        subscribers = [one for some in job.jobs.parts.subscribers._by_job.values() for one in some]
        percentage = 0
        async with asyncio.timeout(60):  # until all sockets are full
            while sum(len(one._progress) == len(VIDEOS) for one in subscribers) < len(stalled):
                percentage += 1
                for video in VIDEOS:
                    job.progress(video, percentage)
                for _ in range(50):
                    await asyncio.sleep(0)  # let the subscribers run
        for group in groups():
            await job.end(group)
        assert not any(one._progress for one in subscribers)  # progress of ended dispatches is dropped
        async with asyncio.timeout(60):
            view = await following
        expected = await job.rest()
        assert (view.job, view.items) == (expected.job, expected.items)
