"""The rows of jobs.db, and how the state machine accesses them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from services.common.domain.follows import FollowVideoState, HowToLook
from services.common.domain.jobs import ItemStatus, Shortfall
from services.common.domain.videos import Target, Wanted
from services.common.models import ErrorCode, ErrorDetail, JobOptions, JobResult, JobStatus, JobType
from services.jobs.domain.scheduler import Block

TARGETS_SHOWN = 100


class ListingState(StrEnum):
    QUEUED = "queued"  # job.queued was sent
    CLAIMED = "claimed"
    TIMER = "timer"  # is requested again at retry_at
    LISTED = "listed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def open(self) -> bool:
        return self not in {ListingState.LISTED, ListingState.FAILED, ListingState.CANCELLED}


class FetchState(StrEnum):
    IDLE = "idle"  # not dispatched
    DISPATCHED = "dispatched"
    CLAIMED = "claimed"
    STORING = "storing"  # downloaded; storage archives it


@dataclass
class JobRow:
    job_id: str
    trace_id: str
    type: JobType
    options: JobOptions
    targets: tuple[str, ...]  # the first TARGETS_SHOWN as given; the row is read and written with every event
    priority: int
    root: str
    status: JobStatus
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    target_count: int = 0
    targets_digest: str = ""
    paused: bool = False
    cancelling: bool = False  # nothing new is started; the job ends when its last running item has ended
    title: str | None = None
    error: ErrorDetail | None = None
    notes: tuple[str, ...] = ()
    retry_at: datetime | None = None
    waiting_for: str | None = None
    work_plan: str | None = None
    revision: int = 0
    listings: int = 0  # number of targets
    listings_open: int = 0
    listings_failed: int = 0
    listings_cancelled: int = 0
    next_listing: int = 1
    total: int = 0
    open: int = 0
    archived: int = 0
    skipped: int = 0
    unavailable: int = 0
    failed: int = 0
    cancelled: int = 0


@dataclass
class ListingRow:
    job_id: str
    target_index: int
    target: Target
    number: int
    state: ListingState
    since: datetime
    cursor: str | None = None
    retry_at: datetime | None = None
    attempts: int = 0
    instance: str | None = None
    awaited: tuple[str, ...] | None = None  # page keys from listing.completed
    seen: frozenset[str] = frozenset()  # page keys received
    error: ErrorDetail | None = None
    again: bool = False  # it was listed before


@dataclass
class ItemRow:
    job_id: str
    video_id: str
    target_index: int
    position: int
    status: ItemStatus
    since: datetime
    title: str | None = None
    playlist_id: str | None = None
    need: Wanted | None = None  # what is not archived yet
    dispatch_id: str | None = None  # the dispatch that fetches it now
    begun: datetime | None = None  # when a worker's claim of it was last granted
    asked_again: int = 0  # how often the archive check was requested again
    attempts: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0  # how often the site refused this video: see dispatches.deferred
    refused_at: datetime | None = None
    marked: str | None = None  # how the listing shows it: `private`, `deleted`
    again: bool = False  # a user requested a retry, even if it is known to be gone
    cancelling: bool = False  # running; ends as cancelled unless it completes first
    outcome: ItemStatus | None = None  # CLOSING: its final status
    number: int = 0  # how often it failed for good
    taken_back: datetime | None = None  # CLOSING: its finding is withdrawn once it is on the plan; waits until then
    detected_at: datetime | None = None  # when it was found to be gone, perhaps by another job
    reason: str | None = None
    message: str | None = None
    error_code: ErrorCode | None = None
    retry_at: datetime | None = None
    file_size: int | None = None  # bytes, as far as a failed attempt found out
    retry_after: datetime | None = None  # the time that the last failure named
    metadata_saved: bool = False  # metadata/videos/{video_id}.json is in the archive
    result: JobResult | None = None
    height: int | None = None  # of the picture that was downloaded
    shortfall: Shortfall | None = None
    revision: int = 0


@dataclass
class FetchRow:
    video_id: str
    fetch_id: str
    state: FetchState
    since: datetime
    number: int = 0
    root: str = ""
    job_id: str = ""
    wanted: Wanted | None = None
    instance: str | None = None
    egress: str = ""  # of the worker that claimed the dispatch

    @property
    def dispatch_id(self) -> str:
        return f"{self.fetch_id}.{self.number}"

    def names(self) -> dict[str, Any]:
        """Return the fields that identify the current dispatch in every event about it."""
        return {
            "dispatch_id": self.dispatch_id,
            "fetch_id": self.fetch_id,
            "job_id": self.job_id,
            "video_id": self.video_id,
            "root": self.root,
        }


@dataclass
class FollowRow:
    follow_id: str
    target: str  # as given
    parsed: Target
    type: JobType
    options: JobOptions
    root: str
    priority: int
    created_at: datetime
    every: float | None = None  # seconds, if a person chose them
    last: int | None = None
    paused: bool = False
    title: str | None = None
    channel_id: str | None = None
    look: int = 0  # the number of the last look; a follow that is created again begins with a higher one
    first_look: int = 0
    good_look: int = 0  # the last one that ended well
    whole: bool = False  # whether the look that runs reads everything
    looking: datetime | None = None  # when it was requested, until it is over
    wanted: bool = False  # somebody asked for a look
    next_look: datetime | None = None
    looked_at: datetime | None = None
    listed_at: datetime | None = None  # the last look at a list
    whole_at: datetime | None = None  # the last look at everything
    how: HowToLook | None = None
    interval: float = 0.0  # seconds, of the last computation
    stretched: bool = False
    load: float = 0.0  # requests per hour, by its own rhythm
    requests: int = 0  # of the last look that did not read everything
    failures: int = 0
    error: ErrorDetail | None = None
    feed_failures: int = 0
    feed_problem: str | None = None
    feed_at: datetime | None = None  # when the feed was tried last
    times: tuple[datetime, ...] = ()  # when the newest videos were published, the newest first
    found_at: datetime | None = None
    found_title: str | None = None
    last_job: str | None = None
    videos: int = 0
    taken: int = 0
    left_out: int = 0


@dataclass
class FollowVideoRow:
    follow_id: str
    video_id: str
    rank: int  # the newest video has the highest
    state: FollowVideoState
    at: datetime
    position: int = 0  # in the list of its look
    title: str | None = None
    reason: str | None = None
    job_id: str | None = None
    published_until: datetime | None = None


@dataclass(frozen=True)
class Streak:
    """First attempts by one egress that failed one after the other, as (job_id, video_id), once for each job that
    waited for the video. `about`: what the failures have in common; `least`: how many videos raise a question
    (streaks.py)."""

    about: str
    since: datetime  # the first of these failures
    looks: tuple[tuple[str, str], ...] = ()
    least: int = 5


class Rows(Protocol):
    """The rows of one transaction, as an identity map: changes to a row object are saved."""

    def job(self, job_id: str) -> JobRow | None: ...

    def listing(self, job_id: str, target_index: int) -> ListingRow | None: ...

    def item(self, job_id: str, video_id: str) -> ItemRow | None: ...

    def fetch(self, video_id: str) -> FetchRow | None: ...

    def waiters(self, video_id: str) -> Sequence[ItemRow]:
        """Return the items WAITING or RUNNING for this video, of all jobs, the oldest job first."""
        ...

    def open_items(self, job_id: str, limit: int) -> Sequence[ItemRow]:
        """Return items LISTED, WAITING or RUNNING that are not being cancelled yet."""
        ...

    def failures(self, job_id: str) -> Sequence[ItemRow]:
        """Return the items UNAVAILABLE, FAILED or CANCELLED."""
        ...

    def served_since(self, moment: datetime) -> bool:
        """Return whether any video of any job was claimed and archived since then."""
        ...

    def add(self, row: JobRow | ListingRow | ItemRow | FetchRow | FollowRow) -> None: ...

    def drop(self, fetch: FetchRow) -> None: ...

    def discard_removed(self, job_id: str) -> None:
        """Delete what is left of a removed job, because a new job has its id."""

    def block(self, egress: str) -> Block | None: ...

    def set_block(self, egress: str, block: Block | None) -> None:
        """Store that the source refuses this egress; None: not any more."""

    def streak(self, egress: str) -> Streak | None: ...

    def set_streak(self, egress: str, streak: Streak | None) -> None: ...

    def follow(self, follow_id: str) -> FollowRow | None: ...

    def drop_follow(self, follow_id: str) -> None:
        """Forget a follow and what it has found."""

    def follow_load(self) -> float:
        """Return the requests per hour that all follows would send by their own rhythm."""
        ...

    def known_videos(self, follow_id: str, video_ids: Collection[str]) -> dict[str, FollowVideoRow]:
        """Return those of these videos that the follow has found before, by id."""
        ...

    def newest_known(self, follow_id: str, highest: int, limit: int) -> list[str]:
        """Return the newest videos that the follow has found, up to the rank `highest`."""
        ...

    def found_videos(self, follow_id: str) -> list[FollowVideoRow]:
        """Return the videos of looks that are not over yet, the newest first."""
        ...

    def forget_videos(self, follow_id: str, state: FollowVideoState) -> None: ...

    def set_follow_video(self, video: FollowVideoRow) -> None: ...

    def follow_video(self, follow_id: str, video_id: str) -> FollowVideoRow | None: ...

    def canary(self, exclude: Collection[str]) -> str | None:
        """Return the video that was archived last, of any job; None without one."""
        ...
