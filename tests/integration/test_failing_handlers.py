"""Handlers that raise six times: the message becomes a dead letter, and what depends on it ends with E999.

The handlers are the real ones, and a file in place of a folder makes them raise. Where no data can do that, the service
is left out of the stack, and handlers of the test replace it on the real bus.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

from bus import Bus, Event, Handlers
from services.common import events as e
from services.common.domain.registry import ServiceInfo
from services.common.events import DeadLettered
from services.common.messaging import connect_bus
from services.common.models import ErrorCode
from services.common.names import SERVICES
from services.common.settings.load import Config
from tests.fixtures.emulated import emulated_config
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample
from ytarchive.stack import Stack

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]
VIDEO = sample.VIDEO_OK


class Broken(Exception):
    """The exception that handlers of these tests raise."""


class System:
    """A stack, its REST API, and the dead letters that it published."""

    def __init__(self, stack: Stack, http: aiohttp.ClientSession, bus: Bus, eventually: Eventually) -> None:
        self.stack = stack
        self.root = stack.config.storage.base_path
        self.bus = bus
        self.dead_letters: list[DeadLettered] = []
        self._http = http
        self._eventually = eventually
        self._jobs = f"{stack.services['jobs'].url}/api/v1/jobs"

    async def save(self, *targets: str, type: str = "video_download") -> dict[str, Any]:
        """Create a job and return it at its end."""
        options = {"quality": "144p", "include_captions": False}
        async with self._http.post(self._jobs, json={"targets": targets, "type": type, "options": options}) as response:
            assert response.status == 201, await response.text()
            job_id = (await response.json())["data"]["job_id"]
        return await self.wait_for_end(job_id)

    async def retry(self, job_id: str) -> dict[str, Any]:
        async with self._http.post(f"{self._jobs}/{job_id}/retry", json={}) as response:
            assert response.status == 200, await response.text()
        return await self.wait_for_end(job_id)

    async def wait_for_end(self, job_id: str) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            async with self._http.get(f"{self._jobs}/{job_id}") as response:
                job: dict[str, Any] = (await response.json())["data"]["job"]
            return job if job["status"] in {"completed", "failed", "cancelled"} else None

        found = await self._eventually(look)
        assert isinstance(found, dict)
        return found

    async def items(self, job: dict[str, Any]) -> dict[str, dict[str, Any]]:
        async with self._http.get(f"{self._jobs}/{job['job_id']}/items") as response:
            return {item["video_id"]: item for item in (await response.json())["data"]["items"]}

    async def healthy(self, name: str) -> bool:
        async with self._http.get(f"{self.stack.services[name].url}/api/v1/health") as response:
            checks: dict[str, bool] = (await response.json())["data"]["checks"]
        return checks["no_critical_errors"]

    async def expect_failed_item(self, job: dict[str, Any], video_id: str, consumer: str) -> dict[str, Any]:
        item = (await self.items(job))[video_id]
        assert (item["status"], item["error_code"]) == ("failed", ErrorCode.INTERNAL_ERROR), item
        await self.wait_for_dead_letter(consumer)
        assert not any(dead_letter.unreadable for dead_letter in self.dead_letters)
        return item

    async def wait_for_dead_letter(self, consumer: str) -> None:
        """Wait for a dead letter. The first of several ends the item and the job; the others come later."""

        async def look() -> bool:
            return consumer in {dead_letter.consumer for dead_letter in self.dead_letters}

        await self._eventually(look)


Running = Callable[..., Any]


def plan_of(job: dict[str, Any]) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads(Path(job["work_plan"]).read_text())
    return plan


def block(path: Path) -> None:
    """Replace a file with a folder."""
    path.unlink()
    path.mkdir()


@pytest.fixture(autouse=True)
def brief_logs() -> Iterator[None]:
    """Disable rich tracebacks, which would take most of the time."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()


@pytest.fixture
def running(config: Config, emulator: EmulatorClient, eventually: Eventually) -> Running:
    """`async with running(without="storage") as system`; failed messages are redelivered after 2 s instead of 60 s."""
    chosen = emulated_config(config, emulator, YTARCHIVE_NATS__ACK_WAIT="2")

    @asynccontextmanager
    async def run(*, without: str = "", instead: Sequence[Handlers] = ()) -> AsyncIterator[System]:
        names = [name for name in SERVICES if name != without]
        async with Stack(chosen, names, embedded=True) as stack, aiohttp.ClientSession() as http:
            bus = await connect_bus(stack.settings, source=f"{without or 'test'}/stand-in")
            system = System(stack, http, bus, eventually)
            try:
                for handlers in instead:
                    await bus.serve(handlers, system)
                async with bus.tail(DeadLettered) as told:
                    collecting = asyncio.create_task(_collect(told, system.dead_letters))
                    if without:
                        await bus.publish(_registration(without), trace_id="t")
                    yield system
                    collecting.cancel()
            finally:
                await bus.close()

    return run


async def _collect(told: AsyncIterator[Any], dead_letters: list[DeadLettered]) -> None:
    async for envelope in told:
        dead_letters.append(DeadLettered.read(envelope))


def _registration(name: str) -> e.ServiceRegistered:
    info = ServiceInfo(
        name=name, instance="stand-in", url="http://x", version="1", pid=os.getpid(), slots=1, free_slots=1,
        egress="e", started_at=datetime.now(UTC),
    )  # fmt: skip
    return e.ServiceRegistered(instance="stand-in", service=info)


# --- storage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type", ["metadata_only", "video_download"])
async def test_metadata_that_cannot_be_stored_fail_the_item(
    running: Running, type: str, eventually: Eventually
) -> None:
    async with running() as system:
        (system.root / "metadata").mkdir(parents=True)
        (system.root / "metadata" / "videos").write_text("a file where a folder must be")
        job = await system.save(VIDEO, type=type)
        assert job["status"] == "completed"
        await system.expect_failed_item(job, VIDEO, "storage-metadata_fetched")
        plan = plan_of(job)
        assert plan["failed_downloads"][0]["errors"][-1]["code"] == ErrorCode.INTERNAL_ERROR

        async def unhealthy() -> bool:
            return not await system.healthy("storage")

        await eventually(unhealthy)  # a failed handler is a critical error of the service

        (system.root / "metadata" / "videos").unlink()
        again = await system.retry(job["job_id"])
        # skipped if the redelivered download has been archived in the meantime
        assert again["counts"]["archived"] + again["counts"]["skipped"] == 1, again


async def test_a_listing_page_that_cannot_be_checked_fails_its_items(running: Running) -> None:
    other = sample.VIDEO_480P
    async with running() as system:
        assert (await system.save(VIDEO))["counts"]["archived"] == 1
        folder = system.root / "videos" / VIDEO
        aside = folder.rename(folder.with_name("aside"))
        folder.symlink_to(folder)  # a loop: storage cannot check the files that it holds
        job = await system.save(VIDEO, other)
        assert (job["status"], job["counts"]["failed"]) == ("completed", 2)
        for video_id in (VIDEO, other):
            await system.expect_failed_item(job, video_id, "storage-listing_page_fetched")
        folder.unlink()
        aside.rename(folder)
        again = (await system.retry(job["job_id"]))["counts"]
        assert (again["archived"], again["skipped"]) == (1, 1)


async def test_an_unwritable_work_plan_fails_the_item_until_it_is_writable(
    running: Running, emulator: EmulatorClient
) -> None:
    emulator.set_kind(VIDEO, "private")
    async with running() as system:
        job = await system.save(VIDEO)
        assert job["counts"]["unavailable"] == 1
        block(Path(job["work_plan"]))  # the plan cannot be updated once the video is archived
        emulator.set_kind(VIDEO, "ok")
        again = await system.retry(job["job_id"])
        item = await system.expect_failed_item(again, VIDEO, "storage-video_failed")
        assert "video.failed could not be handled" in item["message"]
        for consumer in ("storage-metadata_fetched", "storage-download_completed"):  # in any order
            await system.wait_for_dead_letter(consumer)
        os.rmdir(job["work_plan"])  # noqa: PTH106 - blocks no longer than a stat
        last = await system.retry(job["job_id"])
        assert last["counts"]["skipped"] == 1, "the files were archived before"


# --- services that handlers of the test replace -------------------------------------------------------------------


async def test_a_failing_handler_of_metadata_fails_the_job(running: Running) -> None:
    metadata = Handlers("metadata")

    @metadata.on(e.JobQueued)
    async def list_target(event: e.JobQueued, _system: System) -> None:
        raise Broken(event.job_id)

    async with running(without="metadata", instead=[metadata]) as system:
        job = await system.save(sample.PLAYLIST_3)
        assert (job["status"], job["error"]["code"]) == ("failed", ErrorCode.INTERNAL_ERROR)
        assert "Broken" in job["error"]["message"]
        await system.wait_for_dead_letter("metadata-job_queued")
        assert len(system.dead_letters) == 1


async def test_a_failing_handler_of_download_fails_the_items(running: Running) -> None:
    download = Handlers("download")
    asked: list[str] = []

    @download.on(e.DownloadRequested, slots=2)
    async def fetch(event: e.DownloadRequested, _system: System) -> None:
        asked.append(event.dispatch_id)
        raise Broken(event.video_id)

    async with running(without="download", instead=[download]) as system:
        job = await system.save(VIDEO, sample.VIDEO_480P)
        assert (job["status"], job["counts"]["failed"]) == ("completed", 2)
        for video_id in (VIDEO, sample.VIDEO_480P):
            await system.expect_failed_item(job, video_id, "download-download_requested")
        assert [asked.count(one) for one in set(asked)] == [6, 6]


async def test_an_event_that_the_inbox_of_jobs_cannot_handle_fails_the_item(running: Running) -> None:
    storage = Handlers("storage")

    @storage.on(e.ListingPageFetched)
    async def check(event: e.ListingPageFetched, _system: System) -> AsyncIterator[Event]:
        names = event.model_dump(include={"job_id", "root", "target_index", "listing", "page_key"})
        yield e.ArchiveChecked(**names, entries=event.entries, held=())

    @storage.on(e.VideoFailed)
    async def plan(event: e.VideoFailed, _system: System) -> AsyncIterator[Event]:
        names = event.model_dump(include={"job_id", "number"})
        yield e.WorkPlanUpdated(
            **names, plan_id="p", video_ids=(event.video_id,), path="/p", unavailable=0, failed=1, resolved=0
        )

    async with running(without="storage", instead=[storage]) as system:
        job = await system.save(VIDEO)
        await system.expect_failed_item(job, VIDEO, "jobs-inbox")
        assert {dead_letter.type for dead_letter in system.dead_letters} == {"archive.checked"}
