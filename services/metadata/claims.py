"""The question that comes before every page: may I go on? Jobs answers."""

import asyncio
import contextlib
from datetime import UTC, datetime

import structlog

from bus import Bus, NoAnswer, handling
from services.common.errors import ServiceUnavailable
from services.common.events import DownloadClaim, JobQueued
from services.common.models import ClaimAnswer, ClaimVerdict

TIMEOUT = 5.0  # seconds; SPEC: TIMEOUTS connect
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
        """Whether a person's look-up may go out; True when it is the probe of a way that was blocked.

        Raises ServiceUnavailable, which says until when it is blocked; also when jobs does not say.
        """
        claim = DownloadClaim(instance=self._instance, egress=self.egress)
        try:
            answer = await self._bus.request(claim, ClaimAnswer, trace_id=trace_id, timeout=TIMEOUT)
        except NoAnswer as error:
            raise ServiceUnavailable(
                "The jobs service, which knows whether YouTube may be asked now, does not answer. Try again.",
                retry_after=round(TIMEOUT),
                reason="no_answer",
            ) from error
        if answer.verdict in {ClaimVerdict.GO, ClaimVerdict.PROBE}:
            return answer.verdict is ClaimVerdict.PROBE
        raise _refused_for_now(answer.until)


def _refused_for_now(until: datetime | None) -> ServiceUnavailable:
    """`retry_after` in the details is whole seconds, as in the HTTP header."""
    if until is None:
        return ServiceUnavailable("YouTube refuses this machine for now. Try again later.", reason="blocked")
    seconds = max(1, round((until - datetime.now(UTC)).total_seconds()))
    message = f"YouTube refuses this machine until {until:%Y-%m-%d %H:%M} UTC. Try again then."
    return ServiceUnavailable(message, retry_after=seconds, until=until.isoformat(), reason="blocked")
