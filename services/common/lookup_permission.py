"""Permission for lookups by people, and the errors of failed ones.

A lookup must not bypass a block of the site: jobs, which stores the blocks, is asked for permission first.
"""

from datetime import UTC, datetime
from typing import Any

from bus import Bus, NoAnswer
from services.common.domain.failures import Failure
from services.common.domain.replies import ClaimAnswer, ClaimVerdict
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
from services.common.models import ErrorCode
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
    """Request permission for a lookup by `egress`. Return True when the lookup is the probe of a blocked egress.

    Raise ServiceUnavailable while the egress is blocked, with the time, and when jobs does not answer.
    """
    claim = DownloadClaim(instance=instance, egress=egress)
    try:
        answer = await bus.request(claim, ClaimAnswer, trace_id=trace_id, timeout=TIMEOUT)
    except NoAnswer as error:
        raise ServiceUnavailable(
            "The jobs service, which permits requests to YouTube, does not answer. Try again.",
            retry_after=round(TIMEOUT),
            reason="no_answer",
        ) from error
    if answer.verdict in {ClaimVerdict.GO, ClaimVerdict.PROBE}:
        return answer.verdict is ClaimVerdict.PROBE
    raise _refused_for_now(answer.until)


def _refused_for_now(until: datetime | None) -> ServiceUnavailable:
    """Return the error; `retry_after` in its details is in whole seconds."""
    if until is None:
        return ServiceUnavailable("YouTube blocks this machine for now. Try again later.", reason="blocked")
    seconds = max(1, round((until - datetime.now(UTC)).total_seconds()))
    message = f"YouTube blocks this machine until {until:%Y-%m-%d %H:%M} UTC. Try again then."
    return ServiceUnavailable(message, retry_after=seconds, until=until.isoformat(), reason="blocked")


def refusal(failure: Failure, subject: str, now: datetime) -> YTArchiveError:
    """Return the error of a failed lookup of `subject`. An unknown failure counts as one of the source (E006), not
    ours.

    The details contain `kind` and `reason`; if a time is known, `until` and `retry_after` in whole seconds from `now`.
    """
    details: dict[str, Any] = {"kind": failure.kind.value, "reason": str(failure.reason)}
    if failure.retry_after is not None:
        details["until"] = failure.retry_after.isoformat()
        details["retry_after"] = max(1, round((failure.retry_after - now).total_seconds()))
    return _ERRORS.get(failure.code, ServiceUnavailable)(f"{subject}: {failure.message}", **details)


def too_slow(subject: str) -> NetworkTimeout:
    return NetworkTimeout(f"{subject}: no answer in time. Try again.", reason="timeout")
