"""What each fact means for jobs, items, listings and fetches. Pure: rows in, changed rows and facts out.

    step(rows, event, now) -> [(event, trace_id), ...]

Facts may come twice, late, or in another order: an item that ended stays as it is, and a fact of an older dispatch
is ignored, except that `video.archived` is credited always.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bus.message import Event
from services.common import events as e
from services.common.models import ErrorCode, ErrorDetail, Failure, FailureKind, JobOptions, JobStatus, Target
from services.jobs import dispatches, gaps, listings, wishes
from services.jobs.ledger import Out, end, open_job, settle
from services.jobs.rows import JobRow, ListingRow, ListingState, Rows


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
        targets=event.targets,
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


def step(rows: Rows, event: Event, now: datetime) -> list[Out]:
    """Apply one fact of another service, or one wish of a user. KeyError for an event that is not jobs' business."""
    return _STEPS[type(event)](rows, event, now)


def _dead_lettered(rows: Rows, event: e.DeadLettered, now: datetime) -> list[Out]:
    """A message that nobody could handle ends what it stood for with E999, so that no job waits for ever."""
    error = ErrorDetail(code=ErrorCode.INTERNAL_ERROR, message=f"{event.type} could not be handled: {event.error}")
    if event.dispatch_id and event.video_id:
        failure = Failure(kind=FailureKind.LOCAL, code=error.code, reason="dead_letter", message=error.message)
        return dispatches.attempt_failed(rows, event.video_id, event.dispatch_id, failure, None, now, last=True)
    job = open_job(rows, event.job_id) if event.job_id else None
    if job is None:
        return []
    if event.type == e.VideoFailed.subject and event.video_id:
        return gaps.close_without_plan(rows, job, event.video_id, error, now)
    listing = rows.listing(job.job_id, event.target_index) if event.target_index is not None else None
    return listings.fail(job, listing, error, now) if listing else []


_STEPS: dict[type[Event], Callable[[Rows, Any, datetime], list[Out]]] = {
    e.JobCancelRequested: wishes.cancel_requested,
    e.JobPauseRequested: wishes.pause_requested,
    e.JobResumeRequested: wishes.resume_requested,
    e.JobRetryRequested: wishes.retry_requested,
    e.ListingPageFetched: listings.page_fetched,
    e.ArchiveChecked: listings.archive_checked,
    e.ListingCompleted: listings.listing_completed,
    e.ListingFailed: listings.listing_failed,
    e.DownloadStarted: dispatches.started,
    e.DownloadCompleted: dispatches.completed,
    e.DownloadFailed: dispatches.download_failed,
    e.DownloadDeferred: dispatches.deferred,
    e.DownloadCancelled: dispatches.download_cancelled,
    e.VideoArchived: dispatches.video_archived,
    e.StorageFailed: dispatches.storage_failed,
    e.MetadataArchived: dispatches.metadata_archived,
    e.WorkPlanUpdated: gaps.work_plan_updated,
    e.DeadLettered: _dead_lettered,
}

HANDLED: tuple[type[Event], ...] = tuple(_STEPS)
