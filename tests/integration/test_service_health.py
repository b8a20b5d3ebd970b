"""Health of a service: its response, and the problems that it reports."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from bus import Bus, EmbeddedServer
from services.common.events import (
    DeadLettered,
)
from services.common.settings.load import Config
from tests.fixtures.probe_service import HEALTH, RunningProbe, health, queued

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


async def test_the_health_response_has_the_specified_fields(
    running_probe: RunningProbe, web_client: aiohttp.ClientSession
) -> None:
    async with running_probe() as probe, web_client.get(probe.url + HEALTH) as response:
        body = await response.json()
    assert set(body) == {"success", "data", "error", "trace_id"}
    assert set(body["data"]) == {"service", "status", "version", "uptime_seconds", "checks", "metrics"}
    assert body["data"]["service"] == "metadata"
    assert body["data"]["checks"] == {
        "http_responsive": True,
        "dependencies_available": True,
        "no_critical_errors": True,
        "disk_space_available": True,
    }


@pytest.mark.claim("9.6", "10.7", "12.10")
async def test_health_reports_an_unreachable_broker(
    config: Config,
    tmp_path: Path,
    running_probe: RunningProbe,
    web_client: aiohttp.ClientSession,
    eventually: Eventually,
) -> None:
    server = EmbeddedServer(tmp_path / "other")
    settings = await server.start()
    async with running_probe(config, settings) as probe:
        await server.stop()

        async def away() -> bool:
            return not (await health(web_client, probe))["dependencies_available"]

        await eventually(away)
        async with web_client.post(f"{probe.url}/api/v1/things/publish") as response:
            assert response.status == 503
            assert (await response.json())["error"]["code"] == "E006"


@pytest.mark.claim("10.7")
async def test_health_reports_a_failed_background_task_until_its_restart_succeeds(
    running_probe: RunningProbe, web_client: aiohttp.ClientSession
) -> None:
    begun = asyncio.Queue[int]()
    well = asyncio.Event()

    async def watch() -> None:
        begun.put_nowait(1)
        if not well.is_set():
            raise LookupError("gone")

    async with running_probe() as probe:
        task = probe.spawn(watch, "watch")
        await begun.get()
        assert (await health(web_client, probe))["no_critical_errors"] is False
        assert probe.critical_errors() == ["metadata: watch: LookupError: gone"]
        well.set()
        await asyncio.wait_for(begun.get(), 60)  # the second start
        await task
        assert probe.critical_errors() == []
        assert (await health(web_client, probe))["no_critical_errors"] is True
        assert probe.background_failures == 1


async def test_only_an_essential_task_that_fails_repeatedly_is_a_lost_cause(running_probe: RunningProbe) -> None:
    """A one-shot stack stops then, because it would wait without end."""
    begun = asyncio.Queue[int]()

    async def broken() -> None:
        begun.put_nowait(1)
        raise LookupError("gone")

    async with running_probe() as probe:
        probe.spawn(broken, "needed", essential=True)
        probe.spawn(broken, "other")
        for _ in range(4):  # the third start may be of either task
            await asyncio.wait_for(begun.get(), 60)
        assert probe.lost_causes() == []
        while len(lost := probe.lost_causes()) == 0:
            await asyncio.wait_for(begun.get(), 60)
        assert lost == ["metadata: needed: LookupError: gone"]


@pytest.mark.claim("10.7")
async def test_health_reports_dead_letters_of_the_service(
    observer: Bus, running_probe: RunningProbe, web_client: aiohttp.ClientSession, eventually: Eventually
) -> None:
    async with running_probe() as probe, observer.tail(DeadLettered) as told:
        await observer.publish(queued("poison"), trace_id="t")
        dead_letter = DeadLettered.read(await asyncio.wait_for(anext(told), 60))
        assert dead_letter.consumer == "metadata-job_queued"

        async def noticed() -> bool:
            return not (await health(web_client, probe))["no_critical_errors"]

        await eventually(noticed)


@pytest.mark.claim("10.7")
async def test_health_reports_a_full_disk(
    config: Config, running_probe: RunningProbe, web_client: aiohttp.ClientSession
) -> None:
    storage = config.storage.model_copy(update={"min_free": 2**62})
    async with running_probe(config.model_copy(update={"storage": storage})) as probe:
        assert (await health(web_client, probe))["disk_space_available"] is False
