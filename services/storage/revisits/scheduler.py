"""Creates jobs that look at archived videos again, in rounds, while the service runs."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

import structlog

from bus import Bus
from services.common.errors import InvalidRequest, ServiceUnavailable
from services.common.events import JobCreated
from services.storage.index.queries import CatalogueQueries
from services.storage.index.roots import ArchiveRoots
from services.storage.revisits import policy

_log = structlog.get_logger()
_LOST_AFTER = timedelta(days=1)  # a look without a result is requested again


class RevisitScheduler:
    """`after`: [revisit] after. Empty, or zero (at every run of a command), it disables rounds."""

    def __init__(self, queries: CatalogueQueries, roots: ArchiveRoots, after: Sequence[timedelta], bus: Bus) -> None:
        self._queries = queries
        self._roots = roots
        self._after = after
        self._bus = bus
        self._requested: dict[tuple[str, str, str], datetime] = {}  # by key of the look

    async def run(self) -> None:
        """Background task: create what is due, round by round."""
        while any(self._after):
            await self.round()
            await asyncio.sleep(policy.round_interval(self._after).total_seconds())

    async def round(self) -> list[JobCreated]:
        """Create the jobs of the looks that are due now. Return them."""
        now = datetime.now(UTC)
        self._requested = {key: at for key, at in self._requested.items() if now - at < _LOST_AFTER}
        due = policy.due_looks(await self._queries.may_get_better(), self._after, now)
        running = sum(look.key in self._requested for look in due)
        usable = [look for look in due if look.key not in self._requested and await self._is_usable(look.root)]
        looks = usable[: max(0, policy.LARGEST_ROUND - running)]
        created = policy.jobs_for(looks)
        self._requested |= dict.fromkeys((look.key for look in looks), now)
        for event in created:
            _log.info("revisit_asked", job_id=event.job_id, videos=len(event.targets))
            await self._bus.publish(event, trace_id=str(uuid5(NAMESPACE_URL, event.job_id)), patience=None)
        return created

    async def _is_usable(self, root: str) -> bool:
        """Return whether the root is configured and its disk is there: jobs would reject any other."""
        with suppress(InvalidRequest, ServiceUnavailable):
            await self._roots.expect_mounted(self._roots.tree(root))
            return True
        return False
