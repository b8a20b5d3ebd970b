"""What each fact means for jobs, items, listings and fetches. Pure: rows in, changed rows and facts out.

    step(rows, event, now) -> [(event, trace_id), ...]

Facts may come twice, late, or in another order: an item that ended stays as it is, and a fact of an older dispatch
is ignored, except that `video.archived` is credited always.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bus.message import Event
from services.common import events as e
from services.common.models import ErrorDetail, JobOptions, JobStatus, Target
from services.common.targets import digest
from services.jobs.domain import commands, dead_letters, dispatches, failures, listings
from services.jobs.domain.accounting import Out, end, settle
from services.jobs.domain.rows import TARGETS_SHOWN, JobRow, ListingRow, ListingState, Rows


@dataclass(frozen=True)
class Accepted:
    """A job whose targets, options and output_dir were found good."""

    targets: tuple[Target, ...]
    root: str


def create(rows: Rows, event: e.JobCreated, trace_id: str, verdict: Accepted | ErrorDetail, now: datetime) -> list[Out]:
    """Take a new job in, or reject it: it is kept as failed, so that its sender can ask why."""
    options = JobOptions.model_validate(event.options.model_dump(exclude={"api_key"}))
    job = JobRow(
        job_id=event.job_id,
        trace_id=trace_id,
        type=event.type,
        options=options,
        targets=event.targets[:TARGETS_SHOWN],
        target_count=len(event.targets),
        targets_digest=digest(event.targets),
        priority=event.priority,
        root=verdict.root if isinstance(verdict, Accepted) else "",
        status=JobStatus.QUEUED,
        created_at=now,
        updated_at=now,
    )
    rows.add(job)
    if isinstance(verdict, ErrorDetail):
        job.error = verdict
        return end(job, JobStatus.FAILED, now)
    job.listings = job.listings_open = len(verdict.targets)
    out: list[Out] = []
    for index, target in enumerate(verdict.targets):
        listing = ListingRow(job.job_id, index, target, 0, ListingState.QUEUED, now)
        rows.add(listing)
        out += listings.queue_listing(job, listing, now)
    return out + settle(job, now)


def step(
    rows: Rows, event: Event, now: datetime, *, recheck_after: timedelta = listings.RECHECK_GONE_AFTER
) -> list[Out]:
    """Apply one fact of another service, or one wish of a user. KeyError for an event that is not jobs' business.

    `recheck_after`: how old the knowledge that a video is gone may get until it is tried again; 0: any age.
    """
    if isinstance(event, e.ArchiveChecked):
        return listings.archive_checked(rows, event, now, recheck_after)
    return _STEPS[type(event)](rows, event, now)


def refuse(rows: Rows, letter: e.DeadLettered, trace_id: str, now: datetime) -> list[Out]:
    """A job.created that could not be read, or that broke its handler, is kept as a failed job too."""
    found = dead_letters.refused(letter)
    if found is None or rows.job(found[0].job_id) is not None:
        return []
    return create(rows, found[0], trace_id, found[1], now)


_STEPS: dict[type[Event], Callable[[Rows, Any, datetime], list[Out]]] = {
    e.JobCancelRequested: commands.cancel_requested,
    e.JobPauseRequested: commands.pause_requested,
    e.JobResumeRequested: commands.resume_requested,
    e.JobRetryRequested: commands.retry_requested,
    e.JobPriorityRequested: commands.priority_requested,
    e.ListingPageFetched: listings.page_fetched,
    e.ArchiveChecked: listings.archive_checked,
    e.ListingCompleted: listings.listing_completed,
    e.ListingFailed: listings.listing_failed,
    e.DownloadStarted: dispatches.started,
    e.DownloadCompleted: dispatches.completed,
    e.DownloadFailed: dispatches.download_failed,
    e.DownloadDeferred: dispatches.deferred,
    e.DownloadCancelled: commands.download_cancelled,
    e.VideoArchived: dispatches.video_archived,
    e.StorageFailed: dispatches.storage_failed,
    e.MetadataArchived: dispatches.metadata_archived,
    e.WorkPlanUpdated: failures.work_plan_updated,
    e.DeadLettered: dead_letters.dead_lettered,
}

HANDLED: tuple[type[Event], ...] = tuple(_STEPS)
