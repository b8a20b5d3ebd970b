"""Jobs and their items, as REST, events and the command line show them."""

from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.common.models import ErrorCode, ErrorDetail, JobOptions, JobResult, JobStatus, JobType, Progress

JOB_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
JobId = Annotated[str, Field(pattern=JOB_ID_PATTERN)]


class ItemStatus(StrEnum):
    LISTED = "listed"  # waiting for archive.checked
    WAITING = "waiting"  # in the queue, or waiting for a scheduled retry
    RUNNING = "running"
    CLOSING = "closing"  # given up; waiting for work_plan.updated
    ARCHIVED = "archived"
    SKIPPED = "skipped"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def open(self) -> bool:
        return self in {ItemStatus.LISTED, ItemStatus.WAITING, ItemStatus.RUNNING, ItemStatus.CLOSING}


class Shortfall(BaseModel, frozen=True):
    """What was wanted of a saved video and is not there. Names as in `Held.absent`: `thumbnail`, `captions/de`."""

    absent: tuple[str, ...] = Field(default=(), description="YouTube does not have it.")
    unfetched: tuple[str, ...] = Field(default=(), description="It could not be fetched.")
    height: int | None = Field(default=None, description="Of the picture, if it is lower than the wanted quality.")
    next_look: AwareDatetime | None = Field(default=None, description="When the video is looked at again; null: never.")


class Item(BaseModel):
    """One video of one job, in REST and the CLI."""

    job_id: str
    video_id: str
    position: int
    title: str | None = None
    status: ItemStatus
    attempts: int = 0
    reason: str | None = None
    message: str | None = None
    error_code: ErrorCode | None = None
    retry_at: AwareDatetime | None = None
    result: JobResult | None = None
    shortfall: Shortfall | None = None
    revision: int = 0


class NewJobOptions(JobOptions):
    """The options of a new job. An unknown name is an error: a misspelled option would silently be the default."""

    model_config = ConfigDict(extra="forbid")


class JobCounts(BaseModel):
    total: int = 0
    open: int = 0
    archived: int = 0
    skipped: int = 0
    unavailable: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def nothing_saved(self) -> bool:
        """Whether not one video is in the archive, because they failed or are unavailable."""
        return self.archived + self.skipped == 0 < self.unavailable + self.failed


class Job(BaseModel):
    """A job, in REST, events and the CLI. `work_plan` is the path of its plan, if an item was given up.

    `targets` are the first 100 as they were given, of `target_count`; `targets_digest` is that of targets.digest().
    """

    job_id: str
    trace_id: str
    type: JobType
    status: JobStatus
    paused: bool = False
    cancelling: bool = Field(default=False, description="Cancellation requested; ends when nothing of it runs.")
    priority: int = 0
    targets: list[str]
    target_count: int = 0
    targets_digest: str = ""
    options: JobOptions
    root: str
    title: str | None = None
    counts: JobCounts = Field(default_factory=JobCounts)
    listed: bool = Field(default=False, description="Every target was listed or failed: `counts.total` is final.")
    progress: Progress
    error: ErrorDetail | None = None
    notes: list[str] = Field(default_factory=list, description="What is worth knowing about a list, and no failure.")
    retry_at: AwareDatetime | None = Field(
        default=None, description="The earliest scheduled retry, in status retrying."
    )
    waiting_for: str | None = Field(
        default=None, description="Why nothing more of this job is started at present, and what to do about it."
    )
    work_plan: str | None = None
    created_at: AwareDatetime
    updated_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    revision: int = 0
