"""Requests of users to the verifier: start, progress and findings, stop."""

from services.common.errors import InvalidRequest
from services.common.web.paging import PageQuery
from services.storage.fixity.report import (
    VerificationPage,
    VerificationState,
    VerifyBegun,
    VerifyBody,
    progress_of,
)
from services.storage.fixity.repository import Verification, VerificationRepository
from services.storage.fixity.verifier import Verifier


class VerificationRequests:
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
