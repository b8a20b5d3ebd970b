"""A metadata source together with the permission to query it.

A lookup by a person does not bypass a block: the permission is requested from jobs before the query, and jobs is
notified of the outcome afterwards (ARCHITECTURE.md: Claims).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from bus import Bus
from services.common.domain.failures import FailureKind
from services.common.events import SourceBlocked, SourceCleared
from services.metadata.claims import Claims
from services.metadata.lister import BLOCKED_FOR
from services.metadata.sources import Source, SourceFailed

SourceType = TypeVar("SourceType", bound=Source, covariant=True)


@dataclass(frozen=True)
class PermittedSource(Generic[SourceType]):
    """`resumable`: fetching the next page of a list costs no more than the first."""

    source: SourceType
    claims: Claims
    bus: Bus
    resumable: bool

    @asynccontextmanager
    async def permission(self, trace_id: str) -> AsyncIterator[None]:
        """Query the source inside this block. Raise ServiceUnavailable when it must not be queried now."""
        probing = await self.claims.may_look_up(trace_id)
        try:
            yield
        except SourceFailed as error:
            failure = error.failure
            if failure.kind is FailureKind.SITE_WIDE:
                until = failure.retry_after or datetime.now(UTC) + BLOCKED_FOR
                error.failure = failure.model_copy(update={"retry_after": until})
                blocked = SourceBlocked(egress=self.claims.egress, reason=failure.reason, until=until)
                await self.bus.publish(blocked, trace_id=trace_id)
            elif probing and failure.kind in {FailureKind.GONE, FailureKind.NOT_YET}:
                await self._cleared(trace_id)
            raise
        if probing:
            await self._cleared(trace_id)

    async def _cleared(self, trace_id: str) -> None:
        await self.bus.publish(SourceCleared(egress=self.claims.egress), trace_id=trace_id)
