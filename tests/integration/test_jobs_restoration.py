"""The jobs service after jobs.db was damaged: what users requested since the copy is found again in the stream."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime

import pytest

from bus import BusSettings, NotNow
from services.common import events as e
from services.common.domain.jobs import Job
from services.common.models import JobOptions, JobType
from services.common.settings.load import Config
from services.jobs.adapters import backups
from services.jobs.entrypoints.handlers import take
from services.jobs.rest_models import JobQuery
from services.jobs.service import JobsService

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


@asynccontextmanager
async def running(config: Config, broker: BusSettings, *, park_open: bool = False) -> AsyncIterator[JobsService]:
    service = JobsService(config, broker, park_open=park_open)
    await service.startup()
    try:
        yield service
    finally:
        await service.shutdown(5.0)


async def create(service: JobsService, job_id: str) -> None:
    event = e.JobCreated(
        job_id=job_id, targets=("aaaaaaaaaaa",), type=JobType.VIDEO_DOWNLOAD, options=JobOptions(include_captions=False)
    )
    await service.parts.queue.submit(event, "trace-1")


async def jobs(service: JobsService) -> dict[str, Job]:
    return {job.job_id: job for job in (await service.parts.reader.jobs(JobQuery())).jobs}


@pytest.mark.parametrize("copied", [True, False])
async def test_requests_since_the_copy_are_found_again(config: Config, broker: BusSettings, copied: bool) -> None:
    database = config.storage.jobs_dir / "jobs.db"
    async with running(config, broker) as service:
        await create(service, "earlier")
        if copied:
            backups.copy_if_due(database, datetime.now(UTC))
        await create(service, "since")
        await create(service, "cancelled")
        await service.parts.queue.command(e.JobCancelRequested(job_id="cancelled"))
        await service.parts.queue.command(e.JobPauseRequested(job_id="earlier"))
    damaged = b"This is no database."
    database.write_bytes(damaged)
    async with running(config, broker, park_open=True) as service:
        found = await jobs(service)
        assert found.keys() - {"cancelled"} == {"earlier", "since"}
        assert found["earlier"].paused
        assert "cancelled" not in found or found["cancelled"].status.ended
        assert service.parts.dispatcher.parked == {"earlier", "since"}
    assert database.with_name("jobs.db.unreadable").read_bytes() == damaged
    async with running(config, broker) as service:  # an ordinary start: nothing is repeated
        assert await jobs(service) == found


async def test_a_damage_while_jobs_runs_is_named_and_costs_no_message(
    config: Config, broker: BusSettings, eventually: Eventually
) -> None:
    database = config.storage.jobs_dir / "jobs.db"
    async with running(config, broker) as service:
        await create(service, "a")
        backups.copy_if_due(database, datetime.now(UTC))
        with closing(sqlite3.connect(database)) as sql:
            sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.write_bytes(b"This is no database." * 5000)
        envelope = await service.bus.publish(e.JobPauseRequested(job_id="a"), trace_id="trace-1")
        with pytest.raises(NotNow, match=rf"{database} is damaged .* it is restored"):  # no failure of the message
            await take([envelope], service.parts.queue)
        service.parts.dispatcher.wake()

        async def named() -> bool:
            return any(str(database) in cause for cause in service.critical_errors())

        await eventually(named)
    async with running(config, broker) as service:

        async def paused() -> bool:
            return (await jobs(service))["a"].paused

        await eventually(paused)
