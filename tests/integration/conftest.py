"""A real broker, and buses that connect to it."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from bus import Bus, BusSettings, EmbeddedServer
from bus.fault_injection import VARIABLE
from services.common.messaging import connect_bus
from services.common.settings.load import Config
from tests.fixtures.processes import KEPT, Nursery

Connect = Callable[..., Awaitable[Bus]]


@pytest.fixture
def broker_numbers() -> BusSettings:
    """What the tests' broker is like; override it in a module that needs other numbers."""
    return BusSettings(
        url="nats://unset", ack_wait=1.0, connect_timeout=5.0, events_max_bytes=64 * 1024**2, logs_max_bytes=1024**2
    )


@pytest.fixture
async def nats_server(tmp_path: Path, broker_numbers: BusSettings) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path / "nats", like=broker_numbers)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def connect(nats_server: EmbeddedServer) -> AsyncIterator[Connect]:
    """`await connect("jobs")`: a bus of that service; closed at the end."""
    buses: list[Bus] = []

    async def connect_as(service: str, settings: BusSettings | None = None) -> Bus:
        bus = await connect_bus(settings or nats_server.settings, source=f"{service}/{len(buses)}")
        buses.append(bus)
        return bus

    yield connect_as
    await asyncio.gather(*(bus.close() for bus in buses))


@pytest.fixture
def killed_at(config: Config, broker: BusSettings, nursery: Nursery, tmp_path: Path) -> Callable[..., Awaitable[None]]:
    """`await killed_at(point)`: run a storage service of its own until it dies there. `post`: the path of something
    to be asked for once it serves."""

    async def run(point: str, *, post: str = "") -> None:
        assert broker.token is not None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        env = {
            **{key: os.environ[key] for key in KEPT if key in os.environ},
            "HOME": str(tmp_path),
            VARIABLE: point,
            "YTARCHIVE_NATS__URL": broker.url,
            "YTARCHIVE_NATS__TOKEN": broker.token.get_secret_value(),
            "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(config.storage.base_data_dir),
            "YTARCHIVE_STORAGE__BASE_PATH": str(config.storage.base_path),
            "YTARCHIVE_STORAGE__MIN_FREE": "0",
            "YTARCHIVE_SERVICES__STORAGE__PORT": str(port),
        }
        process = nursery.start(["service", "storage"], tmp_path / "killed.out", env, cwd=tmp_path)
        if post:
            while "Ready." not in process.words():
                assert process.runs, process.words()
                await asyncio.sleep(0.01)
            async with aiohttp.ClientSession() as http:
                url = f"http://127.0.0.1:{port}/api/v1/{post}"
                try:
                    async with http.post(url, json={}) as response:
                        assert response.ok, await response.text()
                except aiohttp.ClientError:
                    assert not process.runs or await asyncio.to_thread(process.wait) < 0  # it was too quick to answer
        assert await asyncio.to_thread(process.wait) == -signal.SIGKILL, process.words()

    return run
