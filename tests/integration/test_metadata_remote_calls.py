"""Calls of the metadata service to the Data API and the site: retries, timeouts and circuit breakers."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from bus import Bus, BusSettings, Handlers
from services.common.domain.replies import ClaimAnswer, ClaimVerdict
from services.common.domain.videos import Target, TargetKind
from services.common.events import DownloadClaim, JobQueued, ListingFailed, SourceBlocked
from services.common.infra.resilience import RemoteHosts
from services.common.messaging import connect_bus
from services.common.models import JobOptions, JobType
from services.common.settings.load import Config
from services.common.settings.retry_policy import SPEC, RetryPolicy
from services.metadata.data_api.client import DataApi
from services.metadata.data_api.errors import ApiRefused
from services.metadata.data_api.quota import Budget
from services.metadata.data_api.quota_store import QuotaStore
from services.metadata.service import MetadataService
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

KEY = "a-key-of-the-tests"
SITE = "www.youtube.com"


@pytest.fixture
def config(config: Config, emulator: EmulatorClient) -> Config:
    youtube = {
        "proxy": emulator.proxy_url,
        "ca_file": Path(str(emulator.ca_file)),
        "api_endpoint": emulator.api_endpoint,
    }
    return config.model_copy(update={"youtube": config.youtube.model_copy(update=youtube)})


def with_key(config: Config) -> Config:
    return config.model_copy(update={"youtube": config.youtube.model_copy(update={"api_key": SecretStr(KEY)})})


@pytest.fixture
async def jobs(broker: BusSettings) -> AsyncIterator[Bus]:
    """A stand-in for jobs that allows every claim."""
    bus = await connect_bus(broker, source="jobs/test")
    table = Handlers("jobs")

    @table.answer(DownloadClaim)
    async def answer(_claim: DownloadClaim, _context: None) -> ClaimAnswer:
        return ClaimAnswer(verdict=ClaimVerdict.GO)

    await bus.serve(table, None)
    yield bus
    await bus.stop_serving(1)
    await bus.close()


class MetadataClient:
    def __init__(self, service: MetadataService, http: aiohttp.ClientSession) -> None:
        self._service = service
        self._http = http

    async def ask(self, path: str) -> tuple[int, dict[str, Any], str | None]:
        """Return the status, the body and the Retry-After header."""
        async with self._http.get(f"{self._service.url}/api/v1/{path}") as response:
            return response.status, await response.json(), response.headers.get("Retry-After")

    async def look_up(self, video_id: str) -> dict[str, Any]:
        status, answer, _ = await self.ask(f"metadata/video/{video_id}")
        assert status == 200, answer
        data: dict[str, Any] = answer["data"]
        return data

    async def breakers(self) -> dict[str, Any]:
        _status, answer, _ = await self.ask("health")
        found: dict[str, Any] = answer["data"]["metrics"]["breakers"]
        return found

    async def metrics(self) -> list[str]:
        async with self._http.get(f"{self._service.url}/api/v1/metrics") as response:
            return (await response.text()).splitlines()


@asynccontextmanager
async def running_metadata(config: Config, broker: BusSettings, hosts: RemoteHosts) -> AsyncIterator[MetadataClient]:
    service = MetadataService(config, broker, hosts=hosts)
    await service.startup()
    try:
        async with aiohttp.ClientSession() as http:
            yield MetadataClient(service, http)
    finally:
        await service.shutdown(5)


def api_calls(emulator: EmulatorClient) -> int:
    return len(emulator.log(kind="data_api"))


@pytest.mark.usefixtures("jobs")
@pytest.mark.claim("7.3", "7.4", "7.5", "7.6", "7.7", "7.8")
async def test_a_failing_data_api_opens_its_breaker_and_the_site_is_used_instead(
    config: Config, broker: BusSettings, emulator: EmulatorClient, clock: Any
) -> None:
    emulator.add_fault("data_api", "status", status=503)
    host = emulator.api_endpoint.removeprefix("http://")
    async with running_metadata(with_key(config), broker, RemoteHosts(clock=clock)) as client:
        assert (await client.look_up(sample.VIDEO_OK))["title"]
        assert api_calls(emulator) == 3
        first, second = clock.slept
        assert 2 <= first <= 3
        assert 4 <= second <= 5
        assert (await client.look_up(sample.VIDEO_480P))["title"]
        assert api_calls(emulator) == 5  # the fifth failure in a row was the last one
        opened = await client.breakers()
        assert (opened[host]["state"], opened[host]["failures"]) == ("open", 5)
        assert opened[host]["until"] > clock.now().isoformat()
        assert opened[SITE] == {"state": "closed", "failures": 0, "until": None, "retries": 0}
        assert (await client.look_up(sample.VIDEO_2160P))["title"]
        assert api_calls(emulator) == 5
        told = await client.metrics()
        assert f'ytarchive_breaker_state{{host="{host}",service="metadata"}} 2.0' in told
        assert f'ytarchive_breaker_state{{host="{SITE}",service="metadata"}} 0.0' in told
        assert f'ytarchive_retries_total{{host="{host}",service="metadata"}} 3.0' in told

        emulator.clear_faults()
        clock.seconds += 60.01  # the clock has a fraction of jitter
        assert (await client.breakers())[host]["state"] == "half_open"
        assert (await client.look_up(sample.VIDEO_LARGE))["title"]
        assert api_calls(emulator) == 6
        assert (await client.breakers())[host]["state"] == "closed"


@pytest.mark.claim("7.5")
@pytest.mark.usefixtures("jobs")
async def test_a_500_of_the_data_api_is_not_retried(
    config: Config, broker: BusSettings, emulator: EmulatorClient, clock: Any
) -> None:
    emulator.add_fault("data_api", "status", status=500)
    async with running_metadata(with_key(config), broker, RemoteHosts(clock=clock)) as client:
        assert (await client.look_up(sample.VIDEO_OK))["title"]
    assert api_calls(emulator) == 1


@pytest.mark.usefixtures("jobs")
async def test_a_retry_after_of_the_data_api_is_honored_up_to_the_longest_wait(
    config: Config, broker: BusSettings, emulator: EmulatorClient, clock: Any
) -> None:
    emulator.add_fault("data_api", "status", status=429, retry_after=11, times=1)
    emulator.add_fault("data_api", "status", status=503, retry_after=31, times=1)  # longer than the longest wait
    async with running_metadata(with_key(config), broker, RemoteHosts(clock=clock)) as client:
        assert (await client.look_up(sample.VIDEO_OK))["title"]
    assert api_calls(emulator) == 2
    assert clock.slept == [11.0]


async def test_429_of_the_site_is_a_site_wide_block_and_opens_the_breaker(
    config: Config, broker: BusSettings, emulator: EmulatorClient, clock: Any, jobs: Bus
) -> None:
    emulator.add_fault("*", "status", status=429)
    async with (
        running_metadata(config, broker, RemoteHosts(RetryPolicy(failures=2), clock)) as client,
        jobs.tail(SourceBlocked) as told,
    ):
        for video_id in (sample.VIDEO_OK, sample.VIDEO_480P):
            status, answer, retry_after = await client.ask(f"metadata/video/{video_id}")
            assert (status, answer["error"]["code"]) == (503, "E006")
            assert answer["error"]["details"]["kind"] == "site_wide"
            assert answer["error"]["details"]["reason"] == "http_429"
            assert retry_after
            assert SourceBlocked.read(await anext(told)).reason == "http_429"
        emulator.clear_log()
        status, answer, retry_after = await client.ask(f"metadata/video/{sample.VIDEO_2160P}")
        assert (status, answer["error"]["code"]) == (503, "E006")
        assert answer["error"]["details"]["reason"] == "breaker_open"
        assert SITE in answer["error"]["message"]
        assert retry_after
        async with asyncio.timeout(60):
            status, answer, _ = await client.ask(f"metadata/playlist/{sample.PLAYLIST_3}")
        assert (status, answer["error"]["details"]["reason"]) == (503, "breaker_open")
        assert emulator.log() == []  # no request was sent
        assert (await client.breakers())[SITE]["state"] == "open"
        emulator.clear_faults()
        clock.seconds += 60.01  # the clock has a fraction of jitter
        assert (await client.look_up(sample.VIDEO_OK))["title"]
        assert (await client.breakers())[SITE] == {"state": "closed", "failures": 0, "until": None, "retries": 0}


async def test_a_listing_deferred_by_an_open_breaker_costs_no_attempt(
    config: Config, broker: BusSettings, emulator: EmulatorClient, clock: Any, jobs: Bus
) -> None:
    clock.seconds = (time.time() - clock.now().timestamp()) + clock.seconds  # published times are times of day
    emulator.add_fault("*", "status", status=429)
    async with (
        running_metadata(config, broker, RemoteHosts(RetryPolicy(failures=1), clock)) as client,
        jobs.tail(ListingFailed) as told,
    ):
        await client.ask(f"metadata/video/{sample.VIDEO_OK}")
        emulator.clear_log()
        queued = JobQueued(
            job_id="job-1",
            type=JobType.PLAYLIST_DOWNLOAD,
            root="/archive",
            options=JobOptions(),
            target=Target(kind=TargetKind.PLAYLIST, id=sample.PLAYLIST_3),
            target_index=0,
            listing=1,
        )
        await jobs.publish(queued, trace_id="held-back")
        failed = ListingFailed.read(await anext(told))
        until = (await client.breakers())[SITE]["until"]
    assert (failed.spent, failed.final, failed.error.code) == (False, False, "E006")
    assert failed.error.details == {"kind": "passing", "reason": "breaker_open"}
    assert failed.retry_after is not None
    assert failed.retry_after.isoformat() == until
    assert emulator.log() == []


# --- connections of the Data API: its client blocks in a thread, so these tests need the real clock -------------------


@contextmanager
def listening(queue: int) -> Iterator[tuple[socket.socket, str]]:
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        server.listen(queue)
        yield server, f"http://127.0.0.1:{server.getsockname()[1]}"


async def seconds_until_timeout(endpoint: str, jobs: Bus, policy: RetryPolicy) -> float:
    api = DataApi(endpoint, QuotaStore(jobs, Budget(100, 0)), RemoteHosts(policy))
    await api.prepare()  # building the client is not part of the measured call
    began = time.monotonic()
    with pytest.raises(ApiRefused, match="does not answer") as refused:
        await api.list(KEY, "videos", part="id", id=sample.VIDEO_OK)
    assert refused.value.status is None
    return time.monotonic() - began


@pytest.mark.claim("7.1")
async def test_the_data_api_has_separate_connect_and_read_timeouts(jobs: Bus) -> None:
    policy = RetryPolicy(connect=0.3, read=1.5, max_attempts=1)
    with listening(100) as (_server, endpoint):
        assert 1.5 <= await seconds_until_timeout(endpoint, jobs, policy) < 10
    policy = RetryPolicy(connect=0.3, read=60, max_attempts=1)
    with listening(0) as (server, endpoint):  # once the queue is full, the kernel drops new connections
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        assert 0.3 <= await seconds_until_timeout(endpoint, jobs, policy) < 10
        for one in waiting:
            one.close()


@pytest.mark.claim("7.1")
async def test_the_metadata_service_uses_the_specified_retry_policy(config: Config, broker: BusSettings) -> None:
    assert MetadataService(config, broker).hosts.policy is SPEC


async def test_each_attempt_opens_one_connection(jobs: Bus, clock: Any) -> None:
    """Neither the client library nor httplib2 retries on its own."""
    seen = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ledger = QuotaStore(jobs, Budget(100, 0))
        api = DataApi(endpoint, ledger, RemoteHosts(clock=clock))
        with pytest.raises(ApiRefused, match="does not answer"):
            await api.list(KEY, "videos", part="id", id=sample.VIDEO_OK)
    assert seen == 3
    assert (await ledger.today(KEY)).used == 3  # each attempt costs quota
