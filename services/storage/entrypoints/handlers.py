"""Event handlers of the storage service. Each is idempotent: an event that is delivered again has the same answer."""

import errno
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import structlog

from bus import Envelope, Event, Handlers, NotNow, UnreadableMessage, handling
from services.common.domain.failures import Failure, FailureKind
from services.common.errors import InvalidRequest, ServiceUnavailable, StorageFull, YTArchiveError
from services.common.events import (
    ArchiveChecked,
    DownloadCompleted,
    FindingWithdrawn,
    JobCancelled,
    JobCompleted,
    JobFailed,
    ListingCompleted,
    ListingFailed,
    ListingPageFetched,
    LookFailed,
    MetadataArchived,
    MetadataFetched,
    PlaylistFetched,
    StorageFailed,
    VideoArchived,
    VideoFailed,
    WorkPlanUpdated,
)
from services.common.models import ErrorCode
from services.common.rechecks import is_recheck
from services.storage.archive.disk_space import DiskSpace
from services.storage.archive.staging import TakeInFailed
from services.storage.archive_store import ArchiveStore
from services.storage.formats.manifest import kept_better
from services.storage.index.roots import ArchiveRoots
from services.storage.playlists.assembler import PlaylistAssembler
from services.storage.playlists.page_buffer import PageBuffer
from services.storage.workplans.repository import WorkPlanRepository

HANDLERS = Handlers("storage")
_log = structlog.get_logger()
_FOREIGN_ROOT_DELAY = 10.0  # seconds until a message for a root that is not configured here is delivered again
_AFTER_FULL = timedelta(minutes=10)  # until a take-in that found no space is tried again

# --- roots ------------------------------------------------------------------------------------------------------------


@contextmanager
def _writing_to(root: str, disk_space: DiskSpace) -> Iterator[None]:
    """Turn InvalidRequest (a foreign root, an id that would lead out of it) into UnreadableMessage: a retry would not
    help. Turn the error of a read-only disk into NotNow: it waits until the disk can be written to again."""
    try:
        yield
    except InvalidRequest as error:
        raise UnreadableMessage(error.message) from error
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        raise NotNow(f"{root} is read-only: {error}", disk_space.recheck) from error


async def _expect_root(root: str, roots: ArchiveRoots, disk_space: DiskSpace) -> None:
    """Raise NotNow while the root's disk is not mounted, and for a root that another command (`--output-dir`) has
    configured before; UnreadableMessage for one that never was configured."""
    try:
        await roots.expect_mounted(roots.tree(root))
    except ServiceUnavailable as error:
        raise NotNow(error.message, disk_space.recheck) from error
    except InvalidRequest as error:
        if await roots.was_scanned(root):
            raise NotNow(error.message, _FOREIGN_ROOT_DELAY) from error
        raise UnreadableMessage(error.message) from error


# --- listings ---------------------------------------------------------------------------------------------------------


@HANDLERS.on(ListingPageFetched, slots=4)
async def check_page(
    event: ListingPageFetched,
    archive: ArchiveStore,
    work_plans: WorkPlanRepository,
    playlists: PlaylistAssembler,
    roots: ArchiveRoots,
    disk_space: DiskSpace,
) -> AsyncIterator[Event]:
    await _expect_root(event.root, roots, disk_space)
    with _writing_to(event.root, disk_space):
        held = await archive.held(event.root, [entry.video_id for entry in event.entries])
        await work_plans.resolve_held(roots.tree(event.root).key, held)
        if event.playlist_id is not None:
            await playlists.add_page(event)
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


@HANDLERS.on(PlaylistFetched)
async def save_playlist(
    event: PlaylistFetched, playlists: PlaylistAssembler, roots: ArchiveRoots, disk_space: DiskSpace
) -> None:
    await _expect_root(event.root, roots, disk_space)
    with _writing_to(event.root, disk_space):
        await playlists.add_playlist_metadata(event)


@HANDLERS.on(ListingCompleted)
async def close_listing(
    event: ListingCompleted, playlists: PlaylistAssembler, roots: ArchiveRoots, disk_space: DiskSpace
) -> None:
    if event.playlist_id is not None:
        envelope = handling()
        await _expect_root(event.root, roots, disk_space)
        with _writing_to(event.root, disk_space):
            await playlists.complete(event, at=envelope.timestamp, trace_id=envelope.trace_id)


@HANDLERS.on(ListingFailed)
async def drop_listing(event: ListingFailed, pages: PageBuffer) -> None:
    if event.final or event.cursor is None:  # with a cursor the next try continues after the pages that are here
        await pages.drop(event.job_id, event.target_index)


# --- metadata ---------------------------------------------------------------------------------------------------------


@HANDLERS.on(MetadataFetched, slots=4)
async def save_metadata(
    event: MetadataFetched,
    archive: ArchiveStore,
    work_plans: WorkPlanRepository,
    roots: ArchiveRoots,
    disk_space: DiskSpace,
) -> AsyncIterator[Event]:
    await _expect_root(event.root, roots, disk_space)
    with _writing_to(event.root, disk_space):
        path = await archive.save_metadata(event, handling().trace_id)
        await work_plans.resolve_described(roots.tree(event.root).key, event.video_id)
    yield MetadataArchived(
        job_id=event.job_id,
        root=event.root,
        video_id=event.video_id,
        source_name=event.source_name,
        path=str(path),
        dispatch_id=event.dispatch_id,
    )


# --- files ------------------------------------------------------------------------------------------------------------


@HANDLERS.on(DownloadCompleted, slots=2)
async def take_in(
    event: DownloadCompleted,
    archive: ArchiveStore,
    work_plans: WorkPlanRepository,
    roots: ArchiveRoots,
    disk_space: DiskSpace,
) -> AsyncIterator[Event]:
    if not _changes_the_archive(event):
        return
    with suppress(UnreadableMessage):  # then the take-in fails, which is reported to jobs
        await _expect_root(event.root, roots, disk_space)
    try:
        manifest = await archive.take_in(event, handling().trace_id)
        await archive.ensure_metadata(event, handling().trace_id)
    except (YTArchiveError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.EROFS:
            raise NotNow(f"{event.root} is read-only: {error}", disk_space.recheck) from error
        failure = _failure(error)
        _log.error("take_in_failed", video_id=event.video_id, error_code=failure.code, error_message=failure.message)
        yield StorageFailed(
            job_id=event.job_id,
            video_id=event.video_id,
            root=event.root,
            dispatch_id=event.dispatch_id,
            failure=failure,
        )
        return
    tree = roots.tree(event.root)
    await work_plans.resolve_arrived(tree.key, event.video_id)
    (held,) = await archive.held(event.root, [event.video_id])
    yield VideoArchived(
        job_id=event.job_id,
        video_id=event.video_id,
        root=event.root,
        dispatch_id=event.dispatch_id,
        directory=str(tree.video_dir(event.video_id)),
        files=manifest.files,
        bytes=manifest.bytes,
        held=held,
        duration_seconds=manifest.metadata.duration_seconds,
        kept=kept_better(manifest, event),
        better=bool(event.files) if event.wanted.look is not None else None,
    )


@HANDLERS.on(LookFailed)
async def note_failed_look(
    event: LookFailed, archive: ArchiveStore, roots: ArchiveRoots, disk_space: DiskSpace
) -> None:
    await _expect_root(event.root, roots, disk_space)
    with _writing_to(event.root, disk_space):
        await archive.note_failed_look(event.root, event.video_id, event.message, event.dispatch_id)


def _changes_the_archive(event: DownloadCompleted) -> bool:
    """Return False for metadata alone: `metadata.fetched` has brought it. An absent thumbnail is recorded, though."""
    wanted = event.wanted
    return bool(event.files) or wanted.media or wanted.thumbnail or bool(wanted.captions) or wanted.info


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


# --- work plans -------------------------------------------------------------------------------------------------------


@HANDLERS.on(VideoFailed)
async def add_to_plan(event: VideoFailed, work_plans: WorkPlanRepository) -> AsyncIterator[Event]:
    written = await work_plans.add(event, handling().trace_id)
    yield WorkPlanUpdated(
        plan_id=written.plan_id,
        job_id=event.job_id,
        video_ids=(event.video_id,),
        number=event.number,
        path=str(work_plans.path(written.plan_id)),
        unavailable=written.open_unavailable,
        failed=written.open_failed,
        resolved=written.resolved,
    )


@HANDLERS.on(FindingWithdrawn)
async def withdraw_finding(event: FindingWithdrawn, work_plans: WorkPlanRepository) -> None:
    await work_plans.withdraw(event)


_ENDS: dict[str, type[JobCompleted | JobFailed | JobCancelled]] = {
    kind.subject: kind for kind in (JobCompleted, JobFailed, JobCancelled)
}


@HANDLERS.inbox(JobCompleted, JobFailed, JobCancelled, name="ended_jobs")
async def end_rechecks(envelopes: Sequence[Envelope], work_plans: WorkPlanRepository) -> None:
    """Stop waiting for videos that a re-check did not answer for, for example because it was cancelled."""
    for envelope in envelopes:
        ended = _ENDS[envelope.type].read(envelope)
        if is_recheck(ended.job_id):
            await work_plans.end_recheck(ended.job_id)
