"""What is known of a job that is followed, put together from events and snapshots. Pure: envelopes in, notices out."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bus.message import Envelope, Event, UnreadableMessage
from services.common import events as e
from services.common.models import ErrorCode, FailureKind, Item, ItemStatus, Job, JobType, Progress


@dataclass
class Running:
    """A download under way."""

    video_id: str
    title: str | None = None
    progress: Progress | None = None
    storing: bool = False  # fetched, and being taken into the archive


@dataclass(frozen=True)
class Saved:
    video_id: str
    title: str | None
    bytes: int | None


@dataclass(frozen=True)
class Kept:
    """What was fetched is less than what the archive holds."""

    video_id: str
    title: str | None


@dataclass(frozen=True)
class Unavailable:
    video_id: str
    title: str | None
    reason: str


@dataclass(frozen=True)
class Failed:
    video_id: str
    title: str | None
    attempts: int
    message: str


@dataclass(frozen=True)
class AttemptFailed:
    """An attempt that will be followed by another, unless `Failed` comes next."""

    video_id: str
    title: str | None
    message: str


@dataclass(frozen=True)
class ListingTrouble:
    message: str
    again_at: datetime | None


@dataclass(frozen=True)
class Blocked:
    reason: str
    until: datetime


@dataclass(frozen=True)
class Cleared:
    pass


@dataclass(frozen=True)
class NoSpace:
    message: str


Notice = Saved | Kept | Unavailable | Failed | AttemptFailed | ListingTrouble | Blocked | Cleared | NoSpace


@dataclass
class Picture:
    """Of one job. `titles` has a key for every video of it that was met. An end at revision `since` or before is not
    the end that is waited for: the job is tried again after that."""

    job_id: str
    trace_id: str
    since: int = -1
    job: Job | None = None
    titles: dict[str, str | None] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)
    blocked: dict[str, Blocked] = field(default_factory=dict)
    no_space: bool = False  # it was told

    def mine(self, envelope: Envelope) -> bool:
        """About this job: it, its trace, or a video that it waits for."""
        data = envelope.data
        if data.get("job_id") == self.job_id or envelope.trace_id == self.trace_id:
            return True
        return data.get("video_id") in self.titles and "fetch_id" in data

    def concerns(self, envelope: Envelope) -> bool:
        """As `mine`, or about the way out that all jobs share."""
        return self.mine(envelope) or envelope.type in {e.SourceBlocked.subject, e.SourceCleared.subject}

    def apply(self, envelope: Envelope) -> list[Notice]:
        """Take in an event that concerns this job; what a person should be told of it."""
        kind, step = _STEPS.get(envelope.type, (None, None))
        if kind is None or step is None:
            return []
        try:
            event = kind.read(envelope)
        except UnreadableMessage:
            return []  # a later version of ours: the snapshots will tell
        return step(self, event)

    def snapshot(self, job: Job, items: Iterable[Item], running: Mapping[str, Progress]) -> None:
        """What REST says now: downloads that it does not know are over."""
        self.see(job)
        under_way: set[str] = set(running)
        for item in items:
            self.titles[item.video_id] = item.title or self.titles.get(item.video_id)
            if item.status is ItemStatus.RUNNING:
                under_way.add(item.video_id)
        for video_id in set(self.running) - under_way:
            del self.running[video_id]
        for video_id in sorted(under_way):
            self._run(video_id).progress = running.get(video_id) or self._run(video_id).progress

    def see(self, job: Job) -> None:
        if self.job is None or job.revision >= self.job.revision:
            self.job = job

    def title(self, video_id: str) -> str | None:
        return self.titles.get(video_id)

    def _run(self, video_id: str) -> Running:
        running = self.running.setdefault(video_id, Running(video_id))
        running.title = self.titles.get(video_id) or running.title
        return running


def _listed(picture: Picture, event: e.ListingPageFetched | e.ArchiveChecked) -> list[Notice]:
    for entry in event.entries:
        picture.titles[entry.video_id] = entry.title or picture.titles.get(entry.video_id)
    return []


def _listing_failed(_picture: Picture, event: e.ListingFailed) -> list[Notice]:
    return [ListingTrouble(event.error.message, None if event.final else event.retry_after)]


def _described(picture: Picture, event: e.MetadataFetched) -> list[Notice]:
    picture.titles[event.video_id] = event.metadata.title
    if event.video_id in picture.running:
        picture.running[event.video_id].title = event.metadata.title
    return []


def _started(picture: Picture, event: e.DownloadStarted) -> list[Notice]:
    picture.no_space = False
    picture._run(event.video_id)
    return []


def _progressed(picture: Picture, event: e.DownloadProgress) -> list[Notice]:
    running = picture._run(event.video_id)
    running.title = event.title or running.title
    running.progress = event.progress
    return []


def _completed(picture: Picture, event: e.DownloadCompleted) -> list[Notice]:
    picture.titles[event.video_id] = event.metadata.title
    picture._run(event.video_id).storing = True
    return []


def _over(picture: Picture, event: e.DownloadDeferred) -> list[Notice]:
    picture.running.pop(event.video_id, None)
    known, full = picture.no_space, event.failure is not None and event.failure.code is ErrorCode.STORAGE_FULL
    picture.no_space = known or full
    return [NoSpace(event.failure.message)] if event.failure is not None and full and not known else []


def _attempt_failed(picture: Picture, event: e.DownloadFailed | e.StorageFailed) -> list[Notice]:
    picture.running.pop(event.video_id, None)
    if event.failure.kind in {FailureKind.GONE, FailureKind.SITE_WIDE}:
        return []  # video.failed or source.blocked says it better
    return [AttemptFailed(event.video_id, picture.title(event.video_id), event.failure.message)]


def _archived(picture: Picture, event: e.VideoArchived) -> list[Notice]:
    picture.running.pop(event.video_id, None)
    if picture.job is not None and picture.job.type is JobType.METADATA_ONLY:
        return []  # metadata.archived tells
    title = picture.title(event.video_id)
    return [Kept(event.video_id, title) if event.kept else Saved(event.video_id, title, event.bytes)]


def _metadata_archived(picture: Picture, event: e.MetadataArchived) -> list[Notice]:
    if picture.job is None or picture.job.type is not JobType.METADATA_ONLY:
        return []
    picture.running.pop(event.video_id, None)
    return [Saved(event.video_id, picture.title(event.video_id), None)]


def _given_up(picture: Picture, event: e.VideoFailed) -> list[Notice]:
    picture.running.pop(event.video_id, None)
    title = picture.title(event.video_id)
    if event.unavailable is not None:
        return [Unavailable(event.video_id, event.unavailable.title or title, event.unavailable.reason)]
    if event.failed is None:
        return []
    last: dict[str, Any] = event.failed.errors[-1] if event.failed.errors else {}
    return [Failed(event.video_id, event.failed.title or title, event.failed.attempts, str(last.get("message", "")))]


def _job_seen(picture: Picture, event: e.JobProgress | e.JobCompleted | e.JobFailed | e.JobCancelled) -> list[Notice]:
    picture.see(event.job)
    return []


def _source_blocked(picture: Picture, event: e.SourceBlocked) -> list[Notice]:
    blocked = Blocked(event.reason, event.until)
    known = picture.blocked.get(event.egress) == blocked
    picture.blocked[event.egress] = blocked
    return [] if known else [blocked]


def _source_cleared(picture: Picture, event: e.SourceCleared) -> list[Notice]:
    return [Cleared()] if picture.blocked.pop(event.egress, None) else []


_ALL: dict[type[Event], Callable[[Picture, Any], list[Notice]]] = {
    e.ListingPageFetched: _listed,
    e.ArchiveChecked: _listed,
    e.ListingFailed: _listing_failed,
    e.MetadataFetched: _described,
    e.DownloadStarted: _started,
    e.DownloadProgress: _progressed,
    e.DownloadCompleted: _completed,
    e.DownloadDeferred: _over,
    e.DownloadFailed: _attempt_failed,
    e.StorageFailed: _attempt_failed,
    e.VideoArchived: _archived,
    e.MetadataArchived: _metadata_archived,
    e.VideoFailed: _given_up,
    e.JobProgress: _job_seen,
    e.JobCompleted: _job_seen,
    e.JobFailed: _job_seen,
    e.JobCancelled: _job_seen,
    e.SourceBlocked: _source_blocked,
    e.SourceCleared: _source_cleared,
}
_STEPS = {kind.subject: (kind, step) for kind, step in _ALL.items()}
