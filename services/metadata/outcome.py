"""What a look-up that failed answers: from the failure of a source to one of our errors. Pure."""

from datetime import datetime
from typing import Any

from services.common.errors import (
    InvalidCredentials,
    NetworkTimeout,
    QuotaExceeded,
    ServiceUnavailable,
    StorageFull,
    VideoUnavailable,
    YTArchiveError,
)
from services.common.models import ErrorCode, Failure

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


def refusal(failure: Failure, subject: str, now: datetime) -> YTArchiveError:
    """`subject` is what was looked up. What nobody has a word for is the source's trouble (E006), not ours (E999).

    The details hold `kind` and `reason`; where a time is known, `until` and `retry_after` in whole seconds from `now`.
    """
    details: dict[str, Any] = {"kind": failure.kind.value, "reason": str(failure.reason)}
    if failure.retry_after is not None:
        details["until"] = failure.retry_after.isoformat()
        details["retry_after"] = max(1, round((failure.retry_after - now).total_seconds()))
    return _ERRORS.get(failure.code, ServiceUnavailable)(f"{subject}: {failure.message}", **details)
