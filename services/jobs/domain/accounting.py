"""The accounting of a job: its items, counters, status and end. Pure."""

from datetime import datetime

from bus.message import Event
from services.common import events as e
from services.common.domain.jobs import ItemStatus
from services.common.domain.videos import Entry
from services.common.models import JobResult, JobStatus
from services.jobs.domain.rows import ItemRow, JobRow, Rows
from services.jobs.domain.views import job_view

_MOST_NOTES = 20
_LISTING_STRIDE = 1_000_000  # positions of the second target come after those of the first

Out = tuple[Event, str]  # an event and its trace_id

_ENDS: dict[JobStatus, type[e.JobCompleted] | type[e.JobFailed] | type[e.JobCancelled]] = {
    JobStatus.COMPLETED: e.JobCompleted,
    JobStatus.FAILED: e.JobFailed,
    JobStatus.CANCELLED: e.JobCancelled,
}


def open_job(rows: Rows, job_id: str) -> JobRow | None:
    job = rows.job(job_id)
    return None if job is None or job.status.ended else job


def job_accepting_items(rows: Rows, job_id: str) -> JobRow | None:
    """Return an open job that accepts new items, i.e. is not being cancelled."""
    job = open_job(rows, job_id)
    return None if job is None or job.cancelling else job


def add_item(
    rows: Rows, job: JobRow, target_index: int, entry: Entry, playlist_id: str | None, now: datetime
) -> ItemRow:
    """Return the item of an entry. It is created on the first occurrence: items are unique per job and video."""
    item = rows.item(job.job_id, entry.video_id)
    if item is None:
        position = target_index * _LISTING_STRIDE + entry.position
        item = ItemRow(job.job_id, entry.video_id, target_index, position, ItemStatus.LISTED, now)
        item.title, item.playlist_id, item.marked = entry.title, playlist_id, entry.marked
        rows.add(item)
        job.total += 1
        job.open += 1
        touch(job, now, item)
    return item


def add_note(job: JobRow, text: str) -> None:
    """Add what a user should know of a job, and what is no failure; the first 20 notes are kept."""
    if text not in job.notes and len(job.notes) < _MOST_NOTES:
        job.notes = (*job.notes, text)


def finish(job: JobRow, item: ItemRow, status: ItemStatus, now: datetime, *, result: JobResult) -> None:
    item.status, item.since, item.result = status, now, result
    item.retry_at, item.dispatch_id, item.cancelling = None, None, False
    if status in {ItemStatus.ARCHIVED, ItemStatus.SKIPPED}:
        item.reason = item.error_code = None
        item.message = result.message
        item.need = None  # kept for a failed item: a retry fetches just that
    job.open -= 1
    match status:
        case ItemStatus.ARCHIVED:
            job.archived += 1
        case ItemStatus.SKIPPED:
            job.skipped += 1
        case ItemStatus.UNAVAILABLE:
            job.unavailable += 1
        case ItemStatus.CANCELLED:
            job.cancelled += 1
        case _:
            job.failed += 1
    touch(job, now, item)


def leave_out(job: JobRow, item: ItemRow, reason: str, now: datetime) -> None:
    """End an item that the rules of its job do not take: no failure, and no gap."""
    result = JobResult(video_id=item.video_id, status="skipped", message=f"left out: {reason}")
    finish(job, item, ItemStatus.SKIPPED, now, result=result)


def reopen(job: JobRow, item: ItemRow) -> None:
    """Uncount an item that was given up. The caller decides what it waits for."""
    match item.status:
        case ItemStatus.UNAVAILABLE:
            job.unavailable -= 1
        case ItemStatus.CANCELLED:
            job.cancelled -= 1
        case ItemStatus.FAILED:
            job.failed -= 1
    job.open += not item.status.open
    item.outcome = item.result = item.shortfall = None


def touch(job: JobRow, now: datetime, item: ItemRow | None = None) -> None:
    job.revision += 1
    job.updated_at = now
    if item is not None:
        item.revision = job.revision


def settle(job: JobRow, now: datetime) -> list[Out]:
    """Update the status of a job after a change. It ends when every target is listed or failed and no item is open."""
    if job.status.ended:
        return []
    if job.listings_open == 0 and job.open == 0:
        return end(job, _last_status(job), now)
    if job.total and job.status is JobStatus.QUEUED:
        job.status = JobStatus.RUNNING
    return []


def _last_status(job: JobRow) -> JobStatus:
    """Return the final status. A job that was complete before anything of it was cancelled is completed."""
    if job.cancelling and (job.cancelled or job.listings_cancelled):
        return JobStatus.CANCELLED
    return JobStatus.FAILED if job.listings_failed == job.listings else JobStatus.COMPLETED


def set_retrying(job: JobRow, waiting: int, earliest: datetime | None, now: datetime) -> None:
    """Set the status `retrying` if everything that is open waits for a later time. `waiting` is the number of such
    items and listings, `earliest` the first of the times."""
    only_timers = waiting > 0 and waiting == job.open + job.listings_open
    status = JobStatus.RETRYING if only_timers else JobStatus.RUNNING if job.total else JobStatus.QUEUED
    retry_at = earliest if only_timers else None
    if (job.status, job.retry_at) != (status, retry_at):
        job.status, job.retry_at = status, retry_at
        touch(job, now)


def set_waiting(job: JobRow, waiting_for: str | None, now: datetime) -> None:
    if job.waiting_for != waiting_for:
        job.waiting_for = waiting_for
        touch(job, now)


def end(job: JobRow, status: JobStatus, now: datetime) -> list[Out]:
    job.status, job.finished_at, job.retry_at = status, now, None
    job.waiting_for = None
    job.cancelling = job.paused = False
    touch(job, now)
    kind = _ENDS[status]
    return [(kind(job_id=job.job_id, revision=job.revision, job=job_view(job)), job.trace_id)]
