"""Records of the bus and of the logging service itself reach the journal, and no batch causes the next one."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from bus import BusSettings, EmbeddedServer
from services.common.infra import logs
from services.common.infra.logs import VERSION
from services.common.settings.load import Config, load_config
from services.logging.service import LoggingService
from tests.fixtures.fake_services import running_logging
from tests.fixtures.probe_service import ProbeService, RunningProbe
from tests.fixtures.small_disk import run_on_small_disk

LIMIT = 60.0  # seconds to wait for a record
DISK = 128 * 1024  # bytes
LONG = "x" * 8_000  # more than the unused end of a page


def lines(config: Config) -> list[dict[str, Any]]:
    files = sorted(config.storage.logs_dir.glob("20*.jsonl"))
    return [
        json.loads(line) for path in files for line in path.read_bytes().splitlines(keepends=True) if line[-1:] == b"\n"
    ]


async def written(config: Config, ready: Callable[[list[dict[str, Any]]], object]) -> list[dict[str, Any]]:
    """Return the lines of the journal, as soon as they are as awaited."""
    async with asyncio.timeout(LIMIT):
        while not ready(found := lines(config)):  # noqa: ASYNC110 - a file sends no notification
            await asyncio.sleep(0.02)
    return found


def numbered(count: int) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda found: sum("number" in record for record in found) >= count


def names(found: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(record["service"], record["event"]) for record in found}


@pytest.mark.usefixtures("logs_on_bus")
@pytest.mark.claim("10.1")
async def test_records_of_an_outage_of_the_broker_are_written(config: Config, nats_server: EmbeddedServer) -> None:
    """Those of the bus, in the name of the service that uses it, and those of the logging service."""
    probe = ProbeService(config, nats_server.settings)
    async with running_logging(config, nats_server.settings) as service:
        await probe.startup()
        try:
            os.kill(nats_server.pid, signal.SIGKILL)
            events = ("bus_disconnected", "bus_reconnected")
            outage = {(name, event) for name in (service.name, probe.name) for event in events}
            await written(config, lambda found: outage <= names(found))
        finally:
            await probe.shutdown(5.0)
    found = lines(config)
    assert {(service.name, "service_started"), (service.name, "service_stopped")} <= names(found)
    assert {record["version"] for record in found} == {VERSION}
    batches = [record for record in found if record.get("subject") == "log.recorded"]
    assert {record["service"] for record in batches} <= {
        service.name
    }  # never over the bus: that would be another batch


@pytest.mark.usefixtures("logs_on_bus")
async def test_writing_records_causes_no_records(
    config: Config, broker: BusSettings, running_probe: RunningProbe
) -> None:
    """At level DEBUG."""
    bus_log = structlog.get_logger("bus", logger_name="bus")
    async with running_logging(config, broker) as service, running_probe() as probe:
        for number in range(3):
            bus_log.warning("of_the_bus", subject="job.created", number=number)
            bus_log.warning("about_log_records", subject="log.recorded")
            bus_log.warning("about_log_records", consumer="logging-logs")
            service.logger.warning("of_logging", number=number)
            probe.logger.warning("of_a_service", number=number)
            await written(config, numbered(3 * (number + 1)))
        found = lines(config)
    begin = next(at for at, record in enumerate(found) if record.get("number") == 0)
    since = found[begin:]
    assert names(since) == {("stack", "of_the_bus"), ("logging", "of_logging"), ("metadata", "of_a_service")}
    assert len(since) == 9


@pytest.mark.usefixtures("logs_on_bus")
async def test_records_of_the_logging_service_are_written_once_and_without_a_broker(config: Config) -> None:
    service = LoggingService(config, BusSettings(url="nats://127.0.0.1:1"))
    service.logger.info("early")
    await service.parts.recorder.write_own()
    service.logger.info("late", api_key="geheim")
    await service.parts.recorder.write_own()
    await service.parts.recorder.write_own()
    await service.cleanup_resources()
    assert [record["event"] for record in lines(config)] == ["early", "late"]
    assert "geheim" not in str(lines(config))


def test_a_full_disk_delays_the_records_of_the_logging_service(tmp_path: Path) -> None:
    run_on_small_disk(fill_and_free, tmp_path, tmp_path / "logs", DISK)


async def fill_and_free(place: Path) -> None:
    """The part of the test that runs in the child."""
    env = {
        "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(place / "data"),
        "YTARCHIVE_STORAGE__BASE_PATH": str(place / "archive"),
        "YTARCHIVE_STORAGE__LOGS_DIR": str(place / "logs"),
        "YTARCHIVE_SERVICES__LOGGING__PORT": "0",
    }
    config = load_config(env=env, cwd=place)
    logs.setup(level="INFO", console=None)
    broker = EmbeddedServer(place / "nats")
    await broker.start()
    async with running_logging(config, broker.settings) as service:
        await written(config, lambda found: ("logging", "service_started") in names(found))
        filler = place / "logs" / "filler"
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(b"f" * 2 * DISK)
        for number in range(3):
            service.logger.warning("of_logging", number=number, text=LONG)
            structlog.get_logger("services.jobs", service="jobs").warning("of_jobs", number=number, text=LONG)
        async with asyncio.timeout(LIMIT):
            while service.metrics()["write_failures"] < 3:  # noqa: ASYNC110 - a counter sends no notification
                await asyncio.sleep(0.02)
        filler.unlink()
        await written(config, numbered(6))
    await broker.stop()
    arrived = [(one["event"], one["number"]) for one in lines(config) if "number" in one]
    assert sorted(arrived) == [(event, number) for event in ("of_jobs", "of_logging") for number in range(3)]
    assert ("logging", "journal_write_failed") in names(lines(config))
