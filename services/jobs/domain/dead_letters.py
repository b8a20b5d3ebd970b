"""Dead letters: a message that a consumer could not handle ends what it was about with E999, so that no job waits for
ever. Pure.

consumer of               event                                    ends
metadata                  job.queued                               the listing
download                  download.requested                       the items of the dispatch
storage                   download.completed, metadata.fetched     the items of the dispatch
storage                   listing.page_fetched                     the items of the page that wait for the check
storage                   video.failed                             the item, without a work plan
storage                   other events of a listing                nothing: the job has an error, a file is missing
jobs                      an event of these services               as above, and the listing with its pages
jobs                      job.created                              the job: rejected
metadata, jobs            follow.look_due, .listed, .looked        the look, which is repeated later
logging; download, of video.archived                               nothing: no job waits for them
"""

import re
from datetime import datetime

from bus.message import Envelope
from services.common import events as e
from services.common.archive_coverage import only_metadata
from services.common.domain.failures import Failure, FailureKind
from services.common.domain.jobs import JOB_ID_PATTERN, ItemStatus
from services.common.models import ErrorCode, ErrorDetail
from services.jobs.domain import dispatches, failures, follows, listings
from services.jobs.domain.accounting import Out, open_job, settle, touch
from services.jobs.domain.rows import ItemRow, JobRow, Rows

INBOX = "jobs-inbox"
REASON = "dead_letter"

_IGNORED = re.compile(r"logging-.*|download-video_archived")
_PLANS = {e.VideoFailed.subject, e.WorkPlanUpdated.subject}
_PAGES = {e.ListingPageFetched.subject, e.ArchiveChecked.subject}
_METADATA = {e.MetadataFetched.subject, e.MetadataArchived.subject}
_LOOKS = {e.FollowLookDue.subject, e.FollowListed.subject, e.FollowLooked.subject}
_PLAYLIST_FILE = {e.PlaylistFetched.subject, e.ListingCompleted.subject, e.ListingFailed.subject}


def dead_lettered(rows: Rows, event: e.DeadLettered, now: datetime) -> list[Out]:
    if _IGNORED.fullmatch(event.consumer):
        return []
    error = ErrorDetail(code=ErrorCode.INTERNAL_ERROR, message=f"{event.type} could not be handled: {event.error}")
    if event.type in _LOOKS and event.follow_id is not None:
        follows.look_lost(rows, event.follow_id, error, now)
        return []
    out: list[Out] = []
    if event.dispatch_id and event.video_id:
        out += dispatches.attempt_failed(rows, event.video_id, event.dispatch_id, _failure(error), None, now, last=True)
    job = open_job(rows, event.job_id) if event.job_id else None
    return out + _of_job(rows, job, event, error, now) if job else out


def refused(letter: e.DeadLettered) -> tuple[e.JobCreated, ErrorDetail] | None:
    """Return a job.created that could not be handled, as far as it is known, and the error. None if the dead letter is
    about something else, or has no valid job id."""
    if (letter.type, letter.consumer) != (e.JobCreated.subject, INBOX):
        return None
    if letter.job_id is None or not re.fullmatch(JOB_ID_PATTERN.strip("^$"), letter.job_id):
        return None
    code = ErrorCode.INVALID_REQUEST if letter.unreadable else ErrorCode.INTERNAL_ERROR
    return e.JobCreated(job_id=letter.job_id, targets=("?",)), ErrorDetail(code=code, message=letter.error)


def unsendable(envelope: Envelope, why: str) -> e.DeadLettered:
    """Return the dead letter of an event that is too large for the broker. It is applied here and not published."""
    job_id, video_id = envelope.data.get("job_id"), envelope.data.get("video_id")
    return e.DeadLettered(
        type=envelope.type,
        consumer="jobs-outbox",
        sequence=0,
        error=why,
        payload="",
        job_id=job_id,
        video_id=video_id,
        dispatch_id=envelope.data.get("dispatch_id"),
        target_index=envelope.data.get("target_index"),
        video_ids=(video_id,) if video_id else (),
    )


def _of_job(rows: Rows, job: JobRow, event: e.DeadLettered, error: ErrorDetail, now: datetime) -> list[Out]:
    out: list[Out] = []
    if event.type in _PLANS:
        for video_id in event.video_ids:
            out += failures.close_without_plan(rows, job, video_id, error, now)
        return out
    if event.type in _METADATA and event.video_id:
        return _metadata_lost(rows, job, event, error, now)
    if event.type in _PAGES:
        out += _page_lost(rows, job, event.video_ids, error, now)
    if event.target_index is None:
        return out
    listing = rows.listing(job.job_id, event.target_index)
    if event.type == e.JobQueued.subject or event.consumer == INBOX:
        return out + (listings.fail(job, listing, error, now) if listing else [])
    if event.type in _PLAYLIST_FILE and job.error is None:
        job.error = error
        touch(job, now)
    return out


def _page_lost(rows: Rows, job: JobRow, video_ids: tuple[str, ...], error: ErrorDetail, now: datetime) -> list[Out]:
    """Fail the items whose archive check was lost."""
    out: list[Out] = []
    for video_id in video_ids:
        item = rows.item(job.job_id, video_id)
        if item and item.status is ItemStatus.LISTED:
            out += _give_up(job, item, error, now)
    return out


def _metadata_lost(rows: Rows, job: JobRow, event: e.DeadLettered, error: ErrorDetail, now: datetime) -> list[Out]:
    """Fetch metadata of the Data API that were lost once more, by a download. If those are lost too, an item that waits
    for nothing else fails: another attempt would end the same way."""
    item = rows.item(job.job_id, event.video_id or "")
    if item is None:
        return []
    if event.dispatch_id is None:
        return listings.description_lost(rows, job, item.video_id, now)
    if item.status is not ItemStatus.WAITING or item.dispatch_id is not None or not only_metadata(item.need):
        return []
    out = _give_up(job, item, error, now)
    fetch = rows.fetch(item.video_id)
    if fetch and not rows.waiters(item.video_id):
        rows.drop(fetch)
    return out + settle(job, now)


def _give_up(job: JobRow, item: ItemRow, error: ErrorDetail, now: datetime) -> list[Out]:
    dispatches.note_failure(item, _failure(error), now)
    return failures.give_up(job, item, ItemStatus.FAILED, REASON, now)


def _failure(error: ErrorDetail) -> Failure:
    return Failure(kind=FailureKind.LOCAL, code=error.code, reason=REASON, message=error.message)
