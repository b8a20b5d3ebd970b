"""REST of verification: begin one, look at it, stop it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.common.errors import InvalidRequest
from services.common.events import VideoId
from services.common.models import Progress
from services.common.web.paging import Page, PageQuery
from services.common.web.routing import Call, Route
from services.storage.fixity.repository import Speed, Verification
from services.storage.fixity.rules import Finding

if TYPE_CHECKING:
    from services.storage.service import StorageService


class VerifyBody(BaseModel):
    """`root` unset: all of them; `video_ids` unset: every video. `repair` false: only look."""

    model_config = ConfigDict(extra="forbid")

    root: str | None = Field(default=None, max_length=4096)
    video_ids: Annotated[list[VideoId], Field(min_length=1, max_length=1000)] | None = None
    repair: bool = True


class VerifyBegun(BaseModel):
    """`GET /api/v1/storage/verify` follows it."""

    verification_id: str
    trace_id: str
    roots: list[str]
    videos: int
    bytes: int


class VerificationState(Verification):
    """`bytes` are those of whole videos, `progress` counts those of `video_id`, which is being read, too. `jobs` fetch
    what was damaged again."""

    progress: Progress
    video_id: str | None = None
    jobs: list[str] = Field(default_factory=list)


class VerificationPage(Page):
    """The running verification, or the last one; null if there never was one. The page is one of its findings."""

    verification: VerificationState | None
    findings: list[Finding]


def progress_of(known: Verification, speed: Speed | None = None) -> Progress:
    """In bytes. Without a speed: as the ledger knows it."""
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


class VerifyApi:
    """The handlers of the routes below."""

    def __init__(self, storage: "StorageService") -> None:
        self._storage = storage

    async def begin(self, call: Call, body: VerifyBody) -> VerifyBegun:
        begun = await self._storage.verifier.begin(
            body.root, body.video_ids, repair=body.repair, trace_id=call.trace_id
        )
        return VerifyBegun(
            verification_id=begun.verification_id,
            trace_id=begun.trace_id,
            roots=begun.roots,
            videos=begun.videos_total,
            bytes=begun.bytes_total,
        )

    async def state(self, _call: Call, query: PageQuery) -> VerificationPage:
        ledger = self._storage.catalogue.verifications
        last = await ledger.last(open_only=True, asked=True) or await ledger.last()
        if last is None:
            return VerificationPage(verification=None, findings=[], total=0, limit=query.limit, offset=query.offset)
        findings, total = await ledger.findings(last.verification_id, query.limit, query.offset)
        return VerificationPage(
            verification=await self._state_of(last),
            findings=findings,
            total=total,
            limit=query.limit,
            offset=query.offset,
        )

    async def stop(self, _call: Call) -> VerificationState:
        stopped = await self._storage.verifier.stop()
        if stopped is None:
            raise InvalidRequest("No verification runs.")
        return await self._state_of(stopped)

    async def _state_of(self, known: Verification) -> VerificationState:
        speed = self._storage.verifier.speed(known.verification_id)
        return VerificationState(
            **known.model_dump(),
            progress=progress_of(known, speed),
            video_id=speed.video_id if speed else None,
            jobs=await self._storage.catalogue.verifications.jobs(known.verification_id),
        )


def routes(storage: "StorageService") -> Sequence[Route]:
    api = VerifyApi(storage)
    path = "/api/v1/storage/verify"
    return [
        Route(
            "POST", path, api.begin, "Read the archive's files again and compare them with their records",
            body=VerifyBody, response=VerifyBegun, status=201,
        ),
        Route(
            "GET", path, api.state, "The running verification, or the last one, and what it found",
            query=PageQuery, response=VerificationPage,
        ),
        Route("DELETE", path, api.stop, "Stop the running verification", response=VerificationState),
    ]  # fmt: skip
