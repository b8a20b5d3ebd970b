"""The current state of a job that is followed: a reducer of its events and REST snapshots. Pure.

Each applied event returns the messages to display.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bus.message import Envelope, Event, UnreadableMessage
from services.common import events as e
from services.common.domain.failures import FailureKind
from services.common.domain.jobs import Item, ItemStatus, Job
from services.common.models import ErrorCode, JobType, Progress


@dataclass
class RunningDownload:
    """A running download. `archiving`: downloaded, and being taken into the archive."""

    video_id: str
    title: str | None = None
    progress: Progress | None = None
    archiving: bool = False


@dataclass(frozen=True)
class SavedMessage:
    video_id: str
    title: str | None
    bytes: int | None


@dataclass(frozen=True)
class BetterCopyKeptMessage:
    """The archive already holds a better copy than the one that was downloaded."""

    video_id: str
    title: str | None


@dataclass(frozen=True)
class BetterOfferedMessage:
    """A look at an archived video has found something better, which is fetched. `resolution`: lines of the picture."""

    video_id: str
    title: str | None
    resolution: int | None
    longer: bool
    captions: tuple[str, ...]


@dataclass(frozen=True)
class NothingBetterMessage:
    """A look at an archived video has found nothing better. `next_look`: None if it was the last one."""

    video_id: str
    title: str | None
    next_look: datetime | None


@dataclass(frozen=True)
class LookFailedMessage:
    """An archived video could not be looked at again."""

    video_id: str
    title: str | None
    message: str


@dataclass(frozen=True)
class UnavailableMessage:
    video_id: str
    title: str | None
    reason: str


@dataclass(frozen=True)
class FailedMessage:
    video_id: str
    title: str | None
    attempts: int
    message: str


@dataclass(frozen=True)
class AttemptFailedMessage:
    """An attempt that is followed by another one, unless `FailedMessage` comes next."""

    video_id: str
    title: str | None
    message: str


@dataclass(frozen=True)
class ListingFailedMessage:
    message: str
    retry_at: datetime | None


@dataclass(frozen=True)
class BlockedMessage:
    """`message`: what happened and what to do, in sentences; may be empty."""

    reason: str
    until: datetime
    message: str = ""


@dataclass(frozen=True)
class AvailableMessage:
    """YouTube answers again."""


@dataclass(frozen=True)
class DiskFullMessage:
    message: str


JobMessage = (
    SavedMessage
    | BetterCopyKeptMessage
    | BetterOfferedMessage
    | NothingBetterMessage
    | LookFailedMessage
    | UnavailableMessage
    | FailedMessage
    | AttemptFailedMessage
    | ListingFailedMessage
    | BlockedMessage
    | AvailableMessage
    | DiskFullMessage
)


@dataclass
class JobState:
    """`titles` has a key for every known video of the job. `since`: an end at this revision or before is an earlier
    one, after which the job is retried."""

    job_id: str
    trace_id: str
    since: int = -1
    job: Job | None = None
    titles: dict[str, str | None] = field(default_factory=dict)
    running: dict[str, RunningDownload] = field(default_factory=dict)
    blocked: dict[str, BlockedMessage] = field(default_factory=dict)
    disk_full: bool = False  # a message was returned

    def is_of_job(self, envelope: Envelope) -> bool:
        """Return whether an event belongs to the job, its trace, or a video that it waits for."""
        data = envelope.data
        if data.get("job_id") == self.job_id or envelope.trace_id == self.trace_id:
            return True
        return data.get("video_id") in self.titles and "fetch_id" in data

    def concerns(self, envelope: Envelope) -> bool:
        """As `is_of_job`, or about the connection to YouTube, which all jobs share."""
        return self.is_of_job(envelope) or envelope.type in {e.SourceBlocked.subject, e.SourceCleared.subject}

    def apply(self, envelope: Envelope) -> list[JobMessage]:
        """Apply an event that concerns the job. Return the messages to display."""
        kind, reduce = _REDUCERS.get(envelope.type, (None, None))
        if kind is None or reduce is None:
            return []
        try:
            event = kind.read(envelope)
        except UnreadableMessage:
            return []  # from a later version; the snapshots contain the effect
        return reduce(self, event)

    def apply_snapshot(self, job: Job, items: Iterable[Item], running: Mapping[str, Progress]) -> None:
        """Apply the current state from REST: downloads that it does not contain have ended."""
        self.update_job(job)
        active: set[str] = set(running)
        for item in items:
            self.titles[item.video_id] = item.title or self.titles.get(item.video_id)
            if item.status is ItemStatus.RUNNING:
                active.add(item.video_id)
        for video_id in set(self.running) - active:
            del self.running[video_id]
        for video_id in sorted(active):
            self.start(video_id).progress = running.get(video_id) or self.start(video_id).progress

    def update_job(self, job: Job) -> None:
        """Ignore an older revision."""
        if self.job is None or job.revision >= self.job.revision:
            self.job = job

    def title(self, video_id: str) -> str | None:
        return self.titles.get(video_id)

    def start(self, video_id: str) -> RunningDownload:
        running = self.running.setdefault(video_id, RunningDownload(video_id))
        running.title = self.titles.get(video_id) or running.title
        return running


def _listed(state: JobState, event: e.ListingPageFetched | e.ArchiveChecked) -> list[JobMessage]:
    for entry in event.entries:
        state.titles[entry.video_id] = entry.title or state.titles.get(entry.video_id)
    return []


def _listing_failed(_state: JobState, event: e.ListingFailed) -> list[JobMessage]:
    return [ListingFailedMessage(event.error.message, None if event.final else event.retry_after)]


def _described(state: JobState, event: e.MetadataFetched) -> list[JobMessage]:
    state.titles[event.video_id] = event.metadata.title
    if event.video_id in state.running:
        state.running[event.video_id].title = event.metadata.title
    return []


def _started(state: JobState, event: e.DownloadStarted) -> list[JobMessage]:
    state.disk_full = False
    state.start(event.video_id)
    return []


def _progressed(state: JobState, event: e.DownloadProgress) -> list[JobMessage]:
    running = state.start(event.video_id)
    running.title = event.title or running.title
    running.progress = event.progress
    return []


def _completed(state: JobState, event: e.DownloadCompleted) -> list[JobMessage]:
    state.titles[event.video_id] = event.metadata.title
    state.start(event.video_id).archiving = True
    return []


def _deferred(state: JobState, event: e.DownloadDeferred) -> list[JobMessage]:
    state.running.pop(event.video_id, None)
    known, full = state.disk_full, event.failure is not None and event.failure.code is ErrorCode.STORAGE_FULL
    state.disk_full = known or full
    return [DiskFullMessage(event.failure.message)] if event.failure is not None and full and not known else []


def _attempt_failed(state: JobState, event: e.DownloadFailed | e.StorageFailed) -> list[JobMessage]:
    state.running.pop(event.video_id, None)
    if event.failure.kind in {FailureKind.GONE, FailureKind.REFUSED, FailureKind.SITE_WIDE}:
        return []  # video.failed or source.blocked has a better message
    return [AttemptFailedMessage(event.video_id, state.title(event.video_id), event.failure.message)]


def _archived(state: JobState, event: e.VideoArchived) -> list[JobMessage]:
    state.running.pop(event.video_id, None)
    if state.job is not None and state.job.type is JobType.METADATA_ONLY:
        return []  # metadata.archived has the message
    title = state.title(event.video_id)
    if event.better is False:
        return [NothingBetterMessage(event.video_id, title, event.held.next_look)]
    return [
        BetterCopyKeptMessage(event.video_id, title) if event.kept else SavedMessage(event.video_id, title, event.bytes)
    ]


def _looked(state: JobState, event: e.DownloadLooked) -> list[JobMessage]:
    title = event.title or state.title(event.video_id)
    return [BetterOfferedMessage(event.video_id, title, event.resolution, event.longer, event.captions)]


def _look_failed(state: JobState, event: e.LookFailed) -> list[JobMessage]:
    state.running.pop(event.video_id, None)
    return [LookFailedMessage(event.video_id, state.title(event.video_id), event.message)]


def _metadata_archived(state: JobState, event: e.MetadataArchived) -> list[JobMessage]:
    if state.job is None or state.job.type is not JobType.METADATA_ONLY:
        return []
    state.running.pop(event.video_id, None)
    return [SavedMessage(event.video_id, state.title(event.video_id), None)]


def _video_failed(state: JobState, event: e.VideoFailed) -> list[JobMessage]:
    state.running.pop(event.video_id, None)
    title = state.title(event.video_id)
    if event.unavailable is not None:
        return [UnavailableMessage(event.video_id, event.unavailable.title or title, event.unavailable.reason)]
    if event.failed is None:
        return []
    last: dict[str, Any] = event.failed.errors[-1] if event.failed.errors else {}
    return [
        FailedMessage(event.video_id, event.failed.title or title, event.failed.attempts, str(last.get("message", "")))
    ]


def _job_changed(
    state: JobState, event: e.JobProgress | e.JobCompleted | e.JobFailed | e.JobCancelled
) -> list[JobMessage]:
    state.update_job(event.job)
    return []


def _source_blocked(state: JobState, event: e.SourceBlocked) -> list[JobMessage]:
    blocked = BlockedMessage(event.reason, event.until, event.message)
    known = state.blocked.get(event.egress) == blocked
    state.blocked[event.egress] = blocked
    return [] if known else [blocked]


def _source_cleared(state: JobState, event: e.SourceCleared) -> list[JobMessage]:
    return [AvailableMessage()] if state.blocked.pop(event.egress, None) else []


_ALL: dict[type[Event], Callable[[JobState, Any], list[JobMessage]]] = {
    e.ListingPageFetched: _listed,
    e.ArchiveChecked: _listed,
    e.ListingFailed: _listing_failed,
    e.MetadataFetched: _described,
    e.DownloadStarted: _started,
    e.DownloadProgress: _progressed,
    e.DownloadLooked: _looked,
    e.LookFailed: _look_failed,
    e.DownloadCompleted: _completed,
    e.DownloadDeferred: _deferred,
    e.DownloadFailed: _attempt_failed,
    e.StorageFailed: _attempt_failed,
    e.VideoArchived: _archived,
    e.MetadataArchived: _metadata_archived,
    e.VideoFailed: _video_failed,
    e.JobProgress: _job_changed,
    e.JobCompleted: _job_changed,
    e.JobFailed: _job_changed,
    e.JobCancelled: _job_changed,
    e.SourceBlocked: _source_blocked,
    e.SourceCleared: _source_cleared,
}
_REDUCERS = {kind.subject: (kind, reduce) for kind, reduce in _ALL.items()}
