"""A used-up quota in jobs, metadata and storage: without `keyless_fallback` a job waits for the reset and then resumes.

An egress that jobs has blocked is blocked for lookups, too.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
from pydantic import SecretStr

from bus import Bus, BusSettings
from services.common.domain.jobs import Job
from services.common.events import JobCompleted, JobCreated, ListingFailed, SourceBlocked
from services.common.messaging import connect_bus
from services.common.models import JobStatus, JobType
from services.common.service import ServiceBase
from services.common.settings.load import Config
from services.common.youtube.egress import egress_of
from services.jobs.service import JobsService
from services.metadata.service import MetadataService
from services.storage.service import StorageService
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

KEY = "a-key-of-the-tests"
LIST = "PLemulator00000000000000000000060"
LATE = timedelta(seconds=2)
Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


class Zone(tzinfo):
    """A time zone whose day ends when the test requires it."""

    offset = timedelta(0)

    def midnight_in(self, seconds: float) -> datetime:
        end = datetime.now(UTC) + timedelta(seconds=seconds)
        since = timedelta(hours=end.hour, minutes=end.minute, seconds=end.second, microseconds=end.microsecond)
        self.offset = -since if since < timedelta(hours=12) else timedelta(hours=24) - since
        return end

    def utcoffset(self, _when: datetime | None) -> timedelta:
        return self.offset

    def dst(self, _when: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, _when: datetime | None) -> str:
        return "test"


@pytest.fixture
def config(config: Config, emulator: EmulatorClient) -> Config:
    emulator.put_playlist(LIST, count=60, channel=sample.CHANNEL)
    youtube = {
        "proxy": emulator.proxy_url,
        "ca_file": Path(str(emulator.ca_file)),
        "api_endpoint": emulator.api_endpoint,
        "api_key": SecretStr(KEY),
        "keyless_fallback": False,
        "egress": "a-test",
    }
    return config.model_copy(update={"youtube": config.youtube.model_copy(update=youtube)})


@dataclass(frozen=True)
class RunningServices:
    jobs: JobsService
    metadata: MetadataService


@asynccontextmanager
async def running_services(config: Config, broker: BusSettings, zone: Zone) -> AsyncIterator[RunningServices]:
    jobs, metadata = JobsService(config, broker), MetadataService(config, broker, quota_zone=zone, quota_late=LATE)
    services: list[ServiceBase] = [jobs, StorageService(config, broker), metadata]
    try:
        for service in services:
            await service.startup()
        yield RunningServices(jobs, metadata)
    finally:
        for service in reversed(services):
            await service.shutdown(5)


@pytest.fixture
async def client(broker: BusSettings) -> AsyncIterator[Bus]:
    bus = await connect_bus(broker, source="cli/test")
    yield bus
    await bus.close()


async def create(bus: Bus) -> str:
    job_id = str(uuid4())
    await bus.publish(JobCreated(job_id=job_id, type=JobType.METADATA_ONLY, targets=(LIST,)), trace_id=job_id)
    return job_id


async def test_without_keyless_fallback_a_job_waits_for_the_quota_reset_and_resumes(
    config: Config, broker: BusSettings, client: Bus, emulator: EmulatorClient
) -> None:
    zone = Zone()
    emulator.set_quota_left(4)  # enough for the playlist, a page with its videos, and a second page
    async with (
        running_services(config, broker, zone),
        client.tail(ListingFailed, JobCompleted) as told,
        asyncio.timeout(60),
    ):
        reset = zone.midnight_in(5)
        job_id = await create(client)
        failed = ListingFailed.read(await anext(told))
        emulator.set_quota_left(None)
        emulator.clear_log()
        completed = JobCompleted.read(await anext(told))
    assert (failed.job_id, failed.error.code, failed.spent, failed.final) == (job_id, "E001", False, False)
    assert failed.retry_after is not None
    assert abs(failed.retry_after - reset - LATE) < timedelta(seconds=1)
    assert failed.cursor == f"data_api/{LIST}/50@PT50"
    assert completed.job.finished_at is not None
    assert completed.job.finished_at >= reset - timedelta(seconds=1)
    assert (completed.job.counts.archived, completed.job.counts.total) == (60, 60)
    assert {entry["kind"] for entry in emulator.log()} == {"data_api"}
    asked = [entry["path"].rpartition("/")[2] for entry in emulator.log()]
    assert asked == ["playlists", "playlistItems", "videos"]  # only the second page


async def test_a_job_that_waits_for_the_quota_reports_its_retry_time(
    config: Config, broker: BusSettings, client: Bus, emulator: EmulatorClient, eventually: Eventually
) -> None:
    zone = Zone()
    reset = zone.midnight_in(7200)
    emulator.set_quota_left(0)
    async with running_services(config, broker, zone) as up, aiohttp.ClientSession() as http:
        job_id = await create(client)
        found: list[Job] = []

        async def waits() -> bool:
            async with http.get(f"{up.jobs.url}/api/v1/jobs/{job_id}") as response:
                answer = await response.json()
            if not answer["success"]:
                return False
            found.append(Job.model_validate(answer["data"]["job"]))
            return found[-1].status is JobStatus.RETRYING

        await eventually(waits)
        async with http.get(f"{up.metadata.url}/api/v1/metadata/playlist/{LIST}") as response:
            answer = await response.json()
            assert (response.status, answer["error"]["code"]) == (429, "E001")
            assert abs(int(response.headers["Retry-After"]) - 7200) < 120
    assert found[-1].retry_at is not None
    assert abs(found[-1].retry_at - reset - LATE) < timedelta(seconds=1)
    assert [entry["kind"] for entry in emulator.log()] == ["data_api"]


async def test_a_blocked_egress_is_blocked_for_lookups_too(
    config: Config, broker: BusSettings, emulator: EmulatorClient, eventually: Eventually
) -> None:
    keyless = config.model_copy(update={"youtube": config.youtube.model_copy(update={"api_key": None})})
    until = datetime.now(UTC) + timedelta(minutes=10)
    egress = egress_of(config.youtube.proxy, name="a-test")
    download = await connect_bus(broker, source="download/test")
    async with running_services(keyless, broker, Zone()) as up, aiohttp.ClientSession() as http:
        url = f"{up.metadata.url}/api/v1/metadata/playlist/{sample.PLAYLIST_3}"
        async with http.get(url) as response:
            assert response.status == 200
        emulator.clear_log()
        await download.publish(SourceBlocked(egress=egress, reason="bot_check", until=until), trace_id="block")
        answers: list[tuple[int, str]] = []

        async def refused() -> bool:
            async with http.get(f"{up.metadata.url}/api/v1/metadata/channel/{sample.CHANNEL}") as response:
                answers.append((response.status, response.headers.get("Retry-After", "")))
            return response.status == 503

        await eventually(refused)
        asked = len(emulator.log())
        await refused()
        assert len(emulator.log()) == asked
        assert 500 < int(answers[-1][1]) <= 600
        async with http.get(url) as response:  # a cached page needs no permit
            assert response.status == 200
    await download.close()
