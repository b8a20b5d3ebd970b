"""nats-server dies, the moment that it has stored an event; or it comes back without anything that it had stored."""

import asyncio
import shutil
import sys
from typing import Any

import pytest

from bus import Event
from services.common import events as e

MOMENTS: list[type[Event]] = [
    e.JobCreated,
    e.JobQueued,
    e.PlaylistFetched,
    e.ListingPageFetched,
    e.ArchiveChecked,
    e.ListingCompleted,
    e.DownloadRequested,
    e.DownloadStarted,
    e.MetadataFetched,
    e.DownloadCompleted,
    e.VideoArchived,
    e.DownloadFailed,
    e.VideoFailed,
    e.WorkPlanUpdated,
    e.JobCompleted,
]


def _name(kind: object) -> str | None:
    return getattr(kind, "subject", None)


async def _broker_dies_at(kind: type[Event], cluster: Any, deed: Any) -> None:
    async with deed.bus.tail(kind) as seen:
        ordering = asyncio.create_task(deed.order())
        await anext(aiter(seen))
        cluster.broker.kill()
    ordering.add_done_callback(lambda done: done.result())  # a publish that nobody confirmed is offered again


@pytest.mark.parametrize("kind", MOMENTS, ids=_name)
async def test_the_broker_dies(kind: type[Event], quick: Any, deed_in: Any) -> None:
    deed = await deed_in(quick)
    await _broker_dies_at(kind, quick, deed)
    await quick.broker.start()
    await deed.done_right()


@pytest.mark.parametrize("kind", MOMENTS[1:-1], ids=_name)
async def test_a_broker_without_its_store_loses_no_job_that_was_queued(
    kind: type[Event], patient: Any, deed_in: Any, until: Any
) -> None:
    deed = await deed_in(patient)
    await _broker_dies_at(kind, patient, deed)
    shutil.rmtree(patient.broker.store)
    await patient.broker.start()
    await deed.done_right(attempts=None, whole_story=False)


UNREAD = [
    ("storage", "bus.taken.listing.page_fetched"),
    ("storage", "bus.taken.download.completed"),
    ("storage", "bus.taken.video.failed"),
    ("jobs", "bus.taken.archive.checked"),
    ("jobs", "bus.taken.video.archived"),
    ("jobs", "bus.taken.work_plan.updated"),
]


@pytest.mark.parametrize(("service", "fault"), UNREAD)
async def test_what_was_lost_unread_with_the_store_is_asked_again_at_once(
    service: str, fault: str, patient: Any, deed_in: Any
) -> None:
    deed = await deed_in(patient)
    patient.doom(service, fault)
    await deed.order()
    await patient.died(service)
    patient.broker.kill()
    shutil.rmtree(patient.broker.store)
    await patient.broker.start()
    await patient.start(service)
    await deed.done_right(attempts=None, whole_story=False)


@pytest.mark.parametrize("kind", [e.JobQueued, e.DownloadRequested, e.DownloadCompleted, e.VideoFailed], ids=_name)
async def test_a_store_that_is_deleted_while_everything_is_stopped_loses_no_job_that_was_queued(
    kind: type[Event], patient: Any, deed_in: Any
) -> None:
    deed = await deed_in(patient)
    await _broker_dies_at(kind, patient, deed)
    patient.kill(*patient.processes)
    shutil.rmtree(patient.broker.store)
    await patient.broker.start()
    await patient.heal()
    await deed.done_right(attempts=None, whole_story=False)


async def test_what_storage_had_not_read_is_asked_again_also_when_the_store_was_deleted_during_a_stop(
    patient: Any, deed_in: Any, until: Any
) -> None:
    deed = await deed_in(patient)
    patient.doom("storage", "bus.taken.download.completed")
    await deed.order()
    await patient.died("storage")
    storing = "SELECT 1 FROM fetches WHERE state = 'storing'"
    await until(lambda: patient.rows(storing), "jobs waits for storage, and for no worker")
    patient.kill(*patient.processes)
    patient.broker.kill()
    shutil.rmtree(patient.broker.store)
    await patient.broker.start()
    await patient.heal()
    await deed.done_right(attempts=None, whole_story=False)


async def test_a_job_that_was_lost_before_it_was_queued_is_sent_again_by_the_command_that_waits_for_it(
    patient: Any, deed_in: Any, until: Any
) -> None:
    deed = await deed_in(patient)
    patient.doom("jobs", "bus.taken.job.created")
    command = [sys.executable, "-m", "ytarchive", "download", deed.playlist, "--quality", "144p", "--no-captions"]
    cli = patient.run("cli", command)
    await patient.died("jobs")
    patient.broker.kill()
    shutil.rmtree(patient.broker.store)
    await patient.broker.start()
    await patient.start("jobs")
    await until(lambda: cli.code is not None, "the command ends")
    assert cli.code == 3, cli.words()  # saved, with gaps
    deed.job_id = patient.rows("SELECT job_id FROM jobs ORDER BY created_at DESC LIMIT 1")[0][0]
    await deed.done_right(attempts=None, whole_story=False)
