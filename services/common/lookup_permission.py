"""A person's look-up at YouTube: whether it may go out, and what one that failed answers.

A person does not go round a block (DESIGN §5): jobs, which keeps them, is asked before.
"""

from datetime import UTC, datetime
from typing import Any

from bus import Bus, NoAnswer
from services.common.errors import (
    InvalidCredentials,
    NetworkTimeout,
    QuotaExceeded,
    ServiceUnavailable,
    StorageFull,
    VideoUnavailable,
    YTArchiveError,
)
from services.common.events import DownloadClaim
from services.common.models import ClaimAnswer, ClaimVerdict, ErrorCode, Failure
from services.common.settings.retry_policy import SPEC

TIMEOUT = SPEC.connect

_ERRORS: dict[ErrorCode, type[YTArchiveError]] = {
    error.code: error
    for error in (
        InvalidCredentials,
        NetworkTimeout,
        QuotaExceeded,
        ServiceUnavailable,
        StorageFull,
        VideoUnavailable,
    )
}


async def may_look_up(bus: Bus, instance: str, egress: str, trace_id: str) -> bool:
    """Whether a look-up may go out by `egress`; True when it is the probe of a way that was blocked.

    Raises ServiceUnavailable, which says until when it is blocked; also when jobs does not say.
    """
    claim = DownloadClaim(instance=instance, egress=egress)
    try:
        answer = await bus.request(claim, ClaimAnswer, trace_id=trace_id, timeout=TIMEOUT)
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


def refusal(failure: Failure, subject: str, now: datetime) -> YTArchiveError:
    """`subject` is what was looked up. What nobody has a word for is the source's trouble (E006), not ours (E999).

    The details hold `kind` and `reason`; where a time is known, `until` and `retry_after` in whole seconds from `now`.
    """
    details: dict[str, Any] = {"kind": failure.kind.value, "reason": str(failure.reason)}
    if failure.retry_after is not None:
        details["until"] = failure.retry_after.isoformat()
        details["retry_after"] = max(1, round((failure.retry_after - now).total_seconds()))
    return _ERRORS.get(failure.code, ServiceUnavailable)(f"{subject}: {failure.message}", **details)


def too_slow(subject: str) -> NetworkTimeout:
    return NetworkTimeout(f"{subject}: there was no answer in time. Try again.", reason="timeout")
