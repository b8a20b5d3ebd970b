"""What each fact means for jobs, items, listings and fetches. Pure: rows in, changed rows and facts out.

    step(rows, event, now) -> [(event, trace_id), ...]

Facts may come twice, late, or in another order: an item that ended stays as it is, and a fact of an older dispatch
is ignored, except that `video.archived` is credited always.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from bus.message import Event
from services.common import events as e
from services.common.models import (
    Entry,
    ErrorCode,
    ErrorDetail,
    FailedDownload,
    Failure,
    FailureKind,
    Held,
    ItemStatus,
    JobOptions,
    JobResult,
    JobStatus,
    JobType,
    Target,
    UnavailableVideo,
    Wanted,
)
from services.jobs.coverage import missing, union
from services.jobs.rows import FetchRow, FetchState, ItemRow, JobRow, ListingRow, ListingState, Rows
from services.jobs.scheduler import MAX_ATTEMPTS, backoff
from services.jobs.views import job_view

RECHECK_GONE_AFTER = timedelta(days=7)
_LISTING_STRIDE = 1_000_000  # positions of the second target come after those of the first

Out = tuple[Event, str]  # an event and the trace_id that it carries


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
        return _end(job, JobStatus.FAILED, now)
    job.listings = job.listings_open = len(verdict.targets)
    out: list[Out] = []
    for index, target in enumerate(verdict.targets):
        listing = ListingRow(job.job_id, index, target, 0, ListingState.QUEUED, now)
        rows.add(listing)
        out += queue_listing(job, listing, now)
    return out + _settle(job, now)


def step(rows: Rows, event: Event, now: datetime) -> list[Out]:
    """Apply one fact of another service. An event that jobs does not know is a mistake in our code: KeyError."""
    return _STEPS[type(event)](rows, event, now)


# --- listings -------------------------------------------------------------------------------------------------------


def queue_listing(job: JobRow, listing: ListingRow, now: datetime) -> list[Out]:
    """Ask metadata to list a target: the first time, at its timer, or because nobody answered."""
    listing.number, job.next_listing = job.next_listing, job.next_listing + 1
    listing.state, listing.since, listing.retry_at, listing.instance = ListingState.QUEUED, now, None, None
    _touch(job, now)
    queued = e.JobQueued(
        job_id=job.job_id,
        type=job.type,
        root=job.root,
        options=job.options,
        target=listing.target,
        target_index=listing.target_index,
        listing=listing.number,
        cursor=listing.cursor,
    )
    return [(queued, job.trace_id)]


def _page_fetched(rows: Rows, event: e.ListingPageFetched, now: datetime) -> list[Out]:
    job = _open_job(rows, event.job_id)
    if job is None:
        return []
    for entry in event.entries:
        _item(rows, job, event.target_index, entry, event.playlist_id, now)
    return _page_seen(rows, job, event.target_index, event.page_key, now) + _settle(job, now)


def _archive_checked(rows: Rows, event: e.ArchiveChecked, now: datetime) -> list[Out]:
    job = _open_job(rows, event.job_id)
    if job is None:
        return []
    out: list[Out] = []
    for entry, held in zip(event.entries, event.held, strict=True):
        item = _item(rows, job, event.target_index, entry, event.playlist_id, now)
        if item.status is ItemStatus.LISTED:
            out += _decide(rows, job, item, entry, held, now)
    out += _page_seen(rows, job, event.target_index, event.page_key, now)
    return out + _settle(job, now)


def _decide(rows: Rows, job: JobRow, item: ItemRow, entry: Entry, held: Held, now: datetime) -> list[Out]:
    """Skip what is held, put what is known to be gone onto the plan, queue the rest (DESIGN §3: skip_existing)."""
    wanted = Wanted.of(job.type, job.options)
    need = missing(wanted, held) if job.options.skip_existing else wanted
    if need is None:
        result = JobResult(
            video_id=item.video_id, status="skipped", message="already archived", metadata_saved=held.metadata,
            file_size=held.bytes or None,
        )  # fmt: skip
        _finish(job, item, ItemStatus.SKIPPED, now, result=result)
        return []
    gone = held.known_gone
    if gone and job.options.skip_existing and now - gone.at < RECHECK_GONE_AFTER and not _reappeared(entry, item, held):
        item.message = f"known to be gone since {gone.at:%Y-%m-%d}"
        return _give_up(job, item, ItemStatus.UNAVAILABLE, gone.reason, now)
    item.need = need
    item.status, item.since = ItemStatus.WAITING, now
    if rows.fetch(item.video_id) is None:
        fetch_id = str(uuid5(NAMESPACE_URL, f"{job.job_id}|{item.video_id}|{job.revision}"))
        rows.add(FetchRow(item.video_id, fetch_id, FetchState.IDLE, now))
    _touch(job, now, item)
    return []


def _reappeared(entry: Entry, item: ItemRow, held: Held) -> bool:
    """A playlist marks the deleted and the private: one that was so and is not marked any more may be back."""
    gone = held.known_gone
    return bool(gone and item.playlist_id and gone.reason in {"private", "deleted"} and entry.marked is None)


def _listing_completed(rows: Rows, event: e.ListingCompleted, now: datetime) -> list[Out]:
    job, listing = _open_job(rows, event.job_id), rows.listing(event.job_id, event.target_index)
    if job is None or listing is None or listing.number != event.listing or not listing.state.open:
        return []
    listing.awaited = event.page_keys
    job.title = job.title or event.title
    _touch(job, now)
    return _listed(job, listing, now) + _settle(job, now)


def _page_seen(rows: Rows, job: JobRow, target_index: int, page_key: str, now: datetime) -> list[Out]:
    listing = rows.listing(job.job_id, target_index)
    if listing is None or page_key in listing.seen:
        return []
    listing.seen |= {page_key}
    return _listed(job, listing, now)


def _listed(job: JobRow, listing: ListingRow, now: datetime) -> list[Out]:
    if listing.state.open and listing.awaited is not None and listing.seen.issuperset(listing.awaited):
        listing.state, listing.since = ListingState.LISTED, now
        job.listings_open -= 1
        _touch(job, now)
    return []


def _listing_failed(rows: Rows, event: e.ListingFailed, now: datetime) -> list[Out]:
    job, listing = _open_job(rows, event.job_id), rows.listing(event.job_id, event.target_index)
    if job is None or listing is None or listing.number != event.listing or not listing.state.open:
        return []
    listing.cursor = event.cursor or listing.cursor
    listing.error = event.error
    listing.attempts += event.spent
    if event.final or listing.attempts >= MAX_ATTEMPTS:
        listing.state, listing.since = ListingState.FAILED, now
        job.listings_open -= 1
        job.listings_failed += 1
        job.error = event.error
    else:
        listing.state, listing.since = ListingState.TIMER, now
        listing.retry_at = event.retry_after or now + backoff(listing.attempts)
    _touch(job, now)
    return _settle(job, now)


# --- dispatches -----------------------------------------------------------------------------------------------------


def dispatch(rows: Rows, video_id: str, now: datetime) -> list[Out]:
    """Release one video to the workers, for every job that waits for it and that one fetch can serve."""
    fetch = rows.fetch(video_id)
    waiting = [(item, job) for item in rows.waiters(video_id) if (job := rows.job(item.job_id)) and not job.paused]
    if fetch is None or fetch.state is not FetchState.IDLE or not waiting:
        return []
    ready = [pair for pair in waiting if pair[0].retry_at is None or pair[0].retry_at <= now] or waiting
    first_item, first_job = max(ready, key=lambda pair: pair[1].priority)
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
        _touch(job, now, item)
    request = e.DownloadRequested(
        dispatch_id=fetch.dispatch_id,
        fetch_id=fetch.fetch_id,
        job_id=first_job.job_id,
        video_id=video_id,
        root=first_job.root,
        wanted=wanted,
    )
    return [(request, first_job.trace_id)]


def claimed(rows: Rows, fetch: FetchRow, instance: str, now: datetime) -> None:
    """A worker took the dispatch: its items run."""
    fetch.state, fetch.since, fetch.instance = FetchState.CLAIMED, now, instance
    for item, job in _served(rows, fetch):
        item.status, item.since = ItemStatus.RUNNING, now
        _touch(job, now, item)
        _settle(job, now)


def release(rows: Rows, fetch: FetchRow, now: datetime, retry_at: datetime | None = None) -> None:
    """Take a dispatch back without an attempt: deferred, unanswered, or its worker is gone. The next gets a new id."""
    fetch.state, fetch.since, fetch.instance = FetchState.IDLE, now, None
    for item, job in _served(rows, fetch):
        item.status, item.since, item.dispatch_id, item.retry_at = ItemStatus.WAITING, now, None, retry_at
        _touch(job, now, item)


def _started(rows: Rows, event: e.DownloadStarted, now: datetime) -> list[Out]:
    fetch = _current(rows, event.video_id, event.dispatch_id)
    if fetch and fetch.state is FetchState.DISPATCHED:
        claimed(rows, fetch, event.instance, now)
    return []


def _completed(rows: Rows, event: e.DownloadCompleted, now: datetime) -> list[Out]:
    fetch = _current(rows, event.video_id, event.dispatch_id)
    if fetch is None:
        return []
    fetch.state, fetch.since = FetchState.STORING, now
    for item, job in _served(rows, fetch):
        item.title = event.metadata.title
        _touch(job, now, item)
    return []


def _deferred(rows: Rows, event: e.DownloadDeferred, now: datetime) -> list[Out]:
    fetch = _current(rows, event.video_id, event.dispatch_id)
    if fetch:
        release(rows, fetch, now, event.retry_after)
    return []


def _download_failed(rows: Rows, event: e.DownloadFailed, now: datetime) -> list[Out]:
    return _attempt_failed(rows, event.video_id, event.dispatch_id, event.failure, event.title, now)


def _storage_failed(rows: Rows, event: e.StorageFailed, now: datetime) -> list[Out]:
    return _attempt_failed(rows, event.video_id, event.dispatch_id, event.failure, None, now)


def _video_archived(rows: Rows, event: e.VideoArchived, now: datetime) -> list[Out]:
    """Credit every job that waits for it in this root, whichever dispatch brought it."""
    fetch = rows.fetch(event.video_id)
    current = _current(rows, event.video_id, event.dispatch_id)
    out: list[Out] = []
    for item, job in _waiting(rows, event.video_id):
        if job.root != event.root:
            continue
        served = item.dispatch_id == event.dispatch_id
        if not job.options.skip_existing and not served:
            continue  # --force wants a copy of its own time
        still = missing(Wanted.of(job.type, job.options), event.held)
        if still is None:
            _credit(job, item, event, now)
        elif served:
            item.need = still
            out += _spend_attempt(job, item, _incomplete(still), now)
        else:
            item.need = still
        out += _settle(job, now)
    _fetch_over(rows, current or fetch, now, ended=current is not None)
    return out


def _credit(job: JobRow, item: ItemRow, event: e.VideoArchived, now: datetime) -> None:
    result = JobResult(
        video_id=item.video_id,
        status="success",
        metadata_saved=event.held.metadata,
        video_downloaded=bool(event.held.qualities),
        file_size=event.bytes,
        duration_seconds=event.duration_seconds,
    )
    _finish(job, item, ItemStatus.ARCHIVED, now, result=result)


def _metadata_archived(rows: Rows, event: e.MetadataArchived, now: datetime) -> list[Out]:
    """Ends the items that want metadata only."""
    out: list[Out] = []
    for item, job in _waiting(rows, event.video_id):
        if job.root != event.root or job.type is not JobType.METADATA_ONLY:
            continue
        result = JobResult(video_id=item.video_id, status="success", metadata_saved=True)
        _finish(job, item, ItemStatus.ARCHIVED, now, result=result)
        out += _settle(job, now)
    _fetch_over(rows, rows.fetch(event.video_id), now, ended=False)
    return out


def _dead_lettered(rows: Rows, event: e.DeadLettered, now: datetime) -> list[Out]:
    """A message that nobody could handle ends what it stood for with E999, so that no job waits for ever."""
    error = ErrorDetail(code=ErrorCode.INTERNAL_ERROR, message=f"{event.type} could not be handled: {event.error}")
    failure = Failure(kind=FailureKind.LOCAL, code=error.code, reason="dead_letter", message=error.message)
    if event.dispatch_id and (fetch := _of_dispatch(rows, event.dispatch_id, event.video_id)):
        return _attempt_failed(rows, fetch.video_id, event.dispatch_id, failure, None, now, last=True)
    job = _open_job(rows, event.job_id) if event.job_id else None
    if job is None or event.target_index is None:
        return []
    listing = rows.listing(job.job_id, event.target_index)
    if listing is None or not listing.state.open:
        return []
    failed = e.ListingFailed(
        job_id=job.job_id,
        root=job.root,
        target_index=listing.target_index,
        listing=listing.number,
        error=error,
        final=True,
    )
    return _listing_failed(rows, failed, now)


# --- failures -------------------------------------------------------------------------------------------------------


def _attempt_failed(
    rows: Rows,
    video_id: str,
    dispatch_id: str,
    failure: Failure,
    title: str | None,
    now: datetime,
    *,
    last: bool = False,
) -> list[Out]:
    fetch = _current(rows, video_id, dispatch_id)
    if fetch is None:
        return []
    out: list[Out] = []
    for item, job in list(_served(rows, fetch)):
        item.title = item.title or title
        if failure.kind is FailureKind.GONE:
            item.attempts += 1
            item.message = failure.message
            out += _give_up(job, item, ItemStatus.UNAVAILABLE, failure.reason, now)
        else:
            out += _spend_attempt(job, item, failure, now, last=last)
        out += _settle(job, now)
    _fetch_over(rows, fetch, now, ended=True)
    return out


def _spend_attempt(job: JobRow, item: ItemRow, failure: Failure, now: datetime, *, last: bool = False) -> list[Out]:
    """Back into the queue, or given up after the third attempt (SPEC: RETRY_CONFIG).

    Waiting for a time that the failure names, and a timeout that got further than before, cost nothing.
    """
    free = failure.kind is FailureKind.NOT_YET or failure.gained_bytes
    free = free or (failure.kind is FailureKind.LOCAL and failure.retry_after is not None)
    item.attempts += not free
    item.errors = [*item.errors, _error_entry(failure, now)][-10:]
    item.reason, item.message, item.error_code = failure.reason, failure.message, failure.code
    if last or item.attempts >= MAX_ATTEMPTS:
        return _give_up(job, item, ItemStatus.FAILED, failure.reason, now)
    item.status, item.since, item.dispatch_id = ItemStatus.WAITING, now, None
    item.retry_at = failure.retry_after or now + backoff(item.attempts)
    _touch(job, now, item)
    return []


def _give_up(job: JobRow, item: ItemRow, outcome: ItemStatus, reason: str, now: datetime) -> list[Out]:
    """The item closes: it ends when storage says that the work plan holds it."""
    item.status, item.since, item.outcome = ItemStatus.CLOSING, now, outcome
    item.reason, item.dispatch_id, item.retry_at = reason, None, None
    if outcome is ItemStatus.UNAVAILABLE:
        item.error_code = ErrorCode.VIDEO_UNAVAILABLE
    _touch(job, now, item)
    return [announce_failure(job, item, now)]


def announce_failure(job: JobRow, item: ItemRow, now: datetime) -> Out:
    """video.failed for a closing item; again, with a new number, when storage never answered."""
    item.number += 1
    item.since = now
    unavailable = failed = None
    if item.outcome is ItemStatus.UNAVAILABLE:
        unavailable = UnavailableVideo(
            video_id=item.video_id,
            title=item.title,
            reason=item.reason or "",
            detected_at=now,
            playlist_id=item.playlist_id,
        )
    else:
        failed = FailedDownload(
            video_id=item.video_id,
            title=item.title or item.video_id,
            attempts=item.attempts,
            last_attempt=now,
            errors=item.errors,
        )
    event = e.VideoFailed(
        job_id=job.job_id,
        video_id=item.video_id,
        root=job.root,
        number=item.number,
        type=job.type,
        options=job.options,
        targets=job.targets,
        unavailable=unavailable,
        failed=failed,
    )
    return event, job.trace_id


def _work_plan_updated(rows: Rows, event: e.WorkPlanUpdated, now: datetime) -> list[Out]:
    job = _open_job(rows, event.job_id)
    if job is None:
        return []
    for video_id in event.video_ids:
        item = rows.item(job.job_id, video_id)
        if item and item.status is ItemStatus.CLOSING and item.number == event.number:
            job.work_plan = event.path
            result = JobResult(
                video_id=video_id, status="failed", message=item.message or item.reason, error_code=item.error_code
            )
            _finish(job, item, item.outcome or ItemStatus.FAILED, now, result=result)
    return _settle(job, now)


def _incomplete(still: Wanted) -> Failure:
    parts = ["media"] * still.media + ["thumbnail"] * still.thumbnail + ["metadata"] * still.metadata
    parts += [f"captions/{lang}" for lang in still.captions]
    return Failure(
        kind=FailureKind.PASSING,
        code=ErrorCode.NETWORK_TIMEOUT,
        reason="incomplete",
        message=f"could not be fetched: {', '.join(parts)}",
    )


def _error_entry(failure: Failure, now: datetime) -> dict[str, Any]:
    return {"at": now.isoformat(), "code": failure.code, "reason": failure.reason, "message": failure.message}


# --- rows -----------------------------------------------------------------------------------------------------------


def _item(rows: Rows, job: JobRow, target_index: int, entry: Entry, playlist_id: str | None, now: datetime) -> ItemRow:
    """The item of an entry, made when it is met first: unique per job and video."""
    item = rows.item(job.job_id, entry.video_id)
    if item is None:
        position = target_index * _LISTING_STRIDE + entry.position
        item = ItemRow(job.job_id, entry.video_id, target_index, position, ItemStatus.LISTED, now)
        item.title, item.playlist_id = entry.title, playlist_id
        rows.add(item)
        job.total += 1
        job.open += 1
        _touch(job, now, item)
    return item


def _finish(job: JobRow, item: ItemRow, status: ItemStatus, now: datetime, *, result: JobResult) -> None:
    item.status, item.since, item.result = status, now, result
    item.retry_at, item.dispatch_id, item.need = None, None, None
    if status in {ItemStatus.ARCHIVED, ItemStatus.SKIPPED}:
        item.reason = item.error_code = None
        item.message = result.message
    job.open -= 1
    match status:
        case ItemStatus.ARCHIVED:
            job.archived += 1
        case ItemStatus.SKIPPED:
            job.skipped += 1
        case ItemStatus.UNAVAILABLE:
            job.unavailable += 1
        case _:
            job.failed += 1
    _touch(job, now, item)


def _fetch_over(rows: Rows, fetch: FetchRow | None, now: datetime, *, ended: bool) -> None:
    """After a dispatch: forget the fetch when nobody waits, else it is free for the next dispatch."""
    if fetch is None:
        return
    if not rows.waiters(fetch.video_id):
        rows.drop(fetch)
    elif ended:
        release(rows, fetch, now)


def _touch(job: JobRow, now: datetime, item: ItemRow | None = None) -> None:
    job.revision += 1
    job.updated_at = now
    if item is not None:
        item.revision = job.revision


def _settle(job: JobRow, now: datetime) -> list[Out]:
    """The job's status after a change; its end when every target is listed or failed and no item is open."""
    if job.status.ended:
        return []
    if job.listings_open == 0 and job.open == 0:
        all_failed = job.listings_failed == job.listings
        return _end(job, JobStatus.FAILED if all_failed else JobStatus.COMPLETED, now)
    if job.total and job.status is JobStatus.QUEUED:
        job.status = JobStatus.RUNNING
    return []


def note_timers(job: JobRow, waiting: int, earliest: datetime | None, now: datetime) -> None:
    """`retrying` is: all that is open waits for a later time; `waiting` counts items and listings that do."""
    only_timers = waiting > 0 and waiting == job.open + job.listings_open
    status = JobStatus.RETRYING if only_timers else JobStatus.RUNNING if job.total else JobStatus.QUEUED
    retry_at = earliest if only_timers else None
    if (job.status, job.retry_at) != (status, retry_at):
        job.status, job.retry_at = status, retry_at
        _touch(job, now)


def _end(job: JobRow, status: JobStatus, now: datetime) -> list[Out]:
    job.status, job.finished_at, job.retry_at = status, now, None
    _touch(job, now)
    kind = e.JobCompleted if status is JobStatus.COMPLETED else e.JobFailed
    return [(kind(job_id=job.job_id, revision=job.revision, job=job_view(job)), job.trace_id)]


def _open_job(rows: Rows, job_id: str) -> JobRow | None:
    job = rows.job(job_id)
    return None if job is None or job.status.ended else job


def _current(rows: Rows, video_id: str, dispatch_id: str) -> FetchRow | None:
    """The fetch, if this dispatch is its current one."""
    fetch = rows.fetch(video_id)
    return fetch if fetch and fetch.dispatch_id == dispatch_id and fetch.state is not FetchState.IDLE else None


def _of_dispatch(rows: Rows, dispatch_id: str, video_id: str | None) -> FetchRow | None:
    return _current(rows, video_id, dispatch_id) if video_id else None


def _waiting(rows: Rows, video_id: str) -> Iterator[tuple[ItemRow, JobRow]]:
    for item in rows.waiters(video_id):
        job = rows.job(item.job_id)
        if job is not None:
            yield item, job


def _served(rows: Rows, fetch: FetchRow) -> Iterable[tuple[ItemRow, JobRow]]:
    return [pair for pair in _waiting(rows, fetch.video_id) if pair[0].dispatch_id == fetch.dispatch_id]


_STEPS: dict[type[Event], Callable[[Rows, Any, datetime], list[Out]]] = {
    e.ListingPageFetched: _page_fetched,
    e.ArchiveChecked: _archive_checked,
    e.ListingCompleted: _listing_completed,
    e.ListingFailed: _listing_failed,
    e.DownloadStarted: _started,
    e.DownloadCompleted: _completed,
    e.DownloadFailed: _download_failed,
    e.DownloadDeferred: _deferred,
    e.VideoArchived: _video_archived,
    e.StorageFailed: _storage_failed,
    e.MetadataArchived: _metadata_archived,
    e.WorkPlanUpdated: _work_plan_updated,
    e.DeadLettered: _dead_lettered,
}

HANDLED: tuple[type[Event], ...] = tuple(_STEPS)
