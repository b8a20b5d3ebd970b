"""The data models of SPEC ("Common Data Models"), and further models that several services share."""

import platform
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from services.common.validation import VIDEO_ID_PATTERN

# --- SPEC: base models ------------------------------------------------------------------------------------------


class ErrorCode(StrEnum):
    API_QUOTA_EXCEEDED = "E001"
    VIDEO_UNAVAILABLE = "E002"
    NETWORK_TIMEOUT = "E003"
    STORAGE_FULL = "E004"
    INVALID_CREDENTIALS = "E005"
    SERVICE_UNAVAILABLE = "E006"
    INVALID_REQUEST = "E007"
    INTERNAL_ERROR = "E999"


class ErrorDetail(BaseModel):
    code: ErrorCode
    message: str
    details: dict[str, Any] | None = None


class ServiceRequest(BaseModel):
    trace_id: str
    timestamp: AwareDatetime
    data: dict[str, Any]


class ServiceResponse(BaseModel):
    success: bool
    data: Any | None = None
    error: ErrorDetail | None = None
    trace_id: str


class HealthStatus(StrEnum):
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class HealthCheck(BaseModel):
    service: str
    status: HealthStatus
    version: str
    uptime_seconds: int
    checks: dict[str, bool] = Field(
        default_factory=lambda: {
            "http_responsive": True,
            "dependencies_available": True,
            "no_critical_errors": True,
            "disk_space_available": True,
        }
    )
    metrics: dict[str, Any] | None = None


# --- SPEC: job models -------------------------------------------------------------------------------------------


class JobType(StrEnum):
    VIDEO_DOWNLOAD = "video_download"
    PLAYLIST_DOWNLOAD = "playlist_download"
    METADATA_ONLY = "metadata_only"


class JobStatus(StrEnum):
    CREATED = "created"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRYING = "retrying"

    @property
    def ended(self) -> bool:
        return self in {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}


class JobOptions(BaseModel):
    """The options of a job. An unset `output_dir` means the base_path configured where the job runs, and is therefore
    omitted when the options are serialized."""

    output_dir: str = Field(default="~/YTArchive", max_length=4096)
    quality: str = Field(default="1080p", min_length=1, max_length=500)
    include_metadata: bool = True
    include_captions: bool = True
    caption_languages: list[Annotated[str, Field(max_length=64)]] = Field(
        default_factory=lambda: ["en"], max_length=100
    )
    skip_existing: bool = True
    api_key: str | None = Field(default=None, max_length=200, repr=False)

    @property
    def chosen_output_dir(self) -> str | None:
        return self.output_dir if "output_dir" in self.model_fields_set else None

    @model_serializer(mode="wrap")
    def _leave_out_unset(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        if self.chosen_output_dir is None:
            written.pop("output_dir", None)
        if self.api_key is None:
            written.pop("api_key", None)
        return written


class JobResult(BaseModel):
    video_id: str
    status: str  # "success", "failed", "skipped"
    message: str | None = None
    metadata_saved: bool = False
    video_downloaded: bool = False
    file_size: int | None = None
    duration_seconds: float | None = None
    error_code: ErrorCode | None = None


class Progress(BaseModel):
    current: int
    total: int
    percentage: float
    message: str
    speed_bps: float | None = Field(default=None, description="Bytes per second.")
    eta_seconds: int | None = None


# --- SPEC: work plan models ---------------------------------------------------------------------------------------


class UnavailableVideo(BaseModel):
    video_id: str
    title: str | None = None
    reason: str = Field(description="A GoneReason.")
    detected_at: AwareDatetime
    playlist_id: str | None = None
    last_available: AwareDatetime | None = None


class FailedDownload(BaseModel):
    video_id: str
    title: str
    attempts: int
    last_attempt: AwareDatetime
    errors: list[dict[str, Any]]
    file_size: int | None = None
    retry_after: AwareDatetime | None = None


# --- further models ----------------------------------------------------------------------------------------------


VideoId = Annotated[str, Field(pattern=VIDEO_ID_PATTERN)]
Index = Annotated[int, Field(ge=0, lt=2**31)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class TargetKind(StrEnum):
    VIDEOS = "videos"
    PLAYLIST = "playlist"
    CHANNEL = "channel"


class Target(_Frozen):
    """A parsed target. `id` is a playlist id, a channel id (UC…), or the path of a channel (`@name`, `c/name`,
    `user/name`); `video_ids` is set for VIDEOS only (up to 100)."""

    kind: TargetKind
    id: str = ""
    video_ids: tuple[VideoId, ...] = ()

    def __str__(self) -> str:
        return self.id or ", ".join(self.video_ids)


class Wanted(_Frozen):
    """What a job requests of one video. `quality` is `best`, `2160p` … `144p`, `audio` or a raw yt-dlp selector.
    `info`: yt-dlp's own record again, which otherwise comes with whatever files are fetched. `force`: what comes
    replaces what is held, even if it is worse."""

    media: bool = True
    quality: str = "1080p"
    thumbnail: bool = True
    captions: tuple[str, ...] = ()
    metadata: bool = True
    info: bool = False
    force: bool = False

    @classmethod
    def of(cls, type: JobType, options: JobOptions) -> Self:
        media = type is not JobType.METADATA_ONLY
        captions = tuple(dict.fromkeys(options.caption_languages)) if options.include_captions and media else ()
        return cls(
            media=media,
            quality=options.quality,
            thumbnail=media,
            captions=captions,
            metadata=options.include_metadata or not media,
            force=not options.skip_existing,
        )


class GoneReason(StrEnum):
    """Why a video is unavailable. The first four are those of SPEC. Work plans contain these values."""

    PRIVATE = "private"
    DELETED = "deleted"
    REGION_BLOCKED = "region_blocked"
    AGE_RESTRICTED = "age_restricted"
    TERMINATED = "terminated"
    COPYRIGHT = "copyright"
    MEMBERS_ONLY = "members_only"
    MISSING = "missing"


class FailureKind(StrEnum):
    """What a failure means for the queue (ARCHITECTURE.md: Failures)."""

    GONE = "gone"  # recorded in the work plan, not retried
    NOT_YET = "not_yet"  # retried at retry_after
    PASSING = "passing"  # retried after a back-off; counts as an attempt
    SITE_WIDE = "site_wide"  # the site blocks this machine: no attempt is counted, everything waits
    LOCAL = "local"  # a local cause (disk space, crashed child, bug); counts as an attempt


class Failure(_Frozen):
    """A classified failure. `reason` is a GoneReason for GONE, else a short word: `http_503`, `bot_check`."""

    kind: FailureKind
    code: ErrorCode
    reason: str
    message: str
    retry_after: AwareDatetime | None = None
    gained_bytes: bool = Field(
        default=False, description="A timeout with progress since the last attempt is not counted."
    )


class KnownGone(_Frozen):
    reason: str
    at: AwareDatetime


class FileRole(StrEnum):
    VIDEO = "video"
    AUDIO = "audio"
    THUMBNAIL = "thumbnail"
    CAPTION = "caption"
    INFO = "info"


class FileFact(_Frozen):
    """A file: `name` relative to the directory of the event, size in bytes, sha256 in hex."""

    name: str
    role: FileRole
    size: int
    sha256: str
    language: str | None = Field(default=None, description="Of captions.")


class Held(_Frozen):
    """What the archive holds of one video in one root.

    `qualities`: what was asked for when the media that are held were fetched (a 720p video fetched as `1080p` is all
    there is, and counts as 1080p). `absent`: what upstream did not have: `thumbnail`, `captions/de`. `info`: false
    where yt-dlp's own record was held and is lost.
    """

    video_id: VideoId
    qualities: tuple[str, ...] = ()
    thumbnail: bool = False
    captions: tuple[str, ...] = ()
    metadata: bool = False
    absent: tuple[str, ...] = ()
    info: bool = True
    bytes: int = 0
    known_gone: KnownGone | None = None


class Entry(_Frozen):
    """One entry of a listing. `marked` is a hint of the listing (`private`, `deleted`) without consequences."""

    video_id: VideoId
    title: str | None = None
    duration_seconds: float | None = None
    channel: str | None = None
    position: Index = Field(default=0, description="Position within the target, from 0.")
    marked: str | None = None
    described: bool = Field(default=False, description="Its metadata.fetched (Data API) follows the page.")


class VideoMetadata(BaseModel):
    """The metadata of a video. Times are UTC, `upload_date` is ISO (YYYY-MM-DD)."""

    video_id: str
    title: str
    description: str = ""
    channel: str | None = None
    channel_id: str | None = None
    channel_handle: str | None = None
    upload_date: str | None = None
    duration_seconds: float | None = None
    view_count: int | None = None
    like_count: int | None = None
    comment_count: int | None = None
    tags: list[str] = Field(default_factory=list)
    categories: list[str] = Field(default_factory=list)
    chapters: list[dict[str, Any]] = Field(default_factory=list)
    thumbnails: list[dict[str, Any]] = Field(default_factory=list)
    caption_languages: list[str] = Field(default_factory=list)
    language: str | None = None
    license: str | None = None
    age_limit: int | None = None
    availability: str | None = None
    live_status: str | None = None
    webpage_url: str | None = None


class PlaylistMetadata(BaseModel):
    """The metadata of a playlist or of a channel's uploads."""

    playlist_id: str
    title: str | None = None
    description: str | None = None
    channel: str | None = None
    channel_id: str | None = None
    channel_handle: str | None = None
    entry_count: int | None = Field(default=None, description="As announced; may omit unavailable videos.")
    webpage_url: str | None = None
    availability: str | None = None
    modified_date: str | None = None


class Provenance(BaseModel):
    """The origin of the files: tools, versions, formats and times."""

    source_url: str
    extractor: str = "youtube"
    format_ids: list[str] = Field(default_factory=list)
    tools: Mapping[str, str] = Field(default_factory=dict, description="Versions by name.")
    started_at: AwareDatetime
    finished_at: AwareDatetime
    trace_id: str = ""
    height: int | None = None
    duration_seconds: float | None = None


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
    revision: int = 0


class JobCounts(BaseModel):
    total: int = 0
    open: int = 0
    archived: int = 0
    skipped: int = 0
    unavailable: int = 0
    failed: int = 0
    cancelled: int = 0


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
    retry_at: AwareDatetime | None = Field(
        default=None, description="The earliest scheduled retry, in status retrying."
    )
    work_plan: str | None = None
    created_at: AwareDatetime
    updated_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    revision: int = 0


class ServiceInfo(BaseModel):
    """An entry of the service registry."""

    name: str
    instance: str
    url: str
    version: str
    slots: int = Field(default=0, description="Simultaneous downloads; 0 for other services.")
    free_slots: int = 0
    egress: str | None = None
    host: str = Field(default_factory=platform.node)
    pid: int
    started_at: AwareDatetime


class ClaimVerdict(StrEnum):
    GO = "go"
    STALE = "stale"  # cancelled, superseded or done: drop the message
    WAIT = "wait"  # the source is blocked until `until`
    PROBE = "probe"  # as GO; the request tests whether a blocked source answers again


class ClaimAnswer(_Frozen):
    verdict: ClaimVerdict
    until: AwareDatetime | None = None


class CredentialsTaken(_Frozen):
    """The answer of metadata to credentials.offered."""

    accepted: bool


class PartialsOwned(_Frozen):
    """The answer of jobs to download.partials_left: the videos that open items need. The other partials may be
    removed."""

    video_ids: tuple[VideoId, ...]
