"""The composition root: finding a running stack, mutual exclusion, shutdown and signals."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from bus import BrokerUnavailable, BusSettings, Handlers
from bus.embedded.program import find_server
from services.common.errors import ConfigError, InvalidRequest, ServiceUnavailable
from services.common.events import ServiceHeartbeat
from services.common.infra.files import LockHeld
from services.common.messaging import connect_bus
from services.common.service import ServiceBase
from services.common.settings.load import Config, Endpoint
from tests.fixtures.accelerated_loop import AcceleratedLoop
from tests.fixtures.emulated import emulated_config
from tests.fixtures.waiting import until
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample
from ytarchive.running_stack import StackInfo, find_running
from ytarchive.stack import PATIENCE, Stack, _shut_down, load_service

ONE = ("logging",)  # one service with an embedded broker is a stack


@pytest.fixture
async def stack(config: Config) -> AsyncIterator[Stack]:
    async with Stack(config, ONE, embedded=True) as stack:
        yield stack


def stack_file(config: Config) -> Path:
    return config.storage.run_dir / "stack.json"


async def healthy(url: str) -> bool:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/api/v1/health") as response:
        return response.status == 200


async def test_a_running_stack_is_found_and_reached(config: Config, stack: Stack) -> None:
    info = find_running(config)
    assert info is not None
    assert info == stack.info
    assert info.pid == os.getpid()
    assert await healthy(info.services["logging"])
    bus = await connect_bus(info.bus_settings(config), source="cli/test")
    async with bus.tail(ServiceHeartbeat) as beats:
        beat = await asyncio.wait_for(anext(beats), 60)
    await bus.close()
    assert ServiceHeartbeat.read(beat).service.url == info.services["logging"]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_the_stack_file_is_private_and_contains_the_token(config: Config, stack: Stack) -> None:
    assert mode(stack_file(config)) == 0o600
    token = stack.settings.token
    assert token is not None
    assert json.loads(stack_file(config).read_text())["nats_token"] == token.get_secret_value()
    assert token.get_secret_value() not in repr(stack.info)


async def test_only_one_stack_can_run_per_data_directory(config: Config, stack: Stack) -> None:
    with pytest.raises(LockHeld) as caught:
        await Stack(config, ONE, embedded=True).__aenter__()
    assert caught.value.pid == os.getpid()
    assert find_running(config) == stack.info  # the second one left the stack file unchanged


async def test_a_stopped_stack_leaves_nothing_and_can_start_again(config: Config) -> None:
    async with Stack(config, ONE, embedded=True) as stack:
        url = stack.services["logging"].url
    assert find_running(config) is None
    assert not stack_file(config).exists()
    with pytest.raises(aiohttp.ClientConnectionError):
        await healthy(url)
    async with Stack(config, ONE, embedded=True):  # it can start again
        assert find_running(config) is not None


async def test_a_stack_file_without_its_lock_is_not_a_running_stack(
    config: Config, stack: Stack, tmp_path: Path
) -> None:
    other = config.model_copy(update={"storage": config.storage.model_copy(update={"base_data_dir": tmp_path / "b"})})
    assert stack.info is not None
    stack_file(other).parent.mkdir(parents=True)
    stack_file(other).write_text(stack.info.model_dump_json())
    assert find_running(other) is None


@pytest.fixture
def port_in_use() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port: int = other.getsockname()[1]
        yield port


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def with_port(config: Config, port: int) -> Config:
    services = config.services.model_copy(update={"logging": Endpoint(port=port)})
    return config.model_copy(update={"services": services})


async def test_a_port_in_use_fails_the_start_and_releases_lock_and_broker(config: Config, port_in_use: int) -> None:
    with pytest.raises(ConfigError, match=r"services\.logging\.port"):
        await Stack(with_port(config, port_in_use), ONE, embedded=True).__aenter__()
    async with Stack(config, ONE, embedded=True):  # lock and broker were released
        pass


async def test_a_one_shot_stack_uses_a_free_port_instead(config: Config, port_in_use: int) -> None:
    async with Stack(with_port(config, port_in_use), ONE, embedded=True, ports="free_if_taken") as stack:
        assert stack.services["logging"].port not in (0, port_in_use)
        assert await healthy(stack.services["logging"].url)


async def test_an_external_broker_is_used_and_its_secret_not_written(config: Config, broker: BusSettings) -> None:
    nats = config.nats.model_copy(update={"url": broker.url, "token": broker.token, "ack_wait": 3.0})
    config = config.model_copy(update={"nats": nats})
    async with Stack(config, ONE) as stack:
        assert not stack.embedded
        assert stack.settings.ack_wait == 3.0
        assert stack.settings.connect_timeout == PATIENCE, "a one-shot command does not wait for ever"
        assert await healthy(stack.services["logging"].url)
        assert not stack_file(config).exists()  # a single service with an external broker is not a stack


async def test_a_service_waits_for_a_broker_that_is_away(config: Config, tmp_path: Path, closed_port: int) -> None:
    settings = BusSettings(url=f"nats://127.0.0.1:{closed_port}", connect_timeout=0.2)
    service = load_service("logging")(config, settings)
    with capture_logs() as records:
        starting = asyncio.create_task(service.startup(wait_for_broker=True))
        while not any(record["event"] == "broker_awaited" for record in records):
            assert not starting.done(), starting.result()
            await asyncio.sleep(0.01)
    told = next(record for record in records if record["event"] == "broker_awaited")
    assert f"127.0.0.1:{closed_port}" in told["error_message"]
    words = ["-a", "127.0.0.1", "-p", str(closed_port), "-js", "-sd", str(tmp_path / "nats")]
    broker = await asyncio.create_subprocess_exec(find_server(), *words, stderr=asyncio.subprocess.DEVNULL)
    try:
        await asyncio.wait_for(starting, 60)
        assert await healthy(service.url)
        await service.shutdown(1)
    finally:
        broker.terminate()
        await broker.wait()


async def test_a_service_does_not_wait_for_a_broker_that_refuses_it(config: Config, broker: BusSettings) -> None:
    service = load_service("logging")(config, broker.model_copy(update={"token": SecretStr("wrong")}))
    with pytest.raises(BrokerUnavailable, match="refuses our credentials"):
        await asyncio.wait_for(service.startup(wait_for_broker=True), 60)


def test_a_signal_ends_a_service_that_waits_for_its_broker(cli: Any, closed_port: int) -> None:
    cli.env["YTARCHIVE_NATS__URL"] = f"nats://127.0.0.1:{closed_port}"
    child = cli.start("service", "logging")
    child.wait_for(f"127.0.0.1:{closed_port}")
    child.process.terminate()
    assert child.end().code == 0


async def test_a_single_service_uses_the_broker_of_the_running_stack(config: Config, stack: Stack) -> None:
    async with Stack(config, ONE) as alone:
        assert alone.settings.url == stack.settings.url
        assert await healthy(alone.services["logging"].url)
    assert find_running(config) == stack.info


async def test_a_single_service_without_a_broker_fails_with_instructions(config: Config) -> None:
    with pytest.raises(ServiceUnavailable, match=r"ytarchive up.*\[nats\] url"):
        await Stack(config, ONE).__aenter__()


def test_an_unknown_service_is_refused(config: Config) -> None:
    with pytest.raises(InvalidRequest, match=r"no service 'cron'.*jobs, metadata"):
        Stack(config, ["cron"])


def test_extra_roots_are_added_to_the_configuration_of_the_stack(config: Config, tmp_path: Path) -> None:
    stack = Stack(config, ONE, extra_roots=[tmp_path / "other", config.storage.base_path])
    assert stack.config.storage.all_roots == (config.storage.base_path, tmp_path / "other")
    assert config.storage.roots == ()


class FailingAtShutdown(ServiceBase):
    """A service whose shutdown fails."""

    name: ClassVar[str] = "download"
    handlers: ClassVar[Handlers] = Handlers("download")

    async def shutdown(self, within: float = 30.0) -> None:
        await super().shutdown(within)
        raise OSError("the end went wrong")


async def test_a_failing_shutdown_does_not_prevent_the_shutdown_of_other_services(config: Config) -> None:
    async with Stack(config, ONE, embedded=True) as stack:
        failing = FailingAtShutdown(config, stack.settings)
        await failing.startup()
        stack.services["download"] = failing
        url = stack.services["logging"].url
    with pytest.raises(aiohttp.ClientConnectionError):
        await healthy(url)
    assert find_running(config) is None


class RecordingItsTime(ServiceBase):
    """A service that records how long its work may take to end."""

    name: ClassVar[str] = "download"
    handlers: ClassVar[Handlers] = Handlers("download")

    within = 0.0

    async def shutdown(self, within: float = 30.0) -> None:
        self.within = within
        await super().shutdown(within)


class NeverEnding(RecordingItsTime):
    """A service that uses all the time that its shutdown gets."""

    took = 0.0

    async def shutdown(self, within: float = 30.0) -> None:
        loop = asyncio.get_running_loop()
        self.within, begun = within, loop.time()
        try:
            await asyncio.Event().wait()
        finally:
            self.took = loop.time() - begun


@pytest.mark.claim("11.6")
@pytest.mark.parametrize(("passed", "work", "whole"), [(0, 30, 36), (16, 14, 20), (40, 0.5, 0.5)])
def test_running_work_has_30_seconds_to_end_and_a_service_36(
    config: Config, passed: float, work: float, whole: float
) -> None:
    """From the signal on, on an event loop with accelerated time; at least half a second for each service."""
    service = NeverEnding(config, BusSettings(url="nats://unset"))
    with asyncio.Runner(loop_factory=partial(AcceleratedLoop, 12)) as runner:
        runner.run(_shut_down(service, passed))
    assert service.within == work
    assert whole - 0.4 < service.took < whole + 240  # 20 s on a busy machine


@pytest.mark.claim("11.6")
async def test_the_time_of_a_shutdown_begins_with_that_of_the_stack(config: Config) -> None:
    async with Stack(config, ONE, embedded=True) as stack:
        ending = RecordingItsTime(config, stack.settings)
        await ending.startup()
        stack.services["download"] = ending
    assert 25 < ending.within <= 30


# --- as a program -------------------------------------------------------------------------------------------------

PROGRAM = """
import asyncio, sys
from services.common.settings.load import load_config
from services.common.service import ServiceBase
from ytarchive.stack import run_services

async def ready(stack):
    print("ready", flush=True)
    if sys.argv[1] == "hang":
        await asyncio.Event().wait()

config = load_config(env=dict(setting.split("=", 1) for setting in sys.argv[2:]))
asyncio.run(run_services(["logging"], config, embedded=True, on_ready=ready))
"""


@contextmanager
def running_program(config: Config, how: str) -> Iterator[subprocess.Popen[bytes]]:
    settings = [
        f"YTARCHIVE_STORAGE__BASE_DATA_DIR={config.storage.base_data_dir}",
        f"YTARCHIVE_STORAGE__BASE_PATH={config.storage.base_path}",
        "YTARCHIVE_STORAGE__MIN_FREE=0",
        "YTARCHIVE_SERVICES__LOGGING__PORT=0",
    ]
    command = [sys.executable, "-c", PROGRAM, how, *settings]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            assert b"ready\n" in iter(child.stdout.readline, b"")
            yield child
        finally:
            child.kill()


@pytest.fixture
def program(config: Config) -> Iterator[subprocess.Popen[bytes]]:
    with running_program(config, "run") as child:
        yield child


@pytest.fixture
def hanging(config: Config) -> Iterator[subprocess.Popen[bytes]]:
    """A program that does not end at the first signal."""
    with running_program(config, "hang") as child:
        yield child


def info_of(config: Config) -> StackInfo:
    info = find_running(config)
    assert info is not None
    return info


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_stack_cleanly(
    number: signal.Signals, config: Config, program: subprocess.Popen[bytes]
) -> None:
    assert info_of(config).pid == program.pid
    program.send_signal(number)
    assert program.wait(30) == 0
    assert not stack_file(config).exists()
    assert find_running(config) is None


def test_a_second_signal_stops_the_stack_at_once(config: Config, hanging: subprocess.Popen[bytes]) -> None:
    info = info_of(config)
    hanging.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        hanging.wait(0.5)
    hanging.send_signal(signal.SIGTERM)
    assert hanging.wait(5) == 128 + signal.SIGTERM
    assert find_running(config) is None
    port = int(info.nats_url.rpartition(":")[2])

    def is_closed() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) != 0

    until(is_closed, "the broker, which is killed, ends too")


def test_a_killed_stack_is_not_found_and_another_can_start(config: Config, program: subprocess.Popen[bytes]) -> None:
    info_of(config)
    program.kill()
    program.wait(10)
    assert stack_file(config).exists()
    assert find_running(config) is None

    async def again() -> None:
        async with Stack(config, ONE, embedded=True) as stack:
            assert find_running(config) == stack.info

    asyncio.run(again())


async def test_no_job_is_created_while_the_stack_shuts_down(config: Config, emulator: EmulatorClient) -> None:
    """Metadata stops before jobs, and waits for a look-up in hand: meanwhile jobs answers, but begins nothing new."""
    emulated = emulated_config(config, emulator)
    fault = emulator.add_fault("watch", "delay", video_id=sample.VIDEO_OK, seconds=60)
    async with Stack(emulated) as stack, aiohttp.ClientSession() as client:
        look_up = asyncio.create_task(
            client.get(f"{stack.services['metadata'].url}/api/v1/metadata/video/{sample.VIDEO_OK}")
        )
        await asyncio.to_thread(emulator.wait_for, kind="watch", video_id=sample.VIDEO_OK)
        jobs, download = stack.services["jobs"], stack.services["download"]
        ending = asyncio.create_task(stack.__aexit__(None, None, None))
        await asyncio.wait_for(download.closing.wait(), 60)
        async with client.post(f"{jobs.url}/api/v1/jobs", json={"targets": [sample.VIDEO_OK]}) as refused:
            assert refused.status == 503
            assert "shutting down" in (await refused.json())["error"]["message"]
        async with client.get(f"{jobs.url}/api/v1/jobs") as listed:
            assert (await listed.json())["data"]["total"] == 0
        emulator.remove_fault(fault)
        look_up.cancel()
        await asyncio.gather(look_up, return_exceptions=True)
        await ending
