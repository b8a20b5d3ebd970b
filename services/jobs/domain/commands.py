"""The commands of users: cancel, pause, resume, retry, set the priority. Pure."""

from datetime import datetime

from services.common import events as e
from services.common.domain.jobs import ItemStatus
from services.common.domain.videos import TargetKind, Wanted
from services.common.errors import InvalidRequest, NotFound
from services.common.models import JobStatus
from services.jobs.domain import dispatches, listings
from services.jobs.domain.accounting import Out, open_job, reopen, set_retrying, settle, touch
from services.jobs.domain.rows import FetchState, ItemRow, JobRow, ListingState, Rows

BATCH = 500  # items cancelled in one step; the dispatcher cancels the rest

Command = (
    e.JobCancelRequested | e.JobPauseRequested | e.JobResumeRequested | e.JobRetryRequested | e.JobPriorityRequested
)


def check(rows: Rows, command: Command) -> JobRow:
    """Return the job of a command. Raise NotFound or InvalidRequest when the command would have no effect."""
    job = rows.job(command.job_id)
    if job is None:
        raise NotFound(f"There is no job {command.job_id}: GET /api/v1/jobs lists them.", job_id=command.job_id)
    if job.status.ended is not isinstance(command, e.JobRetryRequested):
        state = f"has ended as {job.status}" if job.status.ended else "is still open"
        raise InvalidRequest(f"Job {job.job_id} {state}: {command.subject} has no effect.", status=job.status)
    match command:
        case e.JobRetryRequested() if not has_failures(job):
            what = "has no failed or unavailable videos" if job.listings else "was rejected and never started"
            raise InvalidRequest(f"Job {job.job_id} {what}: there is nothing to retry.")
        case e.JobCancelRequested(video_id=str(video_id)):
            item = rows.item(job.job_id, video_id)
            if item is None:
                raise NotFound(f"Job {job.job_id} has no video {video_id}.", job_id=job.job_id, video_id=video_id)
            if not item.status.open:
                raise InvalidRequest(f"{video_id} has ended ({item.status}): there is nothing to cancel.")
    return job


def cancel_requested(rows: Rows, event: e.JobCancelRequested, now: datetime) -> list[Out]:
    """Cancel a job or one of its videos: waiting items end now, running ones when their worker has stopped, complete
    ones are archived."""
    job = open_job(rows, event.job_id)
    if job is None:
        return []
    if event.video_id is not None:
        item = rows.item(job.job_id, event.video_id)
        return _cancel(rows, job, item, now) if item and not item.cancelling else []
    job.cancelling = True
    for index in range(job.listings):
        listing = rows.listing(job.job_id, index)
        if listing and listing.state.open:
            listing.state, listing.since = ListingState.CANCELLED, now
            job.listings_open -= 1
            job.listings_cancelled += 1
    touch(job, now)
    return cancel_more(rows, job, now)


def cancel_more(rows: Rows, job: JobRow, now: datetime) -> list[Out]:
    """Cancel the next batch of open items of a job."""
    out: list[Out] = []
    for item in rows.open_items(job.job_id, BATCH):
        out += _cancel(rows, job, item, now)
    return out + settle(job, now)


def _cancel(rows: Rows, job: JobRow, item: ItemRow, now: datetime) -> list[Out]:
    if item.status not in {ItemStatus.LISTED, ItemStatus.WAITING, ItemStatus.RUNNING}:
        return []  # ended, or being written to the work plan
    fetch = rows.fetch(item.video_id)
    alone = [other.job_id for other in rows.waiters(item.video_id)] == [item.job_id]
    if fetch is None or not alone:
        return dispatches.cancel_item(job, item, now)
    if fetch.state is FetchState.STORING:  # complete: storage archives it, or it is not retried
        item.cancelling = True
        touch(job, now, item)
        return []
    if fetch.state is FetchState.CLAIMED:
        item.cancelling = True
        touch(job, now, item)
        return dispatches.cancel_requests(rows, fetch)
    rows.drop(fetch)
    out = dispatches.cancel_item(job, item, now)
    if fetch.number:  # an earlier attempt may have left a partial
        out.append((e.DownloadCancelRequested(**fetch.names()), job.trace_id))
    return out


def download_cancelled(rows: Rows, event: e.DownloadCancelled, now: datetime) -> list[Out]:
    """Apply that a worker stopped. When a user stopped the task itself, the video is cancelled in every job."""
    out = dispatches.download_cancelled(rows, event, now)
    fetch = rows.fetch(event.video_id)
    if event.by_hand and fetch is not None and fetch.fetch_id == event.fetch_id:
        for item in rows.waiters(event.video_id):
            job = rows.job(item.job_id)
            if job is not None and not item.cancelling:
                out += _cancel(rows, job, item, now)
    return out


def pause_requested(rows: Rows, event: e.JobPauseRequested, now: datetime) -> list[Out]:
    return _pause(rows, event.job_id, now, paused=True)


def resume_requested(rows: Rows, event: e.JobResumeRequested, now: datetime) -> list[Out]:
    return _pause(rows, event.job_id, now, paused=False)


def _pause(rows: Rows, job_id: str, now: datetime, *, paused: bool) -> list[Out]:
    job = open_job(rows, job_id)
    if job is not None and job.paused is not paused:
        job.paused = paused
        touch(job, now)
    return []


def priority_requested(rows: Rows, event: e.JobPriorityRequested, now: datetime) -> list[Out]:
    job = open_job(rows, event.job_id)
    if job is not None and job.priority != event.priority:
        job.priority = event.priority
        touch(job, now)
    return []


def list_again(rows: Rows, job: JobRow, now: datetime) -> list[Out]:
    """List the playlists and channels of a job again that only waits for scheduled retries: a stream that never ends
    must not hide what was added since."""
    if job.status.ended:
        return []
    touch(job, now)  # also without an effect: a client that sent the request again follows the job from here
    if job.status is not JobStatus.RETRYING or job.cancelling or job.listings_open:
        return []
    out: list[Out] = []
    for index in range(job.listings):
        listing = rows.listing(job.job_id, index)
        if listing is None or listing.target.kind is TargetKind.VIDEOS:
            continue
        job.listings_failed -= listing.state is ListingState.FAILED
        job.listings_open += 1
        listing.attempts, listing.error, listing.cursor = 0, None, None
        listing.awaited, listing.seen, listing.again = None, frozenset(), True
        job.error = None  # of the earlier listing
        out += listings.queue_listing(job, listing, now)
    if out:
        set_retrying(job, 0, None, now)  # at once: who follows the job would take the old status for an end
    return out + settle(job, now)


def retry_requested(rows: Rows, event: e.JobRetryRequested, now: datetime) -> list[Out]:
    """Reopen failed, unavailable and cancelled items with no attempt spent, and list failed targets again.

    The archive is checked first, unless the job fetches everything (option skip_existing off).
    """
    job = rows.job(event.job_id)
    if job is None or not job.listings or job.cancelling:
        return []
    out: list[Out] = []
    again: dict[int, list[ItemRow]] = {}
    for item in rows.failures(job.job_id):
        _reopen(job, item)
        again.setdefault(item.target_index, []).append(item)
    for index in range(job.listings):
        listing = rows.listing(job.job_id, index)
        items = again.get(index, [])
        if listing and job.options.skip_existing:
            out += listings.ask_archive(job, listing, items, now)
        else:
            for item in items:
                listings.wait(rows, job, item, item.need or Wanted.of(job.type, job.options), now)
        if listing and listing.state in {ListingState.FAILED, ListingState.CANCELLED}:
            job.listings_failed -= listing.state is ListingState.FAILED
            job.listings_cancelled -= listing.state is ListingState.CANCELLED
            job.listings_open += 1
            listing.attempts, listing.error, listing.awaited = 0, None, None
            out += listings.queue_listing(job, listing, now)
    if not job.status.ended and (again or out):
        set_retrying(job, 0, None, now)  # something waits for no time any more
    if job.status.ended:
        if job.open or job.listings_open:
            job.status = JobStatus.RUNNING if job.total else JobStatus.QUEUED
            job.finished_at, job.error = None, None
        touch(job, now)  # also without an effect: a client that follows the retry waits for the end after it
    return out


def has_failures(job: JobRow) -> bool:
    """Return whether a retry of this ended job has something to do; a rejected job has not."""
    targets = job.listings_failed + job.listings_cancelled
    return job.listings > 0 and targets + job.unavailable + job.failed + job.cancelled > 0


def _reopen(job: JobRow, item: ItemRow) -> None:
    reopen(job, item)
    item.attempts, item.errors, item.refused, item.refused_at = 0, [], 0, None
    item.again, item.asked_again = True, 0
    item.reason = item.message = item.error_code = item.retry_at = None
