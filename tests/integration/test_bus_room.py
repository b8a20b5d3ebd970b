"""The room in the stream EVENTS: what holds it, what no longer begins when little is left, and what health shows."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bus import BrokerUnavailable, Bus, BusSettings, EmbeddedServer, Handlers
from bus.embedded.program import find_server
from bus.streams.configuration import EVENTS
from bus.streams.durables import UndeclaredDurables, declared_by
from services.common import events as e
from services.common.domain.jobs import Job
from services.common.domain.replies import ClaimAnswer, ClaimVerdict
from services.common.messaging import SCHEMA
from services.common.settings.load import Config
from services.jobs.service import JobsService
from services.logging.service import LoggingService
from tests.conftest import Eventually

Connect = Callable[..., Awaitable[Bus]]
JOBS, HEALTH = "/api/v1/jobs", "/api/v1/health"


@pytest.fixture
def broker_settings() -> BusSettings:
    return BusSettings(url="nats://unset", ack_wait=1.0, events_max_bytes=1024**2, logs_max_bytes=1024**2)


@asynccontextmanager
async def running(config: Config, settings: BusSettings) -> AsyncIterator[JobsService]:
    service = JobsService(config, settings)
    await service.startup()
    try:
        yield service
    finally:
        await service.shutdown(2)


def storage_table() -> Handlers:
    table = Handlers("storage")

    @table.on(e.SourceBlocked, slots=16)
    async def read(_event: e.SourceBlocked) -> None: ...

    return table


async def fill(bus: Bus, number: int, size: int = 32_768, patience: float = 5.0) -> None:
    """Publish events of 32 KiB; the stream holds 31 of them."""
    for index in range(number):
        event = e.SourceBlocked(egress=f"e{index}", reason="x" * size, until=datetime(2026, 1, 1, tzinfo=UTC))
        await bus.publish(event, trace_id="t", patience=patience)


async def ask(http: aiohttp.ClientSession, method: str, url: str, **words: Any) -> tuple[int, Any]:
    async with http.request(method, url, **words) as response:
        return response.status, await response.json()


async def test_no_new_work_begins_while_a_stopped_service_holds_the_stream(
    config: Config, nats_server: EmbeddedServer, connect: Connect, eventually: Eventually
) -> None:
    """Room is left to end what runs, and health names the service that is missing."""
    storage = await connect("storage")
    await storage.serve(storage_table())
    await storage.stop_serving(1)
    metadata = await connect("metadata")
    async with running(config, nats_server.settings) as jobs, aiohttp.ClientSession() as http:
        order = {"targets": ["PL" + "a" * 16], "job_id": "before"}
        assert (await ask(http, "POST", jobs.url + JOBS, json=order))[0] == 201
        await fill(metadata, 26)

        status, told = await ask(http, "GET", jobs.url + HEALTH)
        assert status == 503
        (error,) = told["error"]["details"]["critical_errors"]
        assert "the durable storage-source_blocked holds it with 26 open messages" in error
        assert "start the storage service" in error
        assert told["data"]["checks"]["dependencies_available"], "events of running work are stored"

        status, told = await ask(http, "POST", jobs.url + JOBS, json=order | {"job_id": "after"})
        assert (status, told["error"]["code"]) == (503, "E006")
        assert "start the storage service" in told["error"]["message"]

        async def waiting() -> str | None:
            job = Job.model_validate((await ask(http, "GET", f"{jobs.url}{JOBS}/before"))[1]["data"]["job"])
            return job.waiting_for

        claim = e.DownloadClaim(instance="m", egress="e", job_id="before", listing=1)
        answer = await metadata.request(claim, ClaimAnswer, trace_id="t", timeout=5)
        assert answer.verdict is ClaimVerdict.WAIT
        assert (await ask(http, "POST", f"{jobs.url}{JOBS}/before/pause"))[0] == 200, "this begins nothing"
        reason = await eventually(waiting)
        assert reason == answer.reason
        assert "start the storage service" in str(reason)

        await storage.serve(storage_table())

        async def well() -> bool:
            return (await ask(http, "GET", jobs.url + HEALTH))[0] == 200

        await eventually(well)
        assert (await ask(http, "POST", jobs.url + JOBS, json=order | {"job_id": "after"}))[0] == 201


async def test_a_service_starts_while_the_stream_is_full(
    config: Config, nats_server: EmbeddedServer, connect: Connect
) -> None:
    """It may be the one that makes room."""
    storage = await connect("storage")
    await storage.serve(storage_table())
    await storage.stop_serving(1)
    with pytest.raises(BrokerUnavailable):
        await fill(await connect("metadata"), 40, patience=0.2)
    with pytest.raises(BrokerUnavailable):
        await fill(await connect("metadata"), 100, size=100, patience=0.2)
    service = LoggingService(config, nats_server.settings)
    await service.startup()
    assert "% full" in str(await service.bus_problem(new_work=False))
    await service.shutdown(1)


async def test_a_broker_without_jetstream_is_unhealthy_and_refuses_requests_at_once(
    config: Config, nats_server: EmbeddedServer, tmp_path: Path, eventually: Eventually
) -> None:
    settings = nats_server.settings
    assert settings.token is not None
    async with running(config, settings) as jobs, aiohttp.ClientSession() as http:
        await nats_server.stop()
        words = ["-a", "127.0.0.1", "-p", settings.url.rpartition(":")[2], "--auth", settings.token.get_secret_value()]
        bare = await asyncio.create_subprocess_exec(find_server(), *words, stderr=asyncio.subprocess.DEVNULL)
        try:

            async def named() -> bool:  # once the lost connection was noticed and replaced
                status, told = await ask(http, "GET", jobs.url + HEALTH)
                errors = told["error"]["details"]["critical_errors"] if status == 503 else []
                return len(errors) == 1 and "has no JetStream: switch it on" in errors[0]

            await eventually(named)
            began = time.monotonic()
            status, told = await ask(http, "POST", jobs.url + JOBS, json={"targets": ["dQw4w9WgXcQ"]})
            assert status == 503
            assert "has no JetStream: switch it on" in told["error"]["message"]
            assert time.monotonic() - began < 5
        finally:
            bare.terminate()
            await bare.wait()


async def test_a_durable_that_nobody_declares_is_named_and_removed_when_it_is_not_read(
    connect: Connect, eventually: Eventually
) -> None:
    bus = await connect("storage")
    await bus.serve(storage_table())
    removed = Handlers("storage")

    @removed.on(e.SourceCleared)
    async def read(_event: e.SourceCleared) -> None: ...

    old = await connect("storage")
    await old.serve(removed)
    await old.stop_serving(1)
    await bus.publish(e.SourceCleared(egress="e"), trace_id="t")
    declared = declared_by(SCHEMA, [storage_table()])

    async def look(undeclared: UndeclaredDurables) -> set[str]:
        await undeclared.look(bus.js, await bus.js.stream_info(EVENTS), await bus.js.consumers_info(EVENTS), declared)
        return {one.name for one in await bus.js.consumers_info(EVENTS)}

    names = {"storage-source_blocked", "storage-source_cleared"}
    recent, late = UndeclaredDurables(), UndeclaredDurables(timedelta(0))
    assert await look(recent) == names
    assert recent.found == {"storage-source_cleared": 1}
    await old.serve(removed)

    async def read_again() -> bool:
        return bool((await bus.js.consumer_info(EVENTS, "storage-source_cleared")).num_waiting)

    await eventually(read_again)
    assert await look(late) == names, "another version reads it"
    await old.stop_serving(1)
    assert await look(late) == {"storage-source_blocked"}
    assert late.found == {}
