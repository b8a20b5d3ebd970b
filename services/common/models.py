"""The data models of SPEC ("Common Data Models"). Further models that several services share are in
services/common/domain."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from services.common.rules import Rules

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
    omitted when the options are serialized. `rules`: which of the videos are wanted; the others are left out."""

    output_dir: str = Field(default="~/YTArchive", max_length=4096)
    quality: str = Field(default="1080p", min_length=1, max_length=500)
    include_metadata: bool = True
    include_captions: bool = True
    caption_languages: list[Annotated[str, Field(max_length=64)]] = Field(
        default_factory=lambda: ["en"], max_length=100
    )
    skip_existing: bool = True
    api_key: str | None = Field(default=None, max_length=200, repr=False)
    rules: Rules = Rules()

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
        if not self.rules:
            written.pop("rules", None)
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
