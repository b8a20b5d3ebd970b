"""The effect of each event on jobs, items, listings and fetches. Pure: it changes rows and returns events.

    step(rows, event, now) -> [(event, trace_id), ...]

Events may arrive twice, late or in another order: an ended item does not change, and an event of an older dispatch is
ignored, except that `video.archived` is always credited.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bus.errors import NotNow
from bus.message import Event
from services.common import events as e
from services.common.domain.videos import Target
from services.common.models import ErrorDetail, JobOptions, JobStatus
from services.common.targets import digest, group_targets
from services.jobs.domain import commands, dead_letters, dispatches, follows, listings, streaks
from services.jobs.domain.accounting import Out, end, settle
from services.jobs.domain.rhythm import Pace
from services.jobs.domain.rows import TARGETS_SHOWN, JobRow, ListingRow, ListingState, Rows

_PACE = Pace()


@dataclass(frozen=True)
class Accepted:
    """A job with valid targets, options and output_dir. `digest` is the digest of its targets."""

    targets: tuple[Target, ...]
    root: str
    digest: str


@dataclass(frozen=True)
class Rejected:
    """A job that cannot be done, and why."""

    error: ErrorDetail
    digest: str


Verdict = Accepted | Rejected


def create(rows: Rows, event: e.JobCreated, trace_id: str, verdict: Verdict, now: datetime) -> list[Out]:
    """Create a job. A rejected one is stored as failed, so that its sender can look up why."""
    options = JobOptions.model_validate(event.options.model_dump(exclude={"api_key"}))
    job = JobRow(
        job_id=event.job_id,
        trace_id=trace_id,
        type=event.type,
        options=options,
        targets=event.targets[:TARGETS_SHOWN],
        target_count=len(event.targets),
        targets_digest=verdict.digest,
        priority=event.priority,
        root=verdict.root if isinstance(verdict, Accepted) else "",
        status=JobStatus.QUEUED,
        created_at=now,
        updated_at=now,
    )
    rows.add(job)
    if isinstance(verdict, Rejected):
        job.error = verdict.error
        return end(job, JobStatus.FAILED, now)
    job.listings = job.listings_open = len(verdict.targets)
    out: list[Out] = []
    for index, target in enumerate(verdict.targets):
        listing = ListingRow(job.job_id, index, target, 0, ListingState.QUEUED, now)
        rows.add(listing)
        out += listings.queue_listing(job, listing, now)
    return out + settle(job, now)


def apply(
    rows: Rows,
    event: Event,
    trace_id: str,
    now: datetime,
    *,
    verdict: Verdict | None,
    recheck_after: timedelta,
    pace: Pace,
) -> list[Out]:
    """Apply one message of the inbox. `verdict` is that of a new job, unless the job exists."""
    match event:
        case e.JobCreated():
            if (known := rows.job(event.job_id)) is not None:
                return commands.list_again(rows, known, now)
            if verdict is None:
                raise NotNow(f"job {event.job_id} was removed while its message was handled", delay=0.0)
            rows.discard_removed(event.job_id)
            return create(rows, event, trace_id, verdict, now)
        case e.SourceBlocked():
            return streaks.blocked(rows, event, now)
        case e.SourceCleared():
            streaks.cleared(rows, event.egress, now)
        case e.ServiceRegistered() | e.ServiceStopped():
            pass  # of interest to the registry only
        case e.DeadLettered() if out := refuse(rows, event, trace_id, now):
            return out
        case _:
            return step(rows, event, now, trace_id, recheck_after=recheck_after, pace=pace)
    return []


def step(
    rows: Rows,
    event: Event,
    now: datetime,
    trace_id: str = "",
    *,
    recheck_after: timedelta = listings.RECHECK_GONE_AFTER,
    pace: Pace = _PACE,
) -> list[Out]:
    """Apply one event of another service, or one command of a user. Raise KeyError for any other event.

    `recheck_after`: the age at which a video that is known to be gone is tried again; 0: never. `pace`: of looks at
    follows.
    """
    match event:
        case e.ArchiveChecked():
            return listings.archive_checked(rows, event, now, recheck_after)
        case e.FollowCreated():
            return follows.created(rows, event, now, pace)
        case e.FollowChanged():
            return follows.changed(rows, event, now, pace)
        case e.FollowLooked():
            return _looked(rows, event, trace_id, now, pace)
        case _:
            return _STEPS[type(event)](rows, event, now)


def _looked(rows: Rows, event: e.FollowLooked, trace_id: str, now: datetime, pace: Pace) -> list[Out]:
    """End a look at a follow, and create the job that fetches what it has found."""
    out, found = follows.looked(rows, event, trace_id, now, pace)
    if found is None:
        return out
    accepted = Accepted(tuple(group_targets(found.event.targets)), found.root, digest(found.event.targets))
    out = create(rows, found.event, found.trace_id, accepted, now) + out
    job = rows.job(found.event.job_id)
    if job is not None:
        job.title = found.title
    return out


def refuse(rows: Rows, letter: e.DeadLettered, trace_id: str, now: datetime) -> list[Out]:
    """Store a job.created that was invalid, or made its handler fail, as a failed job too."""
    found = dead_letters.refused(letter)
    if found is None or rows.job(found[0].job_id) is not None:
        return []
    event, error = found
    return create(rows, event, trace_id, Rejected(error, digest(event.targets)), now)


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
    e.DownloadCompleted: dispatches.completed,
    e.DownloadFailed: dispatches.download_failed,
    e.DownloadDeferred: dispatches.deferred,
    e.DownloadCancelled: commands.download_cancelled,
    e.VideoArchived: dispatches.video_archived,
    e.StorageFailed: dispatches.storage_failed,
    e.MetadataArchived: dispatches.metadata_archived,
    e.WorkPlanUpdated: streaks.work_plan_updated,
    e.DeadLettered: dead_letters.dead_lettered,
    e.FollowRemoved: follows.removed,
    e.FollowLookRequested: follows.look_requested,
    e.FollowListed: follows.listed,
}

HANDLED: tuple[type[Event], ...] = (*_STEPS, e.FollowCreated, e.FollowChanged, e.FollowLooked)
