"""Timeouts, retry and circuit breaker limits for calls to other hosts (SPEC: TIMEOUTS, RETRY_CONFIG, Circuit Breaker).
Pure."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any


@dataclass(frozen=True)
class CallOutcome:
    """The outcome of a failed call as retry and breaker see it: an HTTP status, None without an answer.

    `retry_after`: seconds to wait, as the host requested. `final`: a repetition would fail in the same way.
    """

    status: int | None = None
    retry_after: float | None = None
    final: bool = False


ANSWERED = CallOutcome(HTTPStatus.OK, final=True)
"""The host works: the failure is ours, or is about the requested object."""


@dataclass(frozen=True)
class RetryPolicy:
    """All times are seconds.

    `jitter`: the most that is added to a back-off, so that clients that failed together do not retry together.
    `failures` in a row open the breaker for `open_for`; then `probes` requests test whether the host answers again.
    """

    connect: float = 5.0
    read: float = 30.0
    write: float = 30.0
    pool: float = 30.0
    max_attempts: int = 3
    backoff_factor: float = 2.0
    max_backoff: float = 30.0
    jitter: float = 1.0
    retry_on: frozenset[int] = frozenset({502, 503, 504, 429})
    failures: int = 5
    open_for: float = 60.0
    probes: int = 1

    def backoff(self, attempt: int) -> float:
        """Return the wait after an attempt, counted from 1: 2, 4, 8, at most 30 seconds, without jitter."""
        return min(self.backoff_factor ** max(attempt, 1), self.max_backoff)

    def is_retryable(self, outcome: CallOutcome) -> bool:
        """Return whether another attempt makes sense: not when the host requests a wait longer than `max_backoff`."""
        if outcome.final or (outcome.retry_after or 0.0) > self.max_backoff:
            return False
        return outcome.status is None or outcome.status in self.retry_on

    def counts(self, outcome: CallOutcome) -> bool:
        """Return whether the breaker counts the failure: no answer, 5xx, 429. A host that answers 4xx works."""
        return outcome.status is None or outcome.status == HTTPStatus.TOO_MANY_REQUESTS or outcome.status >= 500


SPEC = RetryPolicy()
BREAKER_OPEN = "breaker_open"
"""The reason of a failure without a request."""


@dataclass(frozen=True)
class BreakerState:
    """`failures` in a row; `until` is the time of the next attempt while open; `retries` since the start."""

    state: str  # closed, half_open, open
    failures: int = 0
    until: datetime | None = None
    retries: int = 0

    @property
    def number(self) -> int:
        """For Prometheus: 0 closed, 1 half-open, 2 open."""
        return ("closed", "half_open", "open").index(self.state)

    def as_json(self) -> dict[str, Any]:
        """Return the fields as shown by health."""
        until = self.until.isoformat() if self.until else None
        return {"state": self.state, "failures": self.failures, "until": until, "retries": self.retries}


def retry_after(header: str | None, now: datetime) -> float | None:
    """Return the seconds of a Retry-After header in either form; None when it is missing or invalid."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            when = parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - now).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
