"""Names that services and the command line share. It imports nothing heavy: the command line loads it at start-up."""

from enum import StrEnum
from typing import Literal, get_args

ServiceName = Literal["jobs", "metadata", "download", "storage", "logging"]
SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)  # in the order in which they start


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


JOB_FILTERS = ("open", *JobStatus)  # open: all that have not ended

VideoSort = Literal[
    "title", "-title", "archived_at", "-archived_at", "upload_date", "-upload_date", "duration", "-duration",
    "bytes", "-bytes",
]  # fmt: skip
VideoStatus = Literal["complete", "incomplete", "gone"]  # of an archived video; gone: from YouTube
SearchField = Literal["title", "channel", "description", "captions"]
