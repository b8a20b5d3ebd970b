"""How patient we are with what lies outside: SPEC's numbers, once (TIMEOUTS, RETRY_CONFIG, Circuit Breaker). Pure."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any


@dataclass(frozen=True)
class Word:
    """What a call that failed tells of its host: an HTTP status, None where there was no answer at all.

    `retry_after`: the seconds that it asked to wait. `final`: it would be the same again.
    """

    status: int | None = None
    retry_after: float | None = None
    final: bool = False


ANSWERED = Word(HTTPStatus.OK, final=True)
"""The host is well: what failed is ours, or is about what was asked for."""


@dataclass(frozen=True)
class Policy:
    """All times are seconds.

    `jitter`: up to so much is added to a back-off, so that those who failed together do not come back together.
    `failures` in a row open the breaker for `open_for`; then `probes` requests look whether the host is back.
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
        """2, 4, 8 … at most 30 seconds after the first, second, third attempt; without jitter."""
        return min(self.backoff_factor ** max(attempt, 1), self.max_backoff)

    def asks_again(self, word: Word) -> bool:
        """Whether another attempt makes sense. A host that asks to wait for longer than we do is not asked again."""
        if word.final or (word.retry_after or 0.0) > self.max_backoff:
            return False
        return word.status is None or word.status in self.retry_on

    def counts(self, word: Word) -> bool:
        """Whether the breaker counts it: no answer, 5xx, 429. A host that says 4xx is well."""
        return word.status is None or word.status == HTTPStatus.TOO_MANY_REQUESTS or word.status >= 500


SPEC = Policy()
BREAKER_OPEN = "breaker_open"
"""The reason of a failure: it was not even asked for."""


@dataclass(frozen=True)
class BreakerState:
    """`failures` in a row; `until` it lets nobody through; `retries` since the start."""

    state: str  # closed, half_open, open
    failures: int = 0
    until: datetime | None = None
    retries: int = 0

    @property
    def number(self) -> int:
        """For Prometheus: 0 closed, 1 half-open, 2 open."""
        return ("closed", "half_open", "open").index(self.state)

    def told(self) -> dict[str, Any]:
        """As health shows it."""
        until = self.until.isoformat() if self.until else None
        return {"state": self.state, "failures": self.failures, "until": until, "retries": self.retries}


def retry_after(header: str | None, now: datetime) -> float | None:
    """The seconds that a Retry-After header asks for, in either of its forms; None for none, or nonsense."""
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
