"""Every log record of storage names its service: from handlers, requests, background tasks and their threads."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from bus import BusSettings
from services.common.events import LogRecorded, StorageFailed, VideoArchived
from services.common.infra import logs
from services.common.settings.load import Config
from tests.fixtures.storage_world import TIMEOUT, A, B, StorageClient, delivery, running_storage, storage_client


@pytest.fixture
def recorded() -> Iterator[None]:
    logs.setup(level="DEBUG", console=None)
    yield
    logs.tear_down()


class Records:
    def __init__(self) -> None:
        self._found: list[dict[str, Any]] = []
        self._arrived = asyncio.Condition()

    async def receive(self, client: StorageClient) -> None:
        async with client.bus.tail(LogRecorded) as envelopes:
            async for envelope in envelopes:
                async with self._arrived:
                    self._found += LogRecorded.read(envelope).records
                    self._arrived.notify_all()

    async def first(self, event: str) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            return [record for record in self._found if record["event"] == event]

        async with asyncio.timeout(TIMEOUT), self._arrived:
            await self._arrived.wait_for(found)
        return found()[0]


@asynccontextmanager
async def recording(client: StorageClient) -> AsyncIterator[Records]:
    records = Records()
    receiving = asyncio.create_task(records.receive(client))
    try:
        yield records
    finally:
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)


@pytest.mark.usefixtures("recorded")
async def test_records_of_all_modules_name_their_service(config: Config, broker: BusSettings) -> None:
    async with (
        storage_client(broker) as client,
        recording(client) as records,
        running_storage(config, broker) as service,
    ):
        await client.request(delivery(config, A, mp4=b"film"), VideoArchived)
        broken = delivery(config, B, mp4=b"film")
        (config.storage.tmp_dir / f"{B}.part" / f"{B}.mp4").write_bytes(b"f1lm")
        await client.request(broken, StorageFailed)
        failed = await records.first("take_in_failed")  # from a handler
        assert (failed["service"], failed["trace_id"]) == ("storage", "trace-1")

        (config.storage.base_path / "videos" / A / f"{A}.mp4").write_bytes(b"f1lm")
        (config.storage.base_path / "metadata" / "videos" / f"{A}.json").write_text("damaged")
        async with aiohttp.ClientSession(f"{service.url}/api/v1/storage/") as http:
            async with http.get(f"metadata/{A}", headers={"X-Trace-Id": "request-1"}) as response:
                assert response.status == 200
            unreadable = await records.first("metadata_unreadable")  # from a thread of a request
            assert (unreadable["service"], unreadable["trace_id"]) == ("storage", "request-1")

            async with http.post("verify", json={}) as response:
                assert response.status == 201
            damaged = await records.first("file_damaged")  # from a background task
            assert (damaged["service"], damaged["version"]) == ("storage", service.version)
