"""One of five service processes is killed at a step where something was sent or written but not acknowledged.

The steps are fault points (bus.fault_injection), where the process kills itself with SIGKILL. After its restart the job
must end as if nothing had happened.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from services.common.events import JobCompleted
from services.common.messaging import connect_bus
from services.common.settings.load import Config
from ytarchive.stack import Stack

JOBS = [
    "bus.taken.job.created",
    "jobs.committed.job.created",
    "jobs.publishing.job.queued",
    "bus.published.job.queued",
    "bus.handled.job.created",
    "bus.handled.listing.page_fetched",
    "jobs.committed.archive.checked",
    "jobs.publishing.download.requested",
    "bus.published.download.requested:2",
    "jobs.claimed:3",
    "bus.taken.download.completed",
    "jobs.committed.download.failed",
    "bus.published.video.failed",
    "jobs.committed.work_plan.updated",
    "jobs.committed.video.archived:2",
    "bus.handled.video.archived",
    "jobs.publishing.job.completed",
    "bus.published.job.completed",
]
METADATA = [
    "bus.taken.job.queued",
    "bus.answered.download.claim",
    "bus.published.playlist.fetched",
    "bus.published.listing.page_fetched",
    "bus.published.listing.completed",
    "bus.handled.job.queued",
]
DOWNLOAD = [
    "bus.taken.download.requested",
    "bus.answered.download.claim:2",
    "bus.published.download.started",
    "bus.published.metadata.fetched:2",
    "bus.published.download.completed",
    "bus.published.download.failed",
    "bus.handled.download.requested:2",
]
CLEANUP = ["bus.taken.video.archived", "bus.handled.video.archived"]
STORAGE = [
    "bus.taken.listing.page_fetched",
    "bus.published.archive.checked",
    "bus.handled.listing.page_fetched",
    "bus.handled.playlist.fetched",
    "bus.taken.listing.completed",
    "bus.handled.listing.completed",
    "bus.taken.metadata.fetched",
    "bus.published.metadata.archived:2",
    "bus.taken.download.completed",
    "storage.before_stage_2",
    "storage.after_intent",
    "storage.after_rename_1",
    "storage.after_commit:2",
    "bus.published.video.archived",
    "bus.handled.download.completed:2",
    "bus.taken.video.failed",
    "bus.published.work_plan.updated",
    "bus.handled.video.failed",
]
LOGGING = [
    "bus.taken.job.created",
    "bus.handled.listing.page_fetched",
    "bus.handled.download.completed",
    "bus.taken.log.recorded",
    "bus.handled.log.recorded",
]


async def test_five_processes_produce_the_same_archive_as_one_stack(
    short_ack_cluster: Any, new_job: Any, repeat_job: Any, config: Config
) -> None:
    job_run = await new_job(short_ack_cluster)
    await job_run.submit()
    await job_run.assert_completed()
    alone = config.model_copy(
        update={"youtube": short_ack_cluster.config.youtube, "download": short_ack_cluster.config.download}
    )
    async with Stack(alone) as stack:
        same = repeat_job(job_run)
        same.bus = await connect_bus(stack.settings, source="cli/alone")
        async with same.bus.tail(JobCompleted) as ends:
            await same.submit()
            await anext(aiter(ends))
        await same.bus.close()
    names = [job_run.playlist, *job_run.videos]
    expected = _files(alone.storage.base_path, names)
    assert len(expected) == 1 + 5 * len(job_run.videos)
    assert _files(short_ack_cluster.config.storage.base_path, names) == expected


def _files(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Return every file of these videos and playlists, with the digest of media and pictures, which contain no time."""
    files = [path for path in root.rglob("*") if path.is_file() and any(name in path.name for name in names)]
    return {
        str(path.relative_to(root)): sha256(path.read_bytes()).hexdigest() if path.suffix in {".mp4", ".jpg"} else ""
        for path in files
    }


async def _assert_job_survives_kill(cluster: Any, service: str, fault: str, job_run: Any, **expected: Any) -> None:
    cluster.set_fault(service, fault)
    await job_run.submit()
    await cluster.wait_for_death(service)
    await cluster.start(service)
    await job_run.assert_completed(**expected)


@pytest.mark.parametrize("fault", JOBS)
async def test_a_job_completes_when_jobs_is_killed(fault: str, short_ack_cluster: Any, new_job: Any) -> None:
    await _assert_job_survives_kill(short_ack_cluster, "jobs", fault, await new_job(short_ack_cluster))


@pytest.mark.parametrize("fault", STORAGE)
async def test_a_job_completes_when_storage_is_killed(fault: str, short_ack_cluster: Any, new_job: Any) -> None:
    await _assert_job_survives_kill(short_ack_cluster, "storage", fault, await new_job(short_ack_cluster))


@pytest.mark.parametrize("fault", LOGGING)
async def test_every_event_is_recorded_once_when_logging_is_killed(
    fault: str, short_ack_cluster: Any, new_job: Any
) -> None:
    await _assert_job_survives_kill(short_ack_cluster, "logging", fault, await new_job(short_ack_cluster))


@pytest.mark.parametrize("fault", METADATA)
async def test_the_listing_of_killed_metadata_continues_before_ack_wait_is_over(
    fault: str, default_ack_cluster: Any, new_job: Any, worker_consumers: Any
) -> None:
    await _assert_job_survives_kill(
        default_ack_cluster, "metadata", fault, await new_job(default_ack_cluster), unacknowledged=worker_consumers
    )


@pytest.mark.parametrize("fault", DOWNLOAD)
async def test_the_videos_of_killed_download_continue_before_ack_wait_is_over(
    fault: str, default_ack_cluster: Any, new_job: Any, worker_consumers: Any
) -> None:
    await _assert_job_survives_kill(
        default_ack_cluster, "download", fault, await new_job(default_ack_cluster), unacknowledged=worker_consumers
    )


@pytest.mark.parametrize("fault", CLEANUP)
async def test_partial_downloads_are_removed_when_download_was_killed_before(
    fault: str, short_ack_cluster: Any, new_job: Any
) -> None:
    await _assert_job_survives_kill(short_ack_cluster, "download", fault, await new_job(short_ack_cluster))


async def test_a_redelivered_download_request_is_not_fetched_again(short_ack_cluster: Any, new_job: Any) -> None:
    """The worker published the result and was killed before it acknowledged the request; its claim is outdated then."""
    job_run = await new_job(short_ack_cluster, count=2)
    await _assert_job_survives_kill(short_ack_cluster, "download", "bus.published.download.completed", job_run)
    assert len(job_run.emulator.log(kind="watch", video_id=job_run.videos[0])) == 1
