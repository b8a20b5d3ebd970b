"""A way to look something up: a source, and the leave to ask it that a listing needs too (DESIGN §5).

A person does not go round a block: jobs is asked before, and hears afterwards what the site said to it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from bus import Bus
from services.common.events import SourceBlocked, SourceCleared
from services.common.models import FailureKind
from services.metadata.claims import Claims
from services.metadata.lister import BLOCKED_FOR
from services.metadata.sources import Source, SourceFailed

SourceType = TypeVar("SourceType", bound=Source, covariant=True)


@dataclass(frozen=True)
class Leave(Generic[SourceType]):
    """`reads_on`: going on with a list costs this source as much as beginning it anew."""

    source: SourceType
    claims: Claims
    bus: Bus
    reads_on: bool

    @asynccontextmanager
    async def asking(self, trace_id: str) -> AsyncIterator[None]:
        """Around what is asked of the source. Raises ServiceUnavailable when it must not be asked now."""
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
