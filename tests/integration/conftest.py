"""A real broker, and buses that connect to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from bus import Bus, BusSettings, EmbeddedServer

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
        bus = await Bus.connect(settings or nats_server.settings, source=f"{service}/{len(buses)}")
        buses.append(bus)
        return bus

    yield connect_as
    await asyncio.gather(*(bus.close() for bus in buses))
