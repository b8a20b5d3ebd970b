"""Five processes and a nats-server; one dies at a step where something was sent or written and not acknowledged.

The names of the steps are fault points (bus.fault_injection): the process kills itself there, as by
kill -9. Then it is started again, and the job must end as if nothing had been.
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
CLEARING = ["bus.taken.video.archived", "bus.handled.video.archived"]
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


async def test_five_processes_leave_the_tree_that_one_stack_leaves(
    quick: Any, deed_in: Any, again: Any, config: Config
) -> None:
    deed = await deed_in(quick)
    await deed.order()
    await deed.done_right()
    alone = config.model_copy(update={"youtube": quick.config.youtube, "download": quick.config.download})
    async with Stack(alone) as stack:
        same = again(deed)
        same.bus = await connect_bus(stack.settings, source="cli/alone")
        async with same.bus.tail(JobCompleted) as ends:
            await same.order()
            await anext(aiter(ends))
        await same.bus.close()
    mine = [deed.playlist, *deed.videos]
    theirs = _tree(alone.storage.base_path, mine)
    assert len(theirs) == 1 + 5 * len(deed.videos)
    assert _tree(quick.config.storage.base_path, mine) == theirs


def _tree(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Every file of these videos and playlists; of media and pictures the digests, which have no time in them."""
    files = [path for path in root.rglob("*") if path.is_file() and any(name in path.name for name in names)]
    return {
        str(path.relative_to(root)): sha256(path.read_bytes()).hexdigest() if path.suffix in {".mp4", ".jpg"} else ""
        for path in files
    }


async def _survives(cluster: Any, service: str, fault: str, deed: Any, **expected: Any) -> None:
    cluster.doom(service, fault)
    await deed.order()
    await cluster.died(service)
    await cluster.start(service)
    await deed.done_right(**expected)


@pytest.mark.parametrize("fault", JOBS)
async def test_jobs_dies(fault: str, quick: Any, deed_in: Any) -> None:
    await _survives(quick, "jobs", fault, await deed_in(quick))


@pytest.mark.parametrize("fault", STORAGE)
async def test_storage_dies(fault: str, quick: Any, deed_in: Any) -> None:
    await _survives(quick, "storage", fault, await deed_in(quick))


@pytest.mark.parametrize("fault", LOGGING)
async def test_logging_dies_and_every_event_is_written_once(fault: str, quick: Any, deed_in: Any) -> None:
    await _survives(quick, "logging", fault, await deed_in(quick))


@pytest.mark.parametrize("fault", METADATA)
async def test_metadata_dies_and_its_listing_is_taken_up_without_waiting_for_ack_wait(
    fault: str, patient: Any, deed_in: Any, workers: Any
) -> None:
    await _survives(patient, "metadata", fault, await deed_in(patient), unacknowledged=workers)


@pytest.mark.parametrize("fault", DOWNLOAD)
async def test_download_dies_and_its_videos_are_taken_up_without_waiting_for_ack_wait(
    fault: str, patient: Any, deed_in: Any, workers: Any
) -> None:
    await _survives(patient, "download", fault, await deed_in(patient), unacknowledged=workers)


@pytest.mark.parametrize("fault", CLEARING)
async def test_download_dies_and_the_partial_is_cleared_away_later(fault: str, quick: Any, deed_in: Any) -> None:
    await _survives(quick, "download", fault, await deed_in(quick))


async def test_a_request_that_comes_again_is_not_fetched_again(quick: Any, deed_in: Any) -> None:
    """The worker had told of the end, and died before it acknowledged the request: its claim is stale by then."""
    deed = await deed_in(quick, count=2)
    await _survives(quick, "download", "bus.published.download.completed", deed)
    assert len(deed.emulator.log(kind="watch", video_id=deed.videos[0])) == 1
