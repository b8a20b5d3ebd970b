"""What an error answer of the Data API means. Pure.

Two forms are in use, often in one answer: `error.errors[].reason` (keyInvalid) and, newer, `error.details[].reason`
(API_KEY_INVALID beside the reason badRequest); developers.google.com/youtube/v3/docs/errors,
docs.cloud.google.com/apis/design/errors.
"""

import json
import re
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from services.common.settings.masking import MASK, mask_text
from services.common.settings.retry_policy import ANSWERED, CallOutcome

LONGEST = 500  # characters of a message


class RefusalKind(StrEnum):
    KEY = "key"  # the key is invalid
    QUOTA = "quota"  # until midnight Pacific time
    PAGE_TOKEN = "page_token"  # noqa: S105 - no password: the place in a listing is not known any more
    UNABLE = "unable"  # the object does not exist or is not visible to the API
    PASSING = "passing"  # temporary


class ApiRefused(Exception):
    """The Data API rejected a request. `message` never contains the key.

    `status` None: no answer, or no request. `retry_after`: the seconds that the API requested to wait.
    """

    def __init__(
        self, kind: RefusalKind, reason: str, message: str, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.reason = reason
        self.message = message
        self.status = status
        self.retry_after = retry_after

    def outcome(self) -> CallOutcome | None:
        """Return what the error means for the host; None for a quota that was used up before the request."""
        if self.kind is RefusalKind.PASSING:
            return CallOutcome(self.status, self.retry_after)
        return ANSWERED if self.status is not None else None


_KEY = frozenset({
    "keyInvalid", "keyExpired", "accessNotConfigured", "ipRefererBlocked",
    "API_KEY_INVALID", "API_KEY_EXPIRED", "SERVICE_DISABLED", "CONSUMER_INVALID", "CONSUMER_SUSPENDED",
    "API_KEY_SERVICE_BLOCKED", "API_KEY_IP_ADDRESS_BLOCKED", "API_KEY_HTTP_REFERRER_BLOCKED",
    "API_KEY_ANDROID_APP_BLOCKED", "API_KEY_IOS_APP_BLOCKED",
})  # fmt: skip
_KEY_WORDS = re.compile(r"\bAPI key (not valid|not found|expired)|pass a valid API key", re.IGNORECASE)
_QUOTA = frozenset({"quotaExceeded", "dailyLimitExceeded", "dailyLimitExceededUnreg"})
_RATE = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED", "backendError"})
_PER_DAY = re.compile(r"per ?day", re.IGNORECASE)
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


def classify_response(status: int, content: bytes, secret: str, asked_to_wait: float | None = None) -> ApiRefused:
    """Classify an error response. `secret` is the key that was used; it is masked in the message."""
    error = _error(content)
    reasons = list(_reasons(error))
    kind = _kind(status, reasons, json.dumps(error))
    reason = next((word for word in reasons if word not in {"badRequest", "forbidden"}), f"http_{status}")
    message = str(error.get("message") or f"HTTP {status}").replace(secret, MASK)
    return ApiRefused(kind, reason, mask_text(re.sub(r"<[^>]*>", "", message))[:LONGEST], status, asked_to_wait)


def _kind(status: int, reasons: list[str], text: str) -> RefusalKind:
    if not _KEY.isdisjoint(reasons) or (status == HTTPStatus.BAD_REQUEST and _KEY_WORDS.search(text)):
        return RefusalKind.KEY
    limited = not _RATE.isdisjoint(reasons) or status == HTTPStatus.TOO_MANY_REQUESTS
    if not _QUOTA.isdisjoint(reasons) or (limited and _PER_DAY.search(text)):
        return RefusalKind.QUOTA
    if limited or status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return RefusalKind.PASSING
    return RefusalKind.PAGE_TOKEN if "invalidPageToken" in reasons else RefusalKind.UNABLE


def _error(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except ValueError:
        return {}
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _reasons(error: dict[str, Any]) -> list[str]:
    """Yield reasons, the specific ones of `details` first: `errors` may contain only badRequest."""
    listed = [*(error.get("details") or ()), *(error.get("errors") or ())]
    return [str(one["reason"]) for one in listed if isinstance(one, dict) and one.get("reason")]
