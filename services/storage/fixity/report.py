"""The models of verification over REST, and its progress."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.common.events import VideoId
from services.common.models import Progress
from services.common.web.paging import Page
from services.storage.fixity.repository import ReadSpeed, Verification
from services.storage.fixity.rules import FixityFinding


class VerifyBody(BaseModel):
    """What to verify. `root` unset: all roots; `video_ids` unset: every video. `repair` false: report only."""

    model_config = ConfigDict(extra="forbid")

    root: str | None = Field(default=None, max_length=4096)
    video_ids: Annotated[list[VideoId], Field(min_length=1, max_length=1000)] | None = None
    repair: bool = True


class VerifyBegun(BaseModel):
    """The verification that was started. `GET /api/v1/storage/verify` reports its progress."""

    verification_id: str
    trace_id: str
    roots: list[str]
    videos: int
    bytes: int


class VerificationState(Verification):
    """A verification and its progress. `bytes` counts finished videos; `progress` includes the one being read
    (`video_id`). `jobs` download damaged files again."""

    progress: Progress
    video_id: str | None = None
    jobs: list[str] = Field(default_factory=list)


class VerificationPage(Page):
    """The running verification, else the last one, else null; and a page of its findings."""

    verification: VerificationState | None
    findings: list[FixityFinding]


def progress_of(known: Verification, speed: ReadSpeed | None = None) -> Progress:
    """Return the progress in bytes. Without `speed`: of finished videos."""
    read = speed.bytes_read if speed else known.bytes
    total = max(known.bytes_total, read)
    share = read / total if total else float(known.ended_at is not None)
    return Progress(
        current=read,
        total=total,
        percentage=round(100 * share, 1),
        message=f"{known.videos} of {known.videos_total} videos",
        speed_bps=speed.speed_bps if speed else None,
        eta_seconds=speed.eta_seconds if speed else None,
    )
