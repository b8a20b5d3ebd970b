"""What every kind of test may use: a real broker, a configuration of its own, a wait that knows why it failed."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from bus import BusSettings, EmbeddedServer
from services.common.config import Config, load_config
from ytarchive.emulator import EmulatorClient, emulator_process

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Everything below tmp_path, any free port, no demand on the disk."""
    services = {
        f"YTARCHIVE_SERVICES__{name}__PORT": "0" for name in ["JOBS", "METADATA", "DOWNLOAD", "STORAGE", "LOGGING"]
    }
    env = {
        "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(tmp_path / "data"),
        "YTARCHIVE_STORAGE__BASE_PATH": str(tmp_path / "archive"),
        "YTARCHIVE_STORAGE__MIN_FREE": "0",
    }
    return load_config(env=services | env, cwd=tmp_path)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[BusSettings]:
    """A nats-server of this test; an unacknowledged message comes again after 2 s."""
    server = EmbeddedServer(tmp_path / "nats", like=BusSettings(url="nats://127.0.0.1", ack_wait=2.0))
    try:
        yield await server.start()
    finally:
        await server.stop()


@pytest.fixture
def eventually() -> Eventually:
    """Await a condition: asked again until it gives something true, at most 20 s."""

    async def wait(look: Callable[[], Awaitable[object]]) -> object:
        deadline = time.monotonic() + 20
        while not (found := await look()):
            if time.monotonic() > deadline:
                raise AssertionError(f"did not come true within 20 s: {look}")
            await asyncio.sleep(0.02)
        return found

    return wait


@pytest.fixture(scope="session")
def emulator_child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorClient]:
    # beside the folders of the workers, so that they share the encoded clips
    cache = tmp_path_factory.getbasetemp().parent / "emulator-cache"
    with emulator_process(cache) as client:
        yield client


@pytest.fixture
def emulator(emulator_child: EmulatorClient) -> EmulatorClient:
    """A loopback YouTube in a process of its own, with the sample world, no faults and an empty log."""
    emulator_child.reset()
    return emulator_child
