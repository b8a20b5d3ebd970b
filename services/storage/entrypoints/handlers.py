"""What storage does on which event. Every handler may see its event again and then says the same."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from bus import Envelope, Event, Handlers, NotNow, UnreadableMessage, handling
from services.common.errors import InvalidRequest, ServiceUnavailable, StorageFull, YTArchiveError
from services.common.events import (
    ArchiveChecked,
    DownloadCompleted,
    JobCancelled,
    JobCompleted,
    JobFailed,
    ListingCompleted,
    ListingFailed,
    ListingPageFetched,
    MetadataArchived,
    MetadataFetched,
    PlaylistFetched,
    StorageFailed,
    VideoArchived,
    VideoFailed,
    WorkPlanUpdated,
)
from services.common.models import ErrorCode, Failure, FailureKind
from services.common.rechecks import is_recheck
from services.storage.archive.staging import TakeInFailed
from services.storage.formats.manifest import Record, kept_better

if TYPE_CHECKING:
    from services.storage.service import StorageService

handlers = Handlers("storage")
_log = structlog.get_logger()
_OF_ANOTHER_STACK = 10.0  # seconds until a message for a root that this stack does not serve is looked at again
_AFTER_FULL = timedelta(minutes=10)  # until a take-in is tried again that found no space

# --- listings -----------------------------------------------------------------------------------------------------


@contextmanager
def _addressed_here() -> Iterator[None]:
    """What names a root that is none of ours, or an id that would lead out of it, is not a message for us, and another
    try would not make it one. Raises UnreadableMessage."""
    try:
        yield
    except InvalidRequest as error:
        raise UnreadableMessage(error.message) from error


async def _expect_root(root: str, storage: "StorageService") -> None:
    """Raises NotNow while the disk of the root is away, or when the root is one of another command (`--output-dir`);
    UnreadableMessage for one that was never ours."""
    try:
        await storage.shelf.expect_mounted(storage.shelf.tree(root))
    except ServiceUnavailable as error:
        raise NotNow(error.message, storage.space.recheck) from error
    except InvalidRequest as error:
        if await storage.catalogue.scanned(root):
            raise NotNow(error.message, _OF_ANOTHER_STACK) from error
        raise UnreadableMessage(error.message) from error


@handlers.on(ListingPageFetched, slots=4)
async def check(event: ListingPageFetched, storage: "StorageService") -> AsyncIterator[Event]:
    await _expect_root(event.root, storage)
    with _addressed_here():
        held = await storage.shelf.held(event.root, [entry.video_id for entry in event.entries])
        await storage.planner.held(storage.shelf.tree(event.root).key, held)
        if event.playlist_id is not None:
            await storage.listings.page(event)
    yield ArchiveChecked(
        job_id=event.job_id,
        root=event.root,
        target_index=event.target_index,
        listing=event.listing,
        page_key=event.page_key,
        playlist_id=event.playlist_id,
        entries=event.entries,
        held=tuple(held),
    )


@handlers.on(PlaylistFetched)
async def note_playlist(event: PlaylistFetched, storage: "StorageService") -> None:
    await _expect_root(event.root, storage)
    with _addressed_here():
        await storage.listings.own_metadata(event)


@handlers.on(ListingCompleted)
async def close_listing(event: ListingCompleted, storage: "StorageService") -> None:
    if event.playlist_id is not None:
        envelope = handling()
        await _expect_root(event.root, storage)
        with _addressed_here():
            await storage.listings.completed(event, at=envelope.timestamp, trace_id=envelope.trace_id)


@handlers.on(ListingFailed)
async def drop_listing(event: ListingFailed, storage: "StorageService") -> None:
    if event.final or event.cursor is None:  # with a cursor the next try goes on from the pages that are here
        await storage.catalogue.listings.drop(event.job_id, event.target_index)


# --- metadata -----------------------------------------------------------------------------------------------------


@handlers.on(MetadataFetched, slots=4)
async def keep_metadata(event: MetadataFetched, storage: "StorageService") -> AsyncIterator[Event]:
    await _expect_root(event.root, storage)
    with _addressed_here():
        path = await storage.save_metadata(event, handling().trace_id)
        await storage.planner.described(storage.shelf.tree(event.root).key, event.video_id)
    yield MetadataArchived(
        job_id=event.job_id,
        root=event.root,
        video_id=event.video_id,
        source_name=event.source_name,
        path=str(path),
        dispatch_id=event.dispatch_id,
    )


# --- files --------------------------------------------------------------------------------------------------------


@handlers.on(DownloadCompleted, slots=2)
async def shelve(event: DownloadCompleted, storage: "StorageService") -> AsyncIterator[Event]:
    if not _has_something_for_the_shelf(event):
        return
    with suppress(UnreadableMessage):  # the take-in says it to jobs
        await _expect_root(event.root, storage)
    try:
        record = await storage.shelf.take_in(event, handling().trace_id)
        await storage.ensure_metadata(event, handling().trace_id)
    except (YTArchiveError, OSError) as error:
        failure = _failure(error)
        _log.error("take_in_failed", video_id=event.video_id, error_code=failure.code, error_message=failure.message)
        yield StorageFailed(
            job_id=event.job_id,
            video_id=event.video_id,
            root=event.root,
            dispatch_id=event.dispatch_id,
            failure=failure,
        )
    else:
        yield await _archived(event, record, storage)


def _has_something_for_the_shelf(event: DownloadCompleted) -> bool:
    """Metadata alone went by `metadata.fetched`. That a thumbnail is absent is worth a record, though."""
    wanted = event.wanted
    return bool(event.files) or wanted.media or wanted.thumbnail or bool(wanted.captions) or wanted.info


async def _archived(event: DownloadCompleted, record: Record, storage: "StorageService") -> VideoArchived:
    tree = storage.shelf.tree(event.root)
    await storage.planner.arrived(tree.key, event.video_id)
    (held,) = await storage.shelf.held(event.root, [event.video_id])
    return VideoArchived(
        job_id=event.job_id,
        video_id=event.video_id,
        root=event.root,
        dispatch_id=event.dispatch_id,
        directory=str(tree.video_dir(event.video_id)),
        files=record.files,
        bytes=record.bytes,
        held=held,
        duration_seconds=record.metadata.duration_seconds,
        kept=kept_better(record, event),
    )


def _failure(error: YTArchiveError | OSError) -> Failure:
    if isinstance(error, StorageFull):
        return Failure(
            kind=FailureKind.LOCAL,
            code=error.code,
            reason="no_space",
            message=error.message,
            retry_after=datetime.now(UTC) + _AFTER_FULL,
        )
    if isinstance(error, TakeInFailed):
        return Failure(kind=error.kind, code=error.code, reason=error.reason, message=error.message)
    if isinstance(error, YTArchiveError):
        reason = "invalid_request" if isinstance(error, InvalidRequest) else "storage_error"
        return Failure(kind=FailureKind.LOCAL, code=error.code, reason=reason, message=error.message)
    return Failure(kind=FailureKind.LOCAL, code=ErrorCode.INTERNAL_ERROR, reason="storage_error", message=str(error))


# --- work plans ---------------------------------------------------------------------------------------------------


@handlers.on(VideoFailed)
async def plan(event: VideoFailed, storage: "StorageService") -> AsyncIterator[Event]:
    written = await storage.planner.add(event, handling().trace_id)
    yield WorkPlanUpdated(
        plan_id=written.plan_id,
        job_id=event.job_id,
        video_ids=(event.video_id,),
        number=event.number,
        path=str(storage.planner.path(written.plan_id)),
        unavailable=written.open_unavailable,
        failed=written.open_failed,
        resolved=written.resolved,
    )


_ENDS: dict[str, type[JobCompleted | JobFailed | JobCancelled]] = {
    kind.subject: kind for kind in (JobCompleted, JobFailed, JobCancelled)
}


@handlers.inbox(JobCompleted, JobFailed, JobCancelled, name="ended_jobs")
async def end_rechecks(envelopes: Sequence[Envelope], storage: "StorageService") -> None:
    """A video that a re-check did not answer for, because it was cancelled say, is not waited for."""
    for envelope in envelopes:
        ended = _ENDS[envelope.type].read(envelope)
        if is_recheck(ended.job_id):
            await storage.planner.recheck_ended(ended.job_id)
