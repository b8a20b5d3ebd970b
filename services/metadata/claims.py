"""Request permission from jobs before each page of a listing."""

import asyncio
import contextlib

import structlog

from bus import Bus, NoAnswer, handling
from services.common.domain.replies import ClaimAnswer
from services.common.events import DownloadClaim, JobQueued
from services.common.lookup_permission import TIMEOUT, may_look_up

RETRY_AFTER = 1.0  # seconds

log = structlog.get_logger("services.metadata")


class ServiceClosing(Exception):  # not an error
    """The service is shutting down: stop the listing."""


class Claims:
    """Claims of one instance and its egress. While jobs is unavailable the request is repeated: a running listing is
    kept, but must not continue without permission."""

    def __init__(self, bus: Bus, instance: str, egress: str, closing: asyncio.Event) -> None:
        self._bus = bus
        self._instance = instance
        self.egress = egress
        self._closing = closing

    async def ask(self, queued: JobQueued) -> ClaimAnswer:
        """Return the answer for this listing. Raise ServiceClosing. Call it in a handler, whose trace id is used."""
        claim = DownloadClaim(instance=self._instance, egress=self.egress, job_id=queued.job_id, listing=queued.listing)
        while not self._closing.is_set():
            try:
                return await self._bus.request(claim, ClaimAnswer, trace_id=handling().trace_id, timeout=TIMEOUT)
            except NoAnswer as error:
                log.warning("claim_unanswered", job_id=queued.job_id, listing=queued.listing, error_message=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), RETRY_AFTER)
        raise ServiceClosing

    async def may_look_up(self, trace_id: str) -> bool:
        """Request permission for a lookup by a person, as lookup_permission.may_look_up."""
        return await may_look_up(self._bus, self._instance, self.egress, trace_id)
