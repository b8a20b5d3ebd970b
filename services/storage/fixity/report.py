"""Requests and answers of verification over REST."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.common.errors import InvalidRequest
from services.common.events import VideoId
from services.common.models import Progress
from services.common.web.paging import Page, PageQuery
from services.storage.fixity.repository import ReadSpeed, Verification, VerificationRepository
from services.storage.fixity.rules import FixityFinding
from services.storage.fixity.verifier import Verifier


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


class VerificationReports:
    def __init__(self, verifier: Verifier, repository: VerificationRepository) -> None:
        self._verifier = verifier
        self._repository = repository

    async def begin(self, body: VerifyBody, trace_id: str) -> VerifyBegun:
        """Raises InvalidRequest while a verification runs, and for unknown roots and videos."""
        begun = await self._verifier.begin(body.root, body.video_ids, repair=body.repair, trace_id=trace_id)
        return VerifyBegun(
            verification_id=begun.verification_id,
            trace_id=begun.trace_id,
            roots=begun.roots,
            videos=begun.videos_total,
            bytes=begun.bytes_total,
        )

    async def page(self, query: PageQuery) -> VerificationPage:
        last = await self._repository.last(open_only=True, asked=True) or await self._repository.last()
        if last is None:
            return VerificationPage(verification=None, findings=[], total=0, limit=query.limit, offset=query.offset)
        findings, total = await self._repository.findings(last.verification_id, query.limit, query.offset)
        return VerificationPage(
            verification=await self._state(last),
            findings=findings,
            total=total,
            limit=query.limit,
            offset=query.offset,
        )

    async def stop(self) -> VerificationState:
        """Raises InvalidRequest when no verification runs."""
        stopped = await self._verifier.stop()
        if stopped is None:
            raise InvalidRequest("No verification runs.")
        return await self._state(stopped)

    async def _state(self, known: Verification) -> VerificationState:
        speed = self._verifier.speed(known.verification_id)
        return VerificationState(
            **known.model_dump(),
            progress=progress_of(known, speed),
            video_id=speed.video_id if speed else None,
            jobs=await self._repository.jobs(known.verification_id),
        )
