"""The queries and answers of jobs' REST interface. The offline interface has the same."""

from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from services.common.domain.follows import Follow, FollowVideo, FollowVideoState
from services.common.domain.jobs import JOB_ID_PATTERN, Item, ItemStatus, Job, NewJobOptions
from services.common.domain.registry import ServiceInfo
from services.common.domain.videos import RawTarget, VideoId
from services.common.models import JobStatus, JobType, Progress
from services.common.web.paging import Page, PageQuery

_SHORTEST = 60  # seconds between two looks
OPEN = "open"  # the filter for all jobs that have not ended
CURSOR_PATTERN = r"^[0-9]{1,15}/[A-Za-z0-9_-]{1,64}$"  # position/video_id of the item before the page


class NewJob(BaseModel):
    """The body of POST /jobs. The sender may choose `job_id`: a repeated request then returns the same job."""

    model_config = ConfigDict(extra="forbid")

    targets: list[RawTarget] = Field(min_length=1, max_length=20_000)
    type: JobType = JobType.PLAYLIST_DOWNLOAD
    options: NewJobOptions = Field(default_factory=NewJobOptions)
    priority: int = Field(default=0, ge=-100, le=100)
    job_id: str | None = Field(default=None, pattern=JOB_ID_PATTERN)


class NewFollow(BaseModel):
    """The body of POST /follows. `every_seconds`: unset, the channel's own rhythm decides. `last`: of what is there
    now, only so many newest."""

    model_config = ConfigDict(extra="forbid")

    target: RawTarget
    type: JobType = JobType.PLAYLIST_DOWNLOAD
    options: NewJobOptions = Field(default_factory=NewJobOptions)
    priority: int = Field(default=0, ge=-100, le=100)
    every_seconds: float | None = Field(default=None, ge=60, le=366 * 86_400)
    last: int | None = Field(default=None, ge=1, le=20_000)


class FollowPatch(BaseModel):
    """What is to change. `options` are replaced as a whole; other rules let the next look read the whole list.
    `every_seconds` 0: the channel's own rhythm decides again."""

    model_config = ConfigDict(extra="forbid")

    options: NewJobOptions | None = None
    priority: int | None = Field(default=None, ge=-100, le=100)
    every_seconds: float | None = Field(default=None, ge=0, le=366 * 86_400)
    paused: bool | None = None

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("nothing is to change: name options, priority, every_seconds or paused")
        if self.every_seconds is not None and 0 < self.every_seconds < _SHORTEST:
            raise ValueError(f"every_seconds must be 0, or {_SHORTEST} or more")
        return self


class FollowQuery(PageQuery):
    """`sort=next`: in the order of the next looks, paused ones last."""

    sort: Literal["title", "next"] = "title"


class FollowList(Page):
    follows: list[Follow]


class FollowVideoQuery(PageQuery):
    state: FollowVideoState | None = None


class FollowVideoList(Page):
    """The newest first."""

    videos: list[FollowVideo]


class RemovedFollow(BaseModel):
    follow_id: str
    removed: bool = True


class CancelBody(BaseModel):
    """Without `video_id` the whole job is cancelled."""

    model_config = ConfigDict(extra="forbid")

    video_id: VideoId | None = None


class JobPatch(BaseModel):
    """The changeable fields of an open job."""

    model_config = ConfigDict(extra="forbid")

    priority: int = Field(ge=-100, le=100)


class CleanupBody(BaseModel):
    """`dry_run`: report only."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False


class JobQuery(PageQuery):
    """`sort=queue`: open jobs in the order in which they are served, then the others: by priority, those that wait for
    a later time or are paused last, the oldest first."""

    status: JobStatus | Literal["open"] | None = None
    type: JobType | None = None
    sort: Literal["newest", "queue"] = "newest"


class ItemQuery(PageQuery):
    """A page begins at `offset`, or after a cursor: `next` of the page before. The cost of a cursor does not depend on
    its place in the list."""

    limit: int = Field(default=100, ge=1, le=1000)
    status: ItemStatus | None = None
    after: str | None = Field(default=None, pattern=CURSOR_PATTERN)

    @model_validator(mode="after")
    def _one_beginning(self) -> Self:
        if self.after is not None and self.offset:
            raise ValueError("give offset or after, not both")
        return self


class JobList(Page):
    jobs: list[Job]


class ItemList(Page):
    items: list[Item]
    next: str | None = Field(default=None, description="The cursor of the next page; null after the last one.")


class ItemStates(BaseModel):
    """The state of every item of a job, one letter each, in the order of the list: the position of a letter is the
    `offset` of its item. `legend` explains the letters."""

    job_id: str
    states: str
    legend: dict[str, ItemStatus]


class ServiceList(Page):
    """The live service instances, by name."""

    services: list[ServiceInfo]


class JobDetail(BaseModel):
    """A job, its first items, and the progress of its running downloads by video_id."""

    job: Job
    items: list[Item]
    running: dict[str, Progress]


class JobSummary(BaseModel):
    """A job, and its videos that deserve attention: those that are being downloaded, wait for a scheduled retry, or
    ended without being saved; up to 50 of each kind. A job of up to 100 videos is complete. `left_out` is the number of
    the others."""

    job: Job
    items: list[Item]
    left_out: int = 0


class OpenJobs(Page):
    """A part of the snapshot of all open jobs."""

    jobs: list[Job]


class RemovedJob(BaseModel):
    """A job that was removed by a user or by the retention rules."""

    job_id: str


class EndedJob(BaseModel):
    """An ended job, as far as its removal is concerned. `items` is the number of its videos; `nothing_saved`: all of
    them failed or are unavailable."""

    job_id: str
    status: JobStatus
    finished_at: AwareDatetime
    items: int
    nothing_saved: bool = False


class Cleanup(BaseModel):
    """The jobs that were removed, or with `dry_run` would be."""

    dry_run: bool
    jobs: list[EndedJob]
    total: int
    items: int
