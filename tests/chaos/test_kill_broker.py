"""nats-server is killed right after it has stored an event, or restarts with an empty store."""

import asyncio
import shutil
import sys
from typing import Any

import pytest

from bus import Event
from services.common import events as e

EVENTS: list[type[Event]] = [
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


def _subject(kind: object) -> str | None:
    return getattr(kind, "subject", None)


async def _kill_broker_after(kind: type[Event], cluster: Any, job_run: Any) -> None:
    async with job_run.bus.tail(kind) as seen:
        submitting = asyncio.create_task(job_run.submit())
        await anext(aiter(seen))
        cluster.broker.kill()
    submitting.add_done_callback(lambda done: done.result())  # an unconfirmed publish is repeated


@pytest.mark.parametrize("kind", EVENTS, ids=_subject)
async def test_a_job_completes_when_the_broker_is_killed_after_an_event(
    kind: type[Event], short_ack_cluster: Any, new_job: Any
) -> None:
    job_run = await new_job(short_ack_cluster)
    await _kill_broker_after(kind, short_ack_cluster, job_run)
    await short_ack_cluster.broker.start()
    await job_run.assert_completed()


@pytest.mark.parametrize("kind", EVENTS[1:-1], ids=_subject)
async def test_no_queued_job_is_lost_when_the_broker_restarts_with_an_empty_store(
    kind: type[Event], default_ack_cluster: Any, new_job: Any, until: Any
) -> None:
    job_run = await new_job(default_ack_cluster)
    await _kill_broker_after(kind, default_ack_cluster, job_run)
    shutil.rmtree(default_ack_cluster.broker.store)
    await default_ack_cluster.broker.start()
    await job_run.assert_completed(attempts=None, nothing_lost=False)


UNHANDLED = [
    ("storage", "bus.taken.listing.page_fetched"),
    ("storage", "bus.taken.download.completed"),
    ("storage", "bus.taken.video.failed"),
    ("jobs", "bus.taken.archive.checked"),
    ("jobs", "bus.taken.video.archived"),
    ("jobs", "bus.taken.work_plan.updated"),
]


@pytest.mark.parametrize(("service", "fault"), UNHANDLED)
async def test_messages_lost_unhandled_with_the_store_are_requested_again(
    service: str, fault: str, default_ack_cluster: Any, new_job: Any
) -> None:
    job_run = await new_job(default_ack_cluster)
    default_ack_cluster.set_fault(service, fault)
    await job_run.submit()
    await default_ack_cluster.wait_for_death(service)
    default_ack_cluster.broker.kill()
    shutil.rmtree(default_ack_cluster.broker.store)
    await default_ack_cluster.broker.start()
    await default_ack_cluster.start(service)
    await job_run.assert_completed(attempts=None, nothing_lost=False)


@pytest.mark.parametrize("kind", [e.JobQueued, e.DownloadRequested, e.DownloadCompleted, e.VideoFailed], ids=_subject)
async def test_no_queued_job_is_lost_when_the_store_is_deleted_while_all_is_stopped(
    kind: type[Event], default_ack_cluster: Any, new_job: Any
) -> None:
    job_run = await new_job(default_ack_cluster)
    await _kill_broker_after(kind, default_ack_cluster, job_run)
    default_ack_cluster.kill(*default_ack_cluster.processes)
    shutil.rmtree(default_ack_cluster.broker.store)
    await default_ack_cluster.broker.start()
    await default_ack_cluster.start_missing()
    await job_run.assert_completed(attempts=None, nothing_lost=False)


async def test_a_delivery_lost_unhandled_is_requested_again_after_a_full_stop(
    default_ack_cluster: Any, new_job: Any, until: Any
) -> None:
    job_run = await new_job(default_ack_cluster)
    default_ack_cluster.set_fault("storage", "bus.taken.download.completed")
    await job_run.submit()
    await default_ack_cluster.wait_for_death("storage")
    storing = "SELECT 1 FROM fetches WHERE state = 'storing'"
    await until(lambda: default_ack_cluster.rows(storing), "jobs waits for storage and not for a worker")
    default_ack_cluster.kill(*default_ack_cluster.processes)
    default_ack_cluster.broker.kill()
    shutil.rmtree(default_ack_cluster.broker.store)
    await default_ack_cluster.broker.start()
    await default_ack_cluster.start_missing()
    await job_run.assert_completed(attempts=None, nothing_lost=False)


async def test_the_waiting_command_resends_a_job_that_was_lost_before_it_was_queued(
    default_ack_cluster: Any, new_job: Any, until: Any
) -> None:
    job_run = await new_job(default_ack_cluster)
    default_ack_cluster.set_fault("jobs", "bus.taken.job.created")
    command = [sys.executable, "-m", "ytarchive", "download", job_run.playlist, "--quality", "144p", "--no-captions"]
    cli = default_ack_cluster.run("cli", command)
    await default_ack_cluster.wait_for_death("jobs")
    default_ack_cluster.broker.kill()
    shutil.rmtree(default_ack_cluster.broker.store)
    await default_ack_cluster.broker.start()
    await default_ack_cluster.start("jobs")
    await until(lambda: cli.code is not None, "the command ends")
    assert cli.code == 3, cli.output()  # completed with unavailable videos
    job_run.job_id = default_ack_cluster.rows("SELECT job_id FROM jobs ORDER BY created_at DESC LIMIT 1")[0][0]
    await job_run.assert_completed(attempts=None, nothing_lost=False)
