"""The question that comes before every page: may I go on? Jobs answers."""

import asyncio
import contextlib

import structlog

from bus import Bus, NoAnswer, handling
from services.common.events import DownloadClaim, JobQueued
from services.common.lookup_permission import TIMEOUT, may_look_up
from services.common.models import ClaimAnswer

ASK_AGAIN = 1.0  # seconds

log = structlog.get_logger("services.metadata")


class Closing(Exception):  # not an error: the service shuts down
    """Stop where you are."""


class Claims:
    """Asks for one instance and its egress. While jobs is away it keeps asking: a listing in hand is not lost, and
    must not go on without leave either."""

    def __init__(self, bus: Bus, instance: str, egress: str, closing: asyncio.Event) -> None:
        self._bus = bus
        self._instance = instance
        self.egress = egress
        self._closing = closing

    async def ask(self, queued: JobQueued) -> ClaimAnswer:
        """The answer to this listing. Raises Closing. Only inside a handler, whose trace it carries on."""
        claim = DownloadClaim(instance=self._instance, egress=self.egress, job_id=queued.job_id, listing=queued.listing)
        while not self._closing.is_set():
            try:
                return await self._bus.request(claim, ClaimAnswer, trace_id=handling().trace_id, timeout=TIMEOUT)
            except NoAnswer as error:
                log.warning("claim_unanswered", job_id=queued.job_id, listing=queued.listing, error_message=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), ASK_AGAIN)
        raise Closing

    async def may_look_up(self, trace_id: str) -> bool:
        """Whether a person's look-up may go out by this way, as lookup.may_look_up."""
        return await may_look_up(self._bus, self._instance, self.egress, trace_id)
