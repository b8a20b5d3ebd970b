"""Listings: the pages of a target, the archive checks of their entries, and the end of the listing. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

from services.common import events as e
from services.common.archive_coverage import decide
from services.common.domain.archive import Held, KnownGone
from services.common.domain.jobs import ItemStatus
from services.common.domain.videos import LISTED_AT_MOST, Entry, Wanted
from services.common.models import ErrorCode, ErrorDetail, JobResult
from services.common.rechecks import is_recheck
from services.common.rules import judge
from services.jobs.domain.accounting import (
    Out,
    add_item,
    add_note,
    finish,
    job_accepting_items,
    leave_out,
    open_job,
    settle,
    touch,
)
from services.jobs.domain.failures import give_up
from services.jobs.domain.rows import FetchRow, FetchState, ItemRow, JobRow, ListingRow, ListingState, Rows
from services.jobs.domain.scheduler import MAX_ATTEMPTS, backoff

RECHECK_GONE_AFTER = timedelta(days=7)  # the default of [recheck] interval_days; 0: only on request


def queue_listing(job: JobRow, listing: ListingRow, now: datetime) -> list[Out]:
    """Request a listing of a target: the first one, one at a retry time, or one that was not answered."""
    listing.number, job.next_listing = job.next_listing, job.next_listing + 1
    listing.state, listing.since, listing.retry_at, listing.instance = ListingState.QUEUED, now, None, None
    touch(job, now)
    queued = e.JobQueued(
        job_id=job.job_id,
        type=job.type,
        root=job.root,
        options=job.options,
        target=listing.target,
        target_index=listing.target_index,
        listing=listing.number,
        cursor=listing.cursor,
        attempts=listing.attempts,
        again=listing.again,
    )
    return [(queued, job.trace_id)]


def page_fetched(rows: Rows, event: e.ListingPageFetched, now: datetime) -> list[Out]:
    job = job_accepting_items(rows, event.job_id)
    if job is None:
        return []
    for entry in event.entries:
        add_item(rows, job, event.target_index, entry, event.playlist_id, now)
    return _page_seen(rows, job, event.target_index, event.page_key, now) + settle(job, now)


def archive_checked(
    rows: Rows, event: e.ArchiveChecked, now: datetime, recheck_after: timedelta = RECHECK_GONE_AFTER
) -> list[Out]:
    job = job_accepting_items(rows, event.job_id)
    if job is None:
        return []
    out: list[Out] = []
    for entry, held in zip(event.entries, event.held, strict=True):
        item = add_item(rows, job, event.target_index, entry, event.playlist_id, now)
        if item.status is ItemStatus.LISTED:
            out += _decide(rows, job, item, entry, held, now, recheck_after)
    out += _page_seen(rows, job, event.target_index, event.page_key, now)
    return out + settle(job, now)


def _decide(
    rows: Rows, job: JobRow, item: ItemRow, entry: Entry, held: Held, now: datetime, recheck_after: timedelta
) -> list[Out]:
    """Skip an archived video, fail one that is known to be gone, queue any other (option skip_existing)."""
    item.metadata_saved = held.metadata
    wanted = Wanted.of(job.type, job.options)
    if entry.described and not wanted.media:
        return []  # its metadata were fetched with the listing: metadata.archived ends it
    verdict = judge(job.options.rules, entry.facts)
    if verdict.taken is None:
        wanted = wanted.model_copy(update={"rules": (job.options.rules,)})
    need = decide(
        entry,
        held,
        wanted,
        now,
        recheck_after,
        skip_existing=job.options.skip_existing,
        retry_gone=item.again or not job.options.skip_existing or is_recheck(job.job_id),
        in_list=item.playlist_id is not None,
    )
    match need:
        case Wanted() if verdict.taken is False:
            leave_out(job, item, verdict.reason, now)
            return []
        case None:
            result = JobResult(
                video_id=item.video_id, status="skipped", message="already archived", metadata_saved=held.metadata,
                file_size=held.bytes or None,
            )  # fmt: skip
            finish(job, item, ItemStatus.SKIPPED, now, result=result)
            return []
        case KnownGone() as gone:
            item.message = f"known to be gone since {gone.at:%Y-%m-%d}"
            return give_up(job, item, ItemStatus.UNAVAILABLE, gone.reason, now, found_at=gone.at)
    wait(rows, job, item, need, now)
    return []


def ask_archive(job: JobRow, listing: ListingRow, items: Sequence[ItemRow], now: datetime) -> list[Out]:
    """Request archive checks of items that are retried: another job may have archived them meanwhile."""
    pages: list[Out] = []
    for item in items:
        item.status, item.since = ItemStatus.LISTED, now
        touch(job, now, item)
    entries = tuple(Entry(video_id=item.video_id, title=item.title, position=n) for n, item in enumerate(items))
    for start in range(0, len(entries), e.PAGE_SIZE):
        asked = e.ListingPageFetched(
            job_id=job.job_id,
            root=job.root,
            type=job.type,
            options=job.options,
            target_index=listing.target_index,
            listing=listing.number,
            page_key=f"again/{job.revision}/{start}",
            entries=entries[start : start + e.PAGE_SIZE],
        )
        pages.append((asked, job.trace_id))
    return pages


def description_lost(rows: Rows, job: JobRow, video_id: str, now: datetime) -> list[Out]:
    """Queue a download of the metadata of a video, because those of the Data API could not be archived."""
    item = rows.item(job.job_id, video_id)
    if item and item.status is ItemStatus.LISTED:
        wait(rows, job, item, Wanted.of(job.type, job.options), now)
    return []


def wait(rows: Rows, job: JobRow, item: ItemRow, need: Wanted, now: datetime) -> None:
    """Put an item into the queue. One fetch serves all jobs that wait for a video."""
    item.need = need
    item.status, item.since = ItemStatus.WAITING, now
    if rows.fetch(item.video_id) is None:
        fetch_id = str(uuid5(NAMESPACE_URL, f"{job.job_id}|{item.video_id}|{job.revision}"))
        rows.add(FetchRow(item.video_id, fetch_id, FetchState.IDLE, now))
    touch(job, now, item)


def listing_completed(rows: Rows, event: e.ListingCompleted, now: datetime) -> list[Out]:
    job, listing = open_job(rows, event.job_id), rows.listing(event.job_id, event.target_index)
    if job is None or listing is None or listing.number != event.listing or not listing.state.open:
        return []
    listing.awaited = event.page_keys
    job.title = job.title or event.title
    _note_shortfall(job, event)
    touch(job, now)
    return _listed(job, listing, now) + settle(job, now)


def _note_shortfall(job: JobRow, event: e.ListingCompleted) -> None:
    """Say that a list has fewer entries than it announces; one that was cut short makes the job incomplete."""
    if event.announced is None or event.announced <= event.total:
        return
    name = event.title or event.playlist_id
    listed = f"{name}: YouTube listed {event.total:,} of the {event.announced:,} entries that the list announces"
    if event.cut_short:
        message = f"{listed}. The others may be there: run the command again later"
        job.error = ErrorDetail(code=ErrorCode.SERVICE_UNAVAILABLE, message=message)
    elif event.total >= LISTED_AT_MOST:
        add_note(job, f"{listed}: it lists no more than the newest {LISTED_AT_MOST:,} uploads of a channel")
    else:
        add_note(job, f"{listed}: the others are hidden, as private and deleted ones are")


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
        touch(job, now)
    return []


def listing_failed(rows: Rows, event: e.ListingFailed, now: datetime) -> list[Out]:
    job, listing = open_job(rows, event.job_id), rows.listing(event.job_id, event.target_index)
    if job is None or listing is None or listing.number != event.listing or not listing.state.open:
        return []
    if listing.state is ListingState.TIMER:
        return []  # a repeated message: a new attempt has a new number
    listing.cursor = event.cursor or listing.cursor
    listing.attempts += event.spent
    if event.final or listing.attempts >= MAX_ATTEMPTS:
        return fail(job, listing, event.error, now)
    listing.error = event.error
    listing.state, listing.since = ListingState.TIMER, now
    listing.retry_at = event.retry_after or now + backoff(listing.attempts)
    touch(job, now)
    return settle(job, now)


def fail(job: JobRow, listing: ListingRow, error: ErrorDetail, now: datetime) -> list[Out]:
    """Fail a target that cannot be listed: the items listed so far stay, the job gets the error."""
    if not listing.state.open:
        return []
    listing.state, listing.since, listing.error = ListingState.FAILED, now, error
    job.listings_open -= 1
    job.listings_failed += 1
    job.error = error
    touch(job, now)
    return settle(job, now)
