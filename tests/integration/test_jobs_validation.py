"""A new job is validated before the transaction: an unresponsive file system delays that job and no other."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from bus import Bus, BusSettings
from services.common import events as e
from services.common.messaging import connect_bus
from services.common.settings.load import Config
from services.jobs.service import JobsService

VIDEO = "aaaaaaaaaaa"
Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


class SlowPath(type(Path())):  # type: ignore[misc]  # the Path of this system
    """A folder on a file system that does not respond until `answers` is set."""

    answers = threading.Event()

    def resolve(self, strict: bool = False) -> Path:
        assert self.answers.wait(120)
        return Path(self).resolve(strict)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[SlowPath]:
    SlowPath.answers = threading.Event()
    path = SlowPath(tmp_path / "nas")
    path.mkdir()
    yield path
    SlowPath.answers.set()  # let the thread end


@pytest.fixture
async def jobs(config: Config, broker: BusSettings, slow: SlowPath) -> AsyncIterator[JobsService]:
    storage = config.storage.model_copy(update={"roots": (slow,)})
    service = JobsService(config.model_copy(update={"storage": storage}), broker)
    await service.startup()
    yield service
    SlowPath.answers.set()
    await service.shutdown(5)


@pytest.fixture
async def bus(broker: BusSettings) -> AsyncIterator[Bus]:
    bus = await connect_bus(broker, source="cli/1")
    yield bus
    await bus.close()


async def status(jobs: JobsService, job_id: str) -> str | None:
    async with aiohttp.ClientSession() as http, http.get(f"{jobs.url}/api/v1/jobs/{job_id}") as answer:
        return (await answer.json())["data"]["job"]["status"] if answer.status == 200 else None


def job(job_id: str, folder: Path | None = None) -> e.JobCreated:
    options = {"output_dir": str(folder)} if folder else {}
    return e.JobCreated(job_id=job_id, targets=(VIDEO,), options=options)


async def test_a_slow_file_system_delays_no_other_job(
    jobs: JobsService, bus: Bus, slow: SlowPath, eventually: Eventually
) -> None:
    await bus.publish(job("slow", slow), trace_id="t")
    await bus.publish(job("fast"), trace_id="t")

    async def created(job_id: str) -> bool:
        return await status(jobs, job_id) is not None

    await eventually(lambda: created("fast"))
    async with aiohttp.ClientSession() as http, http.post(f"{jobs.url}/api/v1/jobs/fast/pause") as answer:
        assert answer.status == 200
    assert not await created("slow")
    await bus.publish(e.JobPauseRequested(job_id="slow"), trace_id="t")  # waits for its job
    SlowPath.answers.set()
    await eventually(lambda: created("slow"))

    async def paused() -> bool:
        async with aiohttp.ClientSession() as http, http.get(f"{jobs.url}/api/v1/jobs/slow") as answer:
            return bool((await answer.json())["data"]["job"]["paused"])

    await eventually(paused)


async def test_a_slow_file_system_delays_no_other_request(jobs: JobsService, slow: SlowPath) -> None:
    async with aiohttp.ClientSession() as http:
        body = {"targets": [VIDEO], "options": {"output_dir": str(slow)}, "job_id": "slow"}
        waiting = asyncio.create_task(http.post(f"{jobs.url}/api/v1/jobs", json=body))
        async with asyncio.timeout(10):
            async with http.post(f"{jobs.url}/api/v1/jobs", json={"targets": [VIDEO], "job_id": "fast"}) as answer:
                assert answer.status == 201
            assert await status(jobs, "slow") is None
            SlowPath.answers.set()
            assert (await waiting).status == 201
