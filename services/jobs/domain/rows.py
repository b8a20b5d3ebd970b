"""The rows of jobs.db as the machine sees them, and the few ways in which it reaches them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from services.common.models import (
    ErrorCode,
    ErrorDetail,
    ItemStatus,
    JobOptions,
    JobResult,
    JobStatus,
    JobType,
    Target,
    Wanted,
)

TARGETS_SHOWN = 100


class ListingState(StrEnum):
    QUEUED = "queued"  # job.queued is out
    CLAIMED = "claimed"
    TIMER = "timer"  # goes on at retry_at
    LISTED = "listed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def open(self) -> bool:
        return self not in {ListingState.LISTED, ListingState.FAILED, ListingState.CANCELLED}


class FetchState(StrEnum):
    IDLE = "idle"  # nobody works on it
    DISPATCHED = "dispatched"
    CLAIMED = "claimed"
    STORING = "storing"  # downloaded; storage takes it in


@dataclass
class JobRow:
    job_id: str
    trace_id: str
    type: JobType
    options: JobOptions
    targets: tuple[str, ...]  # the first TARGETS_SHOWN as given: this row is read and written with every event
    priority: int
    root: str
    status: JobStatus
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    target_count: int = 0
    targets_digest: str = ""
    paused: bool = False
    cancelling: bool = False  # nothing new of it begins; it ends when nothing of it runs any more
    title: str | None = None
    error: ErrorDetail | None = None
    retry_at: datetime | None = None
    work_plan: str | None = None
    revision: int = 0
    listings: int = 0  # how many targets
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
    awaited: tuple[str, ...] | None = None  # page keys that listing.completed named
    seen: frozenset[str] = frozenset()  # page keys that arrived
    error: ErrorDetail | None = None


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
    need: Wanted | None = None  # what is still missing of it
    dispatch_id: str | None = None  # the dispatch that serves it now
    begun: datetime | None = None  # when a worker was last let through for it
    asked_again: int = 0  # how often storage had to be asked again what it holds of it
    attempts: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0  # how often the site refused just it, as it seems: see dispatches.deferred
    refused_at: datetime | None = None
    again: bool = False  # a person wants it tried again, be it known to be gone
    cancelling: bool = False  # it runs, and is to end as cancelled unless it is complete by then
    outcome: ItemStatus | None = None  # CLOSING: what it will be
    number: int = 0  # how often it was given up
    detected_at: datetime | None = None  # when it was found to be gone: not always by this job
    reason: str | None = None
    message: str | None = None
    error_code: ErrorCode | None = None
    retry_at: datetime | None = None
    result: JobResult | None = None
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

    @property
    def dispatch_id(self) -> str:
        return f"{self.fetch_id}.{self.number}"

    def names(self) -> dict[str, Any]:
        """What names the current dispatch in every event about it."""
        return {
            "dispatch_id": self.dispatch_id,
            "fetch_id": self.fetch_id,
            "job_id": self.job_id,
            "video_id": self.video_id,
            "root": self.root,
        }


class Rows(Protocol):
    """Identity-mapped rows of one transaction: what is changed on them is what is saved."""

    def job(self, job_id: str) -> JobRow | None: ...

    def listing(self, job_id: str, target_index: int) -> ListingRow | None: ...

    def item(self, job_id: str, video_id: str) -> ItemRow | None: ...

    def fetch(self, video_id: str) -> FetchRow | None: ...

    def waiters(self, video_id: str) -> Sequence[ItemRow]:
        """Items WAITING or RUNNING for this video, of all jobs, the oldest job first."""
        ...

    def open_items(self, job_id: str, limit: int) -> Sequence[ItemRow]:
        """Items LISTED, WAITING or RUNNING that are not being cancelled yet."""
        ...

    def gaps(self, job_id: str) -> Sequence[ItemRow]:
        """Items UNAVAILABLE, FAILED or CANCELLED."""
        ...

    def served_since(self, moment: datetime) -> bool:
        """Has a worker been let through since, for any video of any job, and brought it?"""
        ...

    def add(self, row: JobRow | ListingRow | ItemRow | FetchRow) -> None: ...

    def drop(self, fetch: FetchRow) -> None: ...
