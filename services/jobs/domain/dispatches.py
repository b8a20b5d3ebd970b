"""Fetches of videos: one for all jobs that wait for a video, its dispatches and their outcomes. Pure."""

from datetime import datetime
from typing import Any

from services.common import events as e
from services.common.archive_coverage import lacks_only_captions, missing, only_metadata, shortfall, union
from services.common.domain.failures import Failure, FailureKind, GoneReason, Suspicion
from services.common.domain.follows import follow_of_job
from services.common.domain.jobs import ItemStatus
from services.common.domain.videos import Wanted
from services.common.models import ErrorCode, JobResult, JobType
from services.jobs.domain import follows, streaks
from services.jobs.domain.accounting import Out, finish, leave_out, open_job, settle, touch
from services.jobs.domain.failures import failed_result, give_up
from services.jobs.domain.rows import FetchRow, FetchState, ItemRow, JobRow, Rows
from services.jobs.domain.scheduler import MAX_ATTEMPTS, backoff

_KEPT = "a better copy is archived and was kept: --force would replace it"


def dispatch(rows: Rows, job_id: str, video_id: str, now: datetime) -> list[Out]:
    """Dispatch a video in the turn of a job, for every job that waits for it and can be served by the same fetch."""
    fetch = rows.fetch(video_id)
    waiting = [(item, job) for item, job in _waiting(rows, video_id) if not job.paused]
    first = next((pair for pair in waiting if pair[1].job_id == job_id), None)
    if fetch is None or fetch.state is not FetchState.IDLE or first is None:
        return []
    first_item, first_job = first
    wanted = first_item.need or Wanted.of(first_job.type, first_job.options)
    served = [(first_item, first_job)]
    for item, job in waiting:
        together = union(wanted, item.need) if item.need and job.root == first_job.root else None
        if item is not first_item and together:
            wanted = together
            served.append((item, job))
    fetch.number += 1
    fetch.state, fetch.since, fetch.instance = FetchState.DISPATCHED, now, None
    fetch.root, fetch.job_id, fetch.wanted = first_job.root, first_job.job_id, wanted
    for item, job in served:
        item.dispatch_id = fetch.dispatch_id
        item.retry_at = None
        touch(job, now, item)
    return [(e.DownloadRequested(**fetch.names(), wanted=wanted), first_job.trace_id)]


def claimed(rows: Rows, fetch: FetchRow, instance: str, now: datetime, egress: str = "") -> None:
    """Apply that a worker claimed the dispatch: its items are running."""
    fetch.state, fetch.since, fetch.instance = FetchState.CLAIMED, now, instance
    fetch.egress = egress or fetch.egress
    for item, job in _served(rows, fetch):
        item.status, item.since, item.begun = ItemStatus.RUNNING, now, now
        touch(job, now, item)
        settle(job, now)


def release(rows: Rows, fetch: FetchRow, now: datetime, retry_at: datetime | None = None) -> list[Out]:
    """Release a dispatch that was deferred, is unanswered, or whose worker is gone, with no attempt spent. The next
    dispatch gets a new id."""
    fetch.state, fetch.since, fetch.instance = FetchState.IDLE, now, None
    out: list[Out] = []
    for item, job in _waiting(rows, fetch.video_id):
        if item.cancelling:  # also one that joined during the download
            out += cancel_item(job, item, now)
        elif item.dispatch_id == fetch.dispatch_id:
            item.status, item.since, item.dispatch_id, item.retry_at = ItemStatus.WAITING, now, None, retry_at
            touch(job, now, item)
    if not rows.waiters(fetch.video_id):
        rows.drop(fetch)
    return out


def cancel_item(job: JobRow, item: ItemRow, now: datetime) -> list[Out]:
    item.message = "cancelled"
    result = failed_result(item, item.message).model_copy(update={"error_code": None})
    finish(job, item, ItemStatus.CANCELLED, now, result=result)
    return settle(job, now)


def cancel_requests(rows: Rows, fetch: FetchRow) -> list[Out]:
    """Return the request to stop the worker, when no job waits for the video any more; else []."""
    pairs = _waiting(rows, fetch.video_id)
    if fetch.state is not FetchState.CLAIMED or not pairs or not all(item.cancelling for item, _job in pairs):
        return []
    return [(e.DownloadCancelRequested(**fetch.names()), pairs[0][1].trace_id)]


def completed(rows: Rows, event: e.DownloadCompleted, now: datetime) -> list[Out]:
    fetch = current_fetch(rows, event.video_id, event.dispatch_id)
    if fetch is None:
        return []
    if only_metadata(fetch.wanted) and not _served(rows, fetch):
        return release(rows, fetch, now)  # metadata.archived came first: storage sends nothing else
    streaks.served(rows, fetch)
    fetch.state, fetch.since = FetchState.STORING, now
    for item, job in _served(rows, fetch):
        item.title = event.metadata.title
        item.file_size = sum(file.size for file in event.files) or item.file_size
        item.height = event.provenance.height
        touch(job, now, item)
    return []


def deferred(rows: Rows, event: e.DownloadDeferred, now: datetime) -> list[Out]:
    """Put the items back into the queue with no attempt spent, unless the site refuses this very video: it would be the
    first to be tried after every block, and cause the next block, for ever."""
    fetch = current_fetch(rows, event.video_id, event.dispatch_id)
    if fetch is None:
        return []
    out: list[Out] = []
    if event.failure is not None:
        failure = event.failure.model_copy(update={"retry_after": event.failure.retry_after or event.retry_after})
        refused = failure.kind is FailureKind.SITE_WIDE or event.reason in set(Suspicion)
        out = _defer(rows, fetch, failure, now, refused=refused)
    return out + release(rows, fetch, now, event.retry_after)


def _defer(rows: Rows, fetch: FetchRow, failure: Failure, now: datetime, *, refused: bool) -> list[Out]:
    out: list[Out] = []
    for item, job in _served(rows, fetch):
        item.reason, item.message, item.error_code = failure.reason, failure.message, failure.code
        touch(job, now, item)
        if refused:
            out += _refuse(rows, job, item, failure, now)
    return out


def _refuse(rows: Rows, job: JobRow, item: ItemRow, failure: Failure, now: datetime) -> list[Out]:
    if item.cancelling or not _refused_alone(rows, item, now):
        return []
    item.attempts = item.refused
    note_failure(item, failure, now)
    return give_up(job, item, ItemStatus.FAILED, failure.reason, now) + settle(job, now)


def _refused_alone(rows: Rows, item: ItemRow, now: datetime) -> bool:
    """Return whether the site refused this video for the third time, although it served others between the first and
    the second time."""
    if item.refused == 1 and item.refused_at is not None and not rows.served_since(min(item.refused_at, now)):
        return False  # the site has served no video since then
    item.refused, item.refused_at = item.refused + 1, now
    return item.refused >= MAX_ATTEMPTS


def download_cancelled(rows: Rows, event: e.DownloadCancelled, now: datetime) -> list[Out]:
    """Apply that a worker stopped. Items that joined after the request to stop wait again."""
    fetch = current_fetch(rows, event.video_id, event.dispatch_id)
    return release(rows, fetch, now) if fetch else []


def download_failed(rows: Rows, event: e.DownloadFailed, now: datetime) -> list[Out]:
    """Spend an attempt, or give the video up; but not for a failure that seems to be about this machine (streaks)."""
    fetch = current_fetch(rows, event.video_id, event.dispatch_id)
    if fetch is not None and event.file_size is not None:
        for item, _job in _served(rows, fetch):
            item.file_size = event.file_size
    if fetch is not None and streaks.judge(rows, fetch, _served(rows, fetch), event.failure, now):
        block = rows.block(fetch.egress)
        out = _defer(rows, fetch, event.failure, now, refused=True)
        return out + release(rows, fetch, now, block.until if block is not None else None)
    return attempt_failed(rows, event.video_id, event.dispatch_id, event.failure, event.title, now)


def storage_failed(rows: Rows, event: e.StorageFailed, now: datetime) -> list[Out]:
    return attempt_failed(rows, event.video_id, event.dispatch_id, event.failure, None, now)


def video_archived(rows: Rows, event: e.VideoArchived, now: datetime) -> list[Out]:
    """Credit every job that waits for the video in this root, whichever dispatch fetched it."""
    fetch = rows.fetch(event.video_id)
    current = current_fetch(rows, event.video_id, event.dispatch_id)
    out: list[Out] = []
    for item, job in _waiting(rows, event.video_id):
        if job.root != event.root:
            continue
        served = item.dispatch_id == event.dispatch_id
        if not job.options.skip_existing and not served:
            continue  # --force requires a copy fetched by this job
        still = missing(Wanted.of(job.type, job.options), event.held)
        if still is None or (served and lacks_only_captions(still)):  # they never decide whether a video is saved
            _credit(job, item, event, now)
        elif served:
            item.need = still
            out += _spend_attempt(job, item, _incomplete(still), now)
        else:
            item.need = still
        out += settle(job, now)
    return out + _fetch_over(rows, current or fetch, now, ended=current is not None)


def _next_look(event: e.VideoArchived, now: datetime) -> str:
    at = event.held.next_look
    if at is None:
        return "there is no further look"
    return f"next look at {at:%Y-%m-%d %H:%M} UTC" if at > now else "next look in the next run"


def _credit(job: JobRow, item: ItemRow, event: e.VideoArchived, now: datetime) -> None:
    if event.better is False and _only_looks(item):
        _skip_looked(job, item, event, now)
        return
    result = JobResult(
        video_id=item.video_id,
        status="success",
        metadata_saved=event.held.metadata,
        video_downloaded=bool(event.held.qualities),
        file_size=event.bytes,
        duration_seconds=event.duration_seconds,
        message=_KEPT if event.kept else None,
    )
    own = item.dispatch_id == event.dispatch_id and not event.kept  # else the height of what is held is not known
    item.shortfall = shortfall(Wanted.of(job.type, job.options), event.held, item.height if own else None)
    finish(job, item, ItemStatus.ARCHIVED, now, result=result)


def _skip_looked(job: JobRow, item: ItemRow, event: e.VideoArchived, now: datetime) -> None:
    result = JobResult(
        video_id=item.video_id,
        status="skipped",
        message=f"already archived; nothing better yet, {_next_look(event, now)}",
        metadata_saved=event.held.metadata,
        file_size=event.bytes or None,
    )
    finish(job, item, ItemStatus.SKIPPED, now, result=result)


def metadata_archived(rows: Rows, event: e.MetadataArchived, now: datetime) -> list[Out]:
    """End the items that need only metadata: those that wait for a fetch, and the item of the event's job."""
    out: list[Out] = []
    _note_metadata(rows, event)
    pairs = _waiting(rows, event.video_id)
    own, described = open_job(rows, event.job_id), rows.item(event.job_id, event.video_id)
    if own and described and described.status is ItemStatus.LISTED:
        pairs.append((described, own))
    for item, job in pairs:
        if not _ends_with(event, item, job):
            continue
        result = JobResult(video_id=item.video_id, status="success", metadata_saved=True)
        finish(job, item, ItemStatus.ARCHIVED, now, result=result)
        out += settle(job, now)
    current = current_fetch(rows, event.video_id, event.dispatch_id) if event.dispatch_id else None
    ended = current is not None and current.state is FetchState.STORING and only_metadata(current.wanted)
    return out + _fetch_over(rows, rows.fetch(event.video_id), now, ended=ended)


def _note_metadata(rows: Rows, event: e.MetadataArchived) -> None:
    """Note it also for the item of the event's job that was given up meanwhile."""
    own = rows.item(event.job_id, event.video_id)
    for item in {id(item): item for item in (*rows.waiters(event.video_id), own) if item is not None}.values():
        job = rows.job(item.job_id)
        if job is not None and job.root == event.root:
            item.metadata_saved = True
            if item.result is not None:
                item.result = item.result.model_copy(update={"metadata_saved": True})


def _ends_with(event: e.MetadataArchived, item: ItemRow, job: JobRow) -> bool:
    served = event.dispatch_id is not None and item.dispatch_id == event.dispatch_id
    if job.root != event.root or not (served or event.job_id == job.job_id or job.options.skip_existing):
        return False  # --force requires metadata fetched by this job
    return job.type is JobType.METADATA_ONLY if item.need is None else only_metadata(item.need)


# --- failures -------------------------------------------------------------------------------------------------------


def attempt_failed(
    rows: Rows,
    video_id: str,
    dispatch_id: str,
    failure: Failure,
    title: str | None,
    now: datetime,
    *,
    last: bool = False,
) -> list[Out]:
    fetch = current_fetch(rows, video_id, dispatch_id)
    if fetch is None:
        return []
    out: list[Out] = []
    for item, job in _served(rows, fetch):
        item.title = item.title or title
        if _left_out(failure, job):
            leave_out(job, item, failure.message, now)
            if (follow_id := follow_of_job(job.job_id)) is not None:
                follows.left_out(rows, follow_id, item.video_id, failure.message)
        elif failure.kind is FailureKind.GONE:
            item.attempts += 1
            item.message = failure.message
            out += give_up(job, item, ItemStatus.UNAVAILABLE, failure.reason, now)
        else:
            out += _spend_attempt(job, item, failure, now, last=last)
        out += settle(job, now)
    return out + _fetch_over(rows, fetch, now, ended=True)


def _left_out(failure: Failure, job: JobRow) -> bool:
    """Return whether a rule does not take the video; YouTube tells of some only that members alone may see them."""
    members = failure.reason == GoneReason.MEMBERS_ONLY and job.options.rules.members_only == "exclude"
    return members or failure.kind is FailureKind.LEFT_OUT


def _spend_attempt(job: JobRow, item: ItemRow, failure: Failure, now: datetime, *, last: bool = False) -> list[Out]:
    """Put an item back into the queue, or fail it after the third attempt (SPEC: RETRY_CONFIG); a refusal without a
    known reason fails it after the first: YouTube has answered, and re-checks look again.

    A failure that names a time to retry, and a timeout that got further than before, spend no attempt.
    """
    if item.cancelling:
        return cancel_item(job, item, now)
    free = failure.kind is FailureKind.NOT_YET or failure.gained_bytes
    free = free or (failure.kind is FailureKind.LOCAL and failure.retry_after is not None)
    item.attempts += not free
    note_failure(item, failure, now)
    last = last or failure.kind is FailureKind.REFUSED or (failure.kind is FailureKind.NOT_YET and _only_looks(item))
    if last or item.attempts >= MAX_ATTEMPTS:
        return give_up(job, item, ItemStatus.FAILED, failure.reason, now)
    item.status, item.since, item.dispatch_id = ItemStatus.WAITING, now, None
    item.retry_at = failure.retry_after or now + backoff(item.attempts)
    touch(job, now, item)
    return []


def _only_looks(item: ItemRow) -> bool:
    return item.need is not None and item.need.only_looks


def _incomplete(still: Wanted) -> Failure:
    parts = ["media"] * still.media + ["thumbnail"] * still.thumbnail + ["metadata"] * still.metadata
    parts += [f"captions/{lang}" for lang in still.captions] + ["info.json"] * still.info
    return Failure(
        kind=FailureKind.PASSING,
        code=ErrorCode.NETWORK_TIMEOUT,
        reason="incomplete",
        message=f"not fetched: {', '.join(parts)}",
    )


def note_failure(item: ItemRow, failure: Failure, now: datetime) -> None:
    entry: dict[str, Any] = {"at": now.isoformat(), "code": failure.code}
    item.errors = [*item.errors, entry | {"reason": failure.reason, "message": failure.message}][-10:]
    item.reason, item.message, item.error_code = failure.reason, failure.message, failure.code
    item.retry_after = failure.retry_after


# --- rows -----------------------------------------------------------------------------------------------------------


def _fetch_over(rows: Rows, fetch: FetchRow | None, now: datetime, *, ended: bool) -> list[Out]:
    """End a dispatch: delete the fetch if no job waits, else make it ready for the next dispatch."""
    if fetch is None:
        return []
    if ended:
        return release(rows, fetch, now)
    if not rows.waiters(fetch.video_id):
        rows.drop(fetch)
    return []


def current_fetch(rows: Rows, video_id: str, dispatch_id: str) -> FetchRow | None:
    """Return the fetch if this dispatch is its current one."""
    fetch = rows.fetch(video_id)
    return fetch if fetch and fetch.dispatch_id == dispatch_id and fetch.state is not FetchState.IDLE else None


def _waiting(rows: Rows, video_id: str) -> list[tuple[ItemRow, JobRow]]:
    return [(item, job) for item in rows.waiters(video_id) if (job := rows.job(item.job_id))]


def _served(rows: Rows, fetch: FetchRow) -> list[tuple[ItemRow, JobRow]]:
    return [pair for pair in _waiting(rows, fetch.video_id) if pair[0].dispatch_id == fetch.dispatch_id]
