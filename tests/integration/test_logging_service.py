"""The logging service with a real broker: it writes records and events to daily files once, without secrets."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bus import Bus, BusSettings, Envelope
from services.common.events import JobCreated, LogRecorded, ServiceStopped, SourceCleared
from services.common.messaging import connect_bus
from services.common.models import JobOptions
from services.common.settings.load import Config
from services.logging.queries import LogFilter
from services.logging.service import LoggingService
from tests.fixtures.fake_services import running_logging

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


@pytest.fixture
async def sender(broker: BusSettings) -> AsyncIterator[Bus]:
    bus = await connect_bus(broker, source="cli/test")
    yield bus
    await bus.close()


def lines(config: Config, prefix: str = "") -> list[dict[str, Any]]:
    """Return the lines of today's file (and of yesterday's, for a test at midnight)."""
    files = sorted(path for path in config.storage.logs_dir.glob(f"{prefix}20*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def record(number: int, **more: Any) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat()
    return {"timestamp": at, "level": "info", "event": "tried", "service": "download", "number": number, **more}


async def test_records_are_written_unchanged_except_for_secrets(
    config: Config, broker: BusSettings, sender: Bus, eventually: Eventually
) -> None:
    first = tuple(record(number, trace_id="t1") for number in range(100))
    async with running_logging(config, broker) as service:
        envelope = await sender.publish(LogRecorded(records=first), trace_id="x")
        await sender.publish(LogRecorded(records=(record(100, api_key="geheim", title="Ünïcode"),)), trace_id="x")

        async def all_counted() -> bool:
            return bool(service.metrics()["log_lines"] >= 101)

        await eventually(all_counted)
        assert service.metrics()["log_lines"] == 101
    written = lines(config)
    assert [line["number"] for line in written] == list(range(101))
    assert {**first[0], "message_id": envelope.id} == written[0]
    assert written[100]["api_key"] == "********"
    assert written[100]["title"] == "Ünïcode"
    today = datetime.now(UTC).date().isoformat()
    assert (config.storage.logs_dir / f"{today}.jsonl").exists()


async def test_records_published_during_a_stop_are_written_once_after_the_start(
    config: Config, broker: BusSettings, sender: Bus, eventually: Eventually
) -> None:
    async def written(count: int) -> None:
        async def there() -> bool:
            return len(lines(config)) >= count

        await eventually(there)

    async with running_logging(config, broker):
        await sender.publish(LogRecorded(records=(record(0),)), trace_id="x", id="m0")
        await written(1)
    await sender.publish(LogRecorded(records=(record(1),)), trace_id="x", id="m1")
    async with running_logging(config, broker) as service:
        await written(2)
        envelopes = [await sender.publish(LogRecorded(records=(record(n),)), trace_id="x", id=f"m{n}") for n in (2, 3)]
        await written(4)
        await service.parts.recorder.write_logs(envelopes)  # as after a crash before the acknowledgement
    assert [line["number"] for line in lines(config)] == [0, 1, 2, 3]


async def test_every_stored_event_is_written_with_its_trace_and_without_secrets(
    config: Config, broker: BusSettings, sender: Bus, eventually: Eventually
) -> None:
    created = JobCreated(job_id="job-1", targets=("dQw4w9WgXcQ",), options=JobOptions(api_key="geheim"))
    async with running_logging(config, broker):
        envelope = await sender.publish(created, trace_id="trace")
        await sender.publish(SourceCleared(egress="e"), trace_id="trace", caused_by=envelope.id)

        async def both() -> bool:
            return len([line for line in lines(config, "events-") if line["trace_id"] == "trace"]) == 2

        await eventually(both)
    told = [line for line in lines(config, "events-") if line["trace_id"] == "trace"]
    assert [line["subject"] for line in told] == ["job.created", "source.cleared"]
    assert told[0]["event"] == "event_seen"
    assert told[0]["message_id"] == told[1]["caused_by"] == envelope.id
    assert told[0]["source"] == "cli/test"
    assert told[0]["data"]["options"] == {**told[0]["data"]["options"], "api_key": "********"}
    assert "geheim" not in "".join(path.read_text() for path in config.storage.logs_dir.iterdir())


def stop_events(config: Config) -> list[dict[str, Any]]:
    return [line["data"] for line in lines(config, "events-") if line["subject"] == ServiceStopped.subject]


async def test_the_stop_event_of_the_service_is_written_by_its_next_run(
    config: Config, broker: BusSettings, eventually: Eventually
) -> None:
    async with running_logging(config, broker) as before:
        pass
    async with running_logging(config, broker):

        async def told() -> bool:
            return bool(stop_events(config))

        await eventually(told)
    assert stop_events(config)[0] == {"instance": before.instance, "name": "logging"}


def block(config: Config) -> list[Path]:
    """Create folders in place of the log files of today and, for a test at midnight, of tomorrow."""
    today = datetime.now(UTC).date()
    folders = [config.storage.logs_dir / f"{today + timedelta(days=days)}.jsonl" for days in (0, 1)]
    for folder in folders:
        folder.mkdir(parents=True)
    return folders


def unblock(folders: list[Path]) -> None:
    for folder in folders:
        folder.rmdir()


async def test_records_are_written_once_the_disk_is_writable_again(
    config: Config, broker: BusSettings, sender: Bus, eventually: Eventually
) -> None:
    folders = block(config)
    async with running_logging(config, broker, disk_patience=0.05) as service:
        await sender.publish(LogRecorded(records=(record(1),)), trace_id="x")

        async def tried() -> bool:
            return service.parts.recorder.write_failures > 0

        await eventually(tried)
        unblock(folders)

        async def there() -> bool:
            return bool(lines(config))

        await eventually(there)
    assert [line["number"] for line in lines(config)] == [1]


async def test_a_redelivered_record_is_written_and_streamed_once(config: Config) -> None:
    service = LoggingService(config, BusSettings(url="nats://127.0.0.1:1"))  # this test needs no broker
    messages = [Envelope.around(LogRecorded(records=(record(n),)), source="jobs/1", trace_id="t") for n in range(2)]
    with service.parts.subscribers.subscribe(LogFilter()) as subscriber:
        await service.parts.recorder.write_logs(messages[:1])
        await service.parts.recorder.write_logs(messages)
        told, _dropped = await subscriber.take(10)
    await service.cleanup_resources()
    assert [one["number"] for one in told] == [0, 1]
    assert [one["number"] for one in lines(config)] == [0, 1]
