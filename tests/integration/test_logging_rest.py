"""REST of the logging service: records that travel over a real broker, and queries of what was written."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from bus import Bus, BusSettings
from services.common.events import JobCancelRequested, LogRecorded
from services.common.messaging import connect_bus
from services.common.settings.load import Config
from services.logging.service import LoggingService
from services.logging.subscribers import MAX_QUEUED


class Client:
    def __init__(self, http: aiohttp.ClientSession, base: str, bus: Bus) -> None:
        self.http, self.base, self.bus = http, base, bus

    async def ask(self, path: str, method: str = "GET", **words: Any) -> tuple[int, Any]:
        async with self.http.request(method, f"{self.base}/api/v1/{path}", **words) as response:
            body = await response.json()
            return response.status, body["data"] if body["success"] else body["error"]

    async def log(self, *records: dict[str, Any]) -> None:
        at = datetime.now(UTC).isoformat()
        told = tuple({"timestamp": at, "level": "info", **record} for record in records)
        await self.bus.publish(LogRecorded(records=told), trace_id="shipped")

    async def wait_for_logs(self, count: int, query: str) -> Any:
        async with asyncio.timeout(60):
            while True:
                status, page = await self.ask(f"logs?{query}")
                assert status == 200, page
                if page["total"] >= count:
                    return page
                await asyncio.sleep(0.02)


@pytest.fixture
async def client(config: Config, broker: BusSettings) -> AsyncIterator[Client]:
    service = LoggingService(config, broker)
    await service.startup()
    bus = await connect_bus(broker, source="cli/test")
    try:
        async with aiohttp.ClientSession() as http:
            yield Client(http, service.url, bus)
    finally:
        await bus.close()
        await service.shutdown()


async def test_records_are_found_by_level_service_and_text(client: Client) -> None:
    await client.log({"event": "one", "service": "jobs"}, {"event": "two", "service": "storage", "level": "error"})
    page = await client.wait_for_logs(2, "limit=10")
    assert [record["event"] for record in page["logs"]] == ["two", "one"]
    status, page = await client.ask("logs/services/storage?level=warning")
    assert (status, [record["event"] for record in page["logs"]], page["total"]) == (200, ["two"], 1)
    assert (await client.ask("logs?search=ONE&offset=1"))[1]["logs"] == []


async def test_a_trace_contains_its_events_and_log_records(client: Client) -> None:
    asked = await client.bus.publish(JobCancelRequested(job_id="j-1"), trace_id="trace-1")
    await client.log({"event": "heard", "service": "jobs", "trace_id": "trace-1"})
    await client.wait_for_logs(1, "trace_id=trace-1")
    async with asyncio.timeout(60):
        while (await client.ask("logs/traces/trace-1"))[1]["total"] < 2:  # noqa: ASYNC110 - a file sends no notification
            await asyncio.sleep(0.02)
    _, page = await client.ask("logs/traces/trace-1")
    event, record = page["entries"]
    assert (event["subject"], event["message_id"], event["data"]["job_id"]) == ("job.cancel_requested", asked.id, "j-1")
    assert record["event"] == "heard"
    assert (await client.ask("logs/traces/nobody"))[1]["total"] == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("logs?level=loud", 400),
        ("logs?from=yesterday", 400),
        ("logs?limit=0", 400),
        ("logs?limit=501", 400),
        ("logs?surprise=1", 400),
        ("logs?service=nobody", 400),
        ("logs/services/nobody", 404),
        (f"logs/traces/{'x' * 129}", 404),
        ("logs/traces/", 404),
    ],
)
async def test_invalid_queries_are_refused(client: Client, path: str, status: int) -> None:
    found, error = await client.ask(path)
    assert (found, error["code"]) == (status, "E007")


async def test_new_records_are_streamed(client: Client) -> None:
    async with client.http.get(f"{client.base}/api/v1/logs/stream?level=warning") as response:
        async with asyncio.timeout(60):
            async for line in response.content:
                if line == b"event: listening\r\n":
                    break
        await client.log({"event": "quiet"}, {"event": "loud", "level": "error"})
        async with asyncio.timeout(60):
            async for line in response.content:
                if line.startswith(b"data: ") and b"loud" in line:
                    break
    assert json.loads(line[6:])["event"] == "loud"


async def test_old_journals_are_deleted_at_a_start_and_on_request(config: Config, broker: BusSettings) -> None:
    logs = config.storage.logs_dir
    logs.mkdir(parents=True)
    old = logs / f"{datetime.now(UTC).date() - timedelta(days=31)}.jsonl"
    kept = logs / f"events-{datetime.now(UTC).date() - timedelta(days=30)}.jsonl"
    for path in (old, kept):
        path.write_text("{}\n")
    service = LoggingService(config, broker)
    await service.startup()
    try:
        async with asyncio.timeout(60):
            while old.exists():  # noqa: ASYNC110 - a background task without a notification
                await asyncio.sleep(0.02)
        assert kept.exists()
        old.write_text("{}\n")
        async with aiohttp.ClientSession() as http:
            url = f"{service.url}/api/v1/logs/cleanup"
            async with http.post(url, json={"dry_run": True}) as response:
                told = (await response.json())["data"]
            assert [file["name"] for file in told["files"]] == [old.name]
            assert old.exists()
            async with http.post(url) as response:
                assert (await response.json())["data"]["bytes"] == 3
            assert not old.exists()
    finally:
        await service.shutdown()


async def test_a_slow_subscriber_gets_the_number_of_dropped_records(config: Config) -> None:
    from services.logging.queries import LogFilter
    from services.logging.subscribers import LogSubscribers

    subscribers = LogSubscribers()
    with (
        subscribers.subscribe(LogFilter(level="info")) as slow,
        subscribers.subscribe(LogFilter(level="info")) as quick,
    ):
        for number in range(MAX_QUEUED + 5):
            subscribers.publish([{"event": str(number), "level": "info"}])
            if number == MAX_QUEUED - 1:
                assert len((await quick.take(1))[0]) == MAX_QUEUED
        records, dropped = await slow.take(1)
        assert (len(records), dropped) == (MAX_QUEUED, 5)
        assert (len((await quick.take(1))[0]), (await slow.take(0.01))) == (5, ([], 0))
