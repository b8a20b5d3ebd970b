"""Life cycle of a service: the order of its start, its registration, and its shutdown."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

from bus import Bus, BusSettings, Envelope
from services.common.domain.registry import ServiceInfo
from services.common.errors import ConfigError, ServiceUnavailable
from services.common.events import (
    ListingCompleted,
    LogRecorded,
    ServiceHeartbeat,
    ServiceRegistered,
    ServiceStopped,
)
from services.common.infra.logs import VERSION
from services.common.settings.load import Config
from tests.fixtures.probe_service import HEALTH, ProbeService, RunningProbe, first, health, queued


@pytest.mark.claim("11.2", "11.7")
async def test_a_service_registers_sends_heartbeats_serves_and_announces_its_stop(
    observer: Bus, running_probe: RunningProbe, web_client: aiohttp.ClientSession
) -> None:
    async with observer.tail(ServiceRegistered, ServiceHeartbeat, ServiceStopped) as told:
        async with running_probe() as probe:
            registered = ServiceRegistered.read(await first(told, ServiceRegistered))
            assert registered.service.url == probe.url
            assert registered.service.version == VERSION
            beat = ServiceHeartbeat.read(await first(told, ServiceHeartbeat))
            assert beat.service.instance == probe.instance == registered.instance
            await probe.announce()
            await first(told, ServiceHeartbeat)
            async with web_client.get(probe.url + HEALTH) as response:
                assert response.status == 200
            assert probe.steps_taken == ["initialize_resources", "after_start"]
        stopped = ServiceStopped.read(await first(told, ServiceStopped))
        assert (stopped.instance, stopped.name) == (probe.instance, "metadata")
    assert probe.steps_taken[-1] == "cleanup_resources"


class StartRecorder(ProbeService):
    """Records each step of its start, and whether the health endpoint responds at that moment."""

    def __init__(self, config: Config, bus: BusSettings) -> None:
        super().__init__(config, bus)
        self.steps: list[tuple[str, bool]] = []
        self.records: list[Any] = []
        self.registered = asyncio.Event()  # set once the event is received

    def validate_environment(self) -> None:
        super().validate_environment()
        self.steps.append(("environment", False))  # the port is bound, but nothing listens

    async def initialize_resources(self) -> Sequence[object]:
        self.steps.append(("resources", await self._answers()))
        return (self,)

    def info(self) -> ServiceInfo:
        if "registration" not in dict(self.steps):
            self.steps.append(("registration", self.accepting))
        return super().info()

    async def after_start(self) -> None:
        await asyncio.wait_for(self.registered.wait(), 60)
        self.steps.append(("serving", await self._answers()))
        assert not [record for record in self.records if record["event"] == "service_started"]

    async def _answers(self) -> bool:
        try:
            async with aiohttp.ClientSession() as client, client.get(self.url + HEALTH) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


@pytest.mark.claim("11.1")
async def test_the_steps_of_a_start_run_in_the_specified_order(
    config: Config, broker: BusSettings, observer: Bus
) -> None:
    """Environment, resources, registration, health endpoint, and finally service_started."""
    recorder = StartRecorder(config, broker)

    async def wait_for_registration(told: AsyncIterator[Envelope]) -> None:
        await first(told, ServiceRegistered)
        recorder.registered.set()

    async with observer.tail(ServiceRegistered) as told:
        waiting = asyncio.create_task(wait_for_registration(told))
        with structlog.testing.capture_logs() as recorder.records:
            await recorder.startup()
        await waiting
    assert recorder.steps == [
        ("environment", False), ("resources", False), ("registration", False), ("serving", True)
    ]  # fmt: skip
    assert [record["event"] for record in recorder.records if record["log_level"] == "info"][-1] == "service_started"
    await recorder.shutdown(5.0)


@pytest.mark.usefixtures("logs_on_bus")
async def test_service_stopped_is_logged_after_service_started(observer: Bus, running_probe: RunningProbe) -> None:
    async with observer.tail(LogRecorded) as told:
        async with running_probe():
            pass
        events: list[str] = []
        while "service_stopped" not in events:
            events += [record["event"] for record in LogRecorded.read(await first(told, LogRecorded)).records]
    assert events.index("service_started") < events.index("service_stopped")


async def test_a_port_in_use_is_reported_with_the_port_and_its_setting(config: Config, broker: BusSettings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        taken = config.services.metadata.model_copy(update={"port": port})
        services = config.services.model_copy(update={"metadata": taken})
        probe = ProbeService(config.model_copy(update={"services": services}), broker)
        with pytest.raises(ConfigError, match=rf"{port} is taken .* services\.metadata\.port"):
            await probe.startup()
    assert probe.steps_taken == []


@pytest.mark.parametrize("step", ["initialize_resources", "after_start"])
async def test_a_failed_start_releases_resources_port_and_bus(step: str, config: Config, broker: BusSettings) -> None:
    probe = ProbeService(config, broker)
    probe.fail_in = step
    with pytest.raises(ServiceUnavailable, match=step):
        await probe.startup()
    assert probe.steps_taken[-1] == "cleanup_resources"
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", probe.port))
    assert not probe.bus_connected


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("file/tmp", "cannot write to .*file/tmp"),
        ("/proc/none", "cannot (write to|create the folder) /proc/none"),  # the second where root may write everywhere
    ],
)
async def test_a_folder_that_cannot_be_created_is_a_configuration_error(
    folder: str, told: str, config: Config, broker: BusSettings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    storage = config.storage.model_copy(update={"tmp_dir": tmp_path / folder})
    with pytest.raises(ConfigError, match=told):
        await ProbeService(config.model_copy(update={"storage": storage}), broker).startup()


@pytest.mark.claim("11.5", "11.6", "11.7")
async def test_shutdown_waits_for_requests_and_handlers_in_progress(
    observer: Bus, config: Config, broker: BusSettings, web_client: aiohttp.ClientSession
) -> None:
    """A request and a handler in progress finish, then resources are closed, then service_stopped is logged."""
    probe = ProbeService(config, broker)
    await probe.startup()
    request = asyncio.create_task(web_client.post(f"{probe.url}/api/v1/things/wait"))
    await asyncio.wait_for(probe.began.wait(), 60)
    probe.began.clear()
    async with observer.tail(ListingCompleted) as told:
        await observer.publish(queued("slow"), trace_id="t")
        await asyncio.wait_for(probe.began.wait(), 60)
        with structlog.testing.capture_logs() as records:
            end = asyncio.create_task(probe.shutdown(60.0))
            await asyncio.wait_for(probe.closing.wait(), 60)
            async with web_client.get(probe.url + HEALTH) as refused:
                assert refused.status == 503
                assert (await refused.json())["error"]["code"] == "E006"
            assert "cleanup_resources" not in probe.steps_taken
            probe.go_on.set()
            async with await request as response:
                assert (await response.json())["data"] == {"waited": "yes"}
            assert (await first(told, ListingCompleted)).data["job_id"] == "slow"
            await asyncio.wait_for(end, 60)
    assert probe.steps_taken[-1] == "cleanup_resources"
    events = [record["event"] for record in records if record["log_level"] == "info"]
    assert events[-2:] == ["cleaned_up", "service_stopped"]
    assert "request_completed" in events
    assert events.count("service_stopped") == 1


@pytest.mark.claim("11.6")
async def test_requests_that_exceed_the_time_limit_of_a_shutdown_are_answered(
    config: Config, broker: BusSettings, web_client: aiohttp.ClientSession
) -> None:
    probe = ProbeService(config, broker)
    await probe.startup()
    request = asyncio.create_task(web_client.post(f"{probe.url}/api/v1/things/wait"))
    await asyncio.wait_for(probe.began.wait(), 60)
    async with asyncio.timeout(8):
        await probe.shutdown(0.2)
    async with await request as response:
        assert response.status == 503
        error = (await response.json())["error"]
    assert error["code"] == "E006"
    assert "stopped before this request was done" in error["message"]


async def test_a_system_that_is_about_to_stop_begins_nothing_new(
    running_probe: RunningProbe, web_client: aiohttp.ClientSession
) -> None:
    """Other requests are answered until the service itself stops."""
    async with running_probe() as probe:
        probe.accepting_work = False
        async with web_client.post(f"{probe.url}/api/v1/things/sum", json={"a": 1}) as refused:
            assert refused.status == 503
            error = (await refused.json())["error"]
        async with web_client.get(f"{probe.url}/api/v1/things/sum?a=1") as answered:
            assert answered.status == 200
    assert error["code"] == "E006"
    assert "shutting down" in error["message"] and "again" in error["message"]


async def test_shutdown_completes_although_a_task_swallows_a_cancellation(config: Config, broker: BusSettings) -> None:
    probe = ProbeService(config, broker)
    await probe.startup()
    begun = asyncio.Event()

    async def work() -> None:
        with suppress(asyncio.CancelledError):  # as asyncio.wait_for may do before Python 3.12
            begun.set()
            await asyncio.sleep(600)
        await asyncio.sleep(600)

    task = probe.spawn(work, "work")
    await begun.wait()
    async with asyncio.timeout(20):
        await probe.shutdown(0.2)
    assert task.cancelled()


async def test_shutdown_ends_an_event_stream_cleanly(
    config: Config, broker: BusSettings, web_client: aiohttp.ClientSession
) -> None:
    probe = ProbeService(config, broker)
    await probe.startup()
    async with web_client.get(f"{probe.url}/api/v1/things/a/stream") as response:
        assert response.content_type == "text/event-stream"
        assert b"hello" in await response.content.readline()
        await probe.shutdown(5.0)
        assert b"goodbye" in await response.content.read()


async def test_a_failing_event_stream_is_aborted(
    running_probe: RunningProbe, web_client: aiohttp.ClientSession
) -> None:
    async with running_probe() as probe:
        async with web_client.get(f"{probe.url}/api/v1/things/broken/stream") as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        assert await health(web_client, probe)
