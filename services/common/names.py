"""Names that services and the command line share. It imports nothing heavy: the command line loads it at start-up."""

from typing import Literal, get_args

ServiceName = Literal["jobs", "metadata", "download", "storage", "logging"]
SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)  # in the order in which they start


# a status of a job (services.common.models.JobStatus), or all that have not ended
JobFilter = Literal["open", "created", "queued", "running", "completed", "failed", "cancelled", "retrying"]
JOB_FILTERS: tuple[JobFilter, ...] = get_args(JobFilter)

VideoSort = Literal[
    "title", "-title", "archived_at", "-archived_at", "upload_date", "-upload_date", "duration", "-duration",
    "bytes", "-bytes",
]  # fmt: skip
VideoStatus = Literal["complete", "incomplete", "gone"]  # of an archived video; gone: from YouTube
SearchField = Literal["title", "channel", "description", "captions"]

TokenScope = Literal["read", "request", "operate"]  # of an access token; each includes those before it
TOKEN_SCOPES: tuple[TokenScope, ...] = get_args(TokenScope)
