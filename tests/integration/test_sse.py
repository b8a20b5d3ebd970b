"""Subscribers to a job (SSE): late, interrupted, many, slow. All end with the state that REST shows."""

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
from services.common.domain.videos import Entry
from services.common.messaging import connect_bus
from services.common.models import ErrorCode, Progress
from services.common.settings.load import Config
from services.jobs.service import JobsService

VIDEOS = [f"video{n:06d}" for n in range(40)]
ROUNDS = 4  # steps of the story: the videos end in so many groups


@dataclass
class Picture:
    """What a follower knows: the job, and its items by video."""

    job: dict[str, Any] = field(default_factory=dict)
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    changes: list[tuple[str, int]] = field(default_factory=list)  # of items, as they were told
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


class Story:
    """A job whose life the test tells, step by step, straight into the jobs service."""

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
        await self.say(e.ArchiveChecked(**about, page_key="p", entries=entries, held=held))
        await self.say(e.ListingCompleted(**about, page_keys=("p",), total=len(entries)))

    async def say(self, event: Event) -> None:
        await self.jobs.parts.queue.take([Envelope.around(event, source="test/1", trace_id="t")])

    async def end(self, videos: list[str]) -> None:
        """These are dispatched, and all but every fifth of them saved."""
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
            names = request.model_dump(include={"job_id", "video_id", "root", "dispatch_id", "fetch_id"})
            await self.say(e.DownloadStarted(**names, instance="w"))

    async def end_one(self, request: e.DownloadRequested) -> None:
        names = request.model_dump(include={"job_id", "video_id", "root", "dispatch_id"})
        if int(request.video_id[-2:]) % 5:
            held = Held(video_id=request.video_id, qualities=("1080p",), thumbnail=True, metadata=True)
            await self.say(e.VideoArchived(**names, directory="/x", files=(), bytes=1, held=held))
            return
        failure = Failure(kind=FailureKind.GONE, code=ErrorCode.VIDEO_UNAVAILABLE, reason="private", message="private")
        await self.say(e.DownloadFailed(**names, fetch_id=request.fetch_id, failure=failure))
        await self.say(
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

    async def rest(self) -> Picture:
        """What REST says."""
        async with self.http.get(self.url) as response:
            detail = (await response.json())["data"]
        return Picture(detail["job"], {item["video_id"]: item for item in detail["items"]})

    async def follow(self, picture: Picture, *, most: int = 10**6) -> Picture:
        """Go on from what the picture knows, up to the end, or `most` messages."""
        headers = {"Last-Event-ID": picture.last_id} if picture.last_id else {}
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
                    picture.take(name, json.loads(value), id)
                    most -= 1
                    if name == "end" or not most:
                        break
        return picture


@pytest.fixture
async def story(config: Config, broker: BusSettings) -> AsyncIterator[Story]:
    jobs = JobsService(config, broker)
    await jobs.startup()
    bus = await connect_bus(broker, source="storage/1")
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, read_bufsize=1024**2) as http:
        yield Story(jobs, bus, http)
    await bus.close()
    await jobs.shutdown(5)


def groups() -> list[list[str]]:
    return [VIDEOS[n::ROUNDS] for n in range(ROUNDS)]


async def test_whoever_joins_when_ever_ends_with_the_same_picture(story: Story) -> None:
    """From the start, late by one step after the other, and after the end."""
    await story.begin()
    following = [asyncio.create_task(story.follow(Picture()))]
    await story.listed()
    following.append(asyncio.create_task(story.follow(Picture())))
    for group in groups():
        await story.end(group)
        following.append(asyncio.create_task(story.follow(Picture())))
    async with asyncio.timeout(8):  # told, and not only found at the next keep-alive
        pictures = [await task for task in following]
    truth = await story.rest()
    assert truth.job["status"] == "completed"
    assert {item["status"] for item in truth.items.values()} == {"archived", "unavailable"}
    for picture in pictures:
        assert (picture.job, picture.items) == (truth.job, truth.items)
    assert "job" in pictures[0].names[:-2]  # the first saw it grow


async def test_whoever_is_cut_off_again_and_again_misses_nothing(story: Story) -> None:
    """Cut after every message, also between the items of a change and the job that belongs to them."""
    await story.begin()
    await story.listed()
    picture = await story.follow(Picture(), most=2)
    assert picture.names == ["snapshot", "items"]
    for group in groups():
        await story.end(group)
        truth = await story.rest()
        async with asyncio.timeout(8):  # told, and not only found at the next keep-alive
            while picture.job["revision"] < truth.job["revision"]:
                await story.follow(picture, most=1)
    await story.follow(picture)
    truth = await story.rest()
    assert (picture.job, picture.items) == (truth.job, truth.items)
    assert picture.names.count("snapshot") == 1
    assert len(set(picture.changes)) == len(picture.changes)  # what was heard is not told again


@pytest.mark.parametrize("most", [2, 10**6])
async def test_a_large_job_is_told_in_parts_and_a_cut_between_them_loses_none(story: Story, most: int) -> None:
    many = [f"large{n:06d}" for n in range(2_100)]  # more than two messages hold
    await story.begin(many)
    await story.listed()
    async with story.http.post(f"{story.url}/cancel", json={}) as response:
        assert response.status == 200
    await story.follow(Picture())
    picture = Picture()
    async with asyncio.timeout(60):
        while not picture.ended:
            await story.follow(picture, most=most)
    assert {video: item["status"] for video, item in picture.items.items()} == dict.fromkeys(many, "cancelled")
    assert picture.job["counts"]["cancelled"] == len(many)
    assert len(picture.changes) == len(many)


@pytest.mark.parametrize("last", ["9" * 6000, "9" * 19, "-1", "x", "1.5", "٣", "0", "", "1 OR 1"])
async def test_a_last_event_id_that_is_none_of_ours_gives_the_whole_story(story: Story, last: str) -> None:
    await story.begin()
    await story.listed()
    for group in groups():
        await story.end(group)
    picture = await story.follow(Picture(last_id=last))
    truth = await story.rest()
    assert picture.job == truth.job
    if last != "٣":  # a number to Python, and one that the job has
        assert picture.items == truth.items


async def test_two_hundred_listeners_hear_the_end(story: Story) -> None:
    few = VIDEOS[:8]  # each change is read two hundred times
    await story.begin(few)
    following = [asyncio.create_task(story.follow(Picture())) for _ in range(200)]
    await story.listed()
    for video in few:
        await story.end([video])
    async with asyncio.timeout(60):
        pictures = await asyncio.gather(*following)
    truth = await story.rest()
    assert all(picture.job == truth.job for picture in pictures)
    assert all(picture.items == truth.items for picture in pictures)
    assert story.jobs.parts.subscribers._by_job == {}


async def _deaf(story: Story) -> asyncio.StreamWriter:
    """A listener that asks and then never reads."""
    place = urlsplit(story.url)
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, (place.hostname, place.port))
    _reader, writer = await asyncio.open_connection(sock=narrow, limit=1)
    transport = writer.transport
    assert isinstance(transport, asyncio.ReadTransport)
    await asyncio.sleep(0)  # the transport begins to read in the next round
    transport.pause_reading()
    writer.write(f"GET {place.path}/events HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
    await writer.drain()
    return writer


async def test_who_never_reads_holds_nobody_and_keeps_nothing(story: Story) -> None:
    """Progress comes far faster than anybody can read it; the deaf are told the newest only, when they can hear."""
    await story.begin()
    with ExitStack() as ends:
        deaf = [await _deaf(story) for _ in range(5)]
        for writer in deaf:
            ends.callback(writer.close)
        await story.listed()
        following = asyncio.create_task(story.follow(Picture()))
        await story.end([])
        await story.start()
        listeners = [one for some in story.jobs.parts.subscribers._by_job.values() for one in some]
        percentage = 0
        async with asyncio.timeout(60):  # until all sockets are full: stuck, with the newest of each
            while sum(len(one._progress) == len(VIDEOS) for one in listeners) < len(deaf):
                percentage += 1
                for video in VIDEOS:
                    story.progress(video, percentage)
                for _ in range(50):
                    await asyncio.sleep(0)  # the listeners' turn
        for group in groups():
            await story.end(group)
        assert not any(one._progress for one in listeners)  # of what has ended nothing is kept
        async with asyncio.timeout(60):
            picture = await following
        truth = await story.rest()
        assert (picture.job, picture.items) == (truth.job, truth.items)
