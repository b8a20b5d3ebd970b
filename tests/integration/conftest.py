"""A real broker, buses that connect to it, and services that run on it."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from bus import Bus, BusSettings, EmbeddedServer
from bus.fault_injection import VARIABLE
from services.common.infra import logs
from services.common.messaging import connect_bus
from services.common.settings.load import Config
from tests.fixtures.emulated import emulated_config
from tests.fixtures.probe_service import ProbeService, RunningProbe
from tests.fixtures.processes import INHERITED_VARIABLES, ProcessPool
from tests.fixtures.stack_client import Archive
from ytarchive.emulator import EmulatorClient
from ytarchive.stack import Stack

Connect = Callable[..., Awaitable[Bus]]


@pytest.fixture
def broker_settings() -> BusSettings:
    """The settings of the tests' broker; a module can override them."""
    return BusSettings(
        url="nats://unset", ack_wait=1.0, connect_timeout=5.0, events_max_bytes=64 * 1024**2, logs_max_bytes=1024**2
    )


@pytest.fixture
async def nats_server(tmp_path: Path, broker_settings: BusSettings) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path / "nats", like=broker_settings)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def connect(nats_server: EmbeddedServer) -> AsyncIterator[Connect]:
    """`await connect("jobs")` returns a bus of that service; it is closed after the test."""
    buses: list[Bus] = []

    async def connect_as(service: str, settings: BusSettings | None = None) -> Bus:
        bus = await connect_bus(settings or nats_server.settings, source=f"{service}/{len(buses)}")
        buses.append(bus)
        return bus

    yield connect_as
    await asyncio.gather(*(bus.close() for bus in buses))


@pytest.fixture
def running_probe(config: Config, broker: BusSettings) -> RunningProbe:
    @asynccontextmanager
    async def run(config: Config = config, bus: BusSettings = broker) -> AsyncIterator[ProbeService]:
        probe = ProbeService(config, bus)
        await probe.startup()
        try:
            yield probe
        finally:
            probe.go_on.set()
            await probe.shutdown(5.0)

    return run


@pytest.fixture
async def observer(broker: BusSettings) -> AsyncIterator[Bus]:
    bus = await connect_bus(broker, source="cli/test")
    yield bus
    await bus.close()


@pytest.fixture
async def web_client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def logs_on_bus() -> Iterator[None]:
    """Publish log records on the bus."""
    logs.setup(level="DEBUG", console=None)
    yield
    logs.tear_down()


@pytest.fixture
def killed_at(
    config: Config, broker: BusSettings, process_pool: ProcessPool, tmp_path: Path
) -> Callable[..., Awaitable[None]]:
    """`await killed_at(point)` runs a storage service in its own process until it is killed at that fault point.

    `post`: a path to request once the service is ready.
    """

    async def run(point: str, *, post: str = "") -> None:
        assert broker.token is not None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        env = {
            **{key: os.environ[key] for key in INHERITED_VARIABLES if key in os.environ},
            "HOME": str(tmp_path),
            VARIABLE: point,
            "YTARCHIVE_NATS__URL": broker.url,
            "YTARCHIVE_NATS__TOKEN": broker.token.get_secret_value(),
            "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(config.storage.base_data_dir),
            "YTARCHIVE_STORAGE__BASE_PATH": str(config.storage.base_path),
            "YTARCHIVE_STORAGE__MIN_FREE": "0",
            "YTARCHIVE_SERVICES__STORAGE__PORT": str(port),
        }
        process = process_pool.start(["service", "storage"], tmp_path / "killed.out", env, cwd=tmp_path)
        if post:
            while "Ready." not in process.output():
                assert process.is_running, process.output()
                await asyncio.sleep(0.01)
            async with aiohttp.ClientSession() as http:
                url = f"http://127.0.0.1:{port}/api/v1/{post}"
                try:
                    async with http.post(url, json={}) as response:
                        assert response.ok, await response.text()
                except aiohttp.ClientError:
                    # killed before it could respond
                    assert not process.is_running or await asyncio.to_thread(process.wait) < 0
        assert await asyncio.to_thread(process.wait) == -signal.SIGKILL, process.output()

    return run


@pytest.fixture
def emulated(config: Config, emulator: EmulatorClient) -> Config:
    """The configuration of a stack whose YouTube is the emulator, with short timeouts."""
    return emulated_config(config, emulator, YTARCHIVE_DOWNLOAD__SOCKET_TIMEOUT="3")


@pytest.fixture
async def archive(emulated: Config, emulator: EmulatorClient) -> AsyncIterator[Archive]:
    """All services in this process, with the emulator as YouTube."""
    async with Stack(emulated) as stack, aiohttp.ClientSession() as http:
        yield Archive(stack, http, emulator)
