"""A circuit breaker as a state machine (SPEC: Circuit Breaker). Pure: the caller passes the time in monotonic seconds.

closed     calls pass; `threshold` failures in a row open it
open       no call passes for `open_for` seconds
half_open  up to `probes` calls pass at once: a success closes it, a failure opens it again
"""

from dataclasses import dataclass, field
from enum import StrEnum


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True)
class Admission:
    """Permission for one call. Its outcome counts only while the breaker is in the state that admitted it."""

    period: int


@dataclass
class CircuitBreaker:
    threshold: int
    open_for: float  # seconds
    probes: int = 1
    failures: int = field(default=0, init=False)  # in a row
    opened_at: float = field(default=0.0, init=False)
    _state: CircuitState = field(default=CircuitState.CLOSED, init=False)
    _period: int = field(default=0, init=False)  # counts the changes of state
    _probing: int = field(default=0, init=False)

    def state(self, now: float) -> CircuitState:
        if self._state is CircuitState.OPEN and now >= self.opened_at + self.open_for:
            return CircuitState.HALF_OPEN
        return self._state

    def admit(self, now: float) -> Admission | None:
        """Return the permission for one call, None when the call must not be made."""
        state = self.state(now)
        if state is not self._state:
            self._enter(state)
        if state is CircuitState.OPEN or (state is CircuitState.HALF_OPEN and self._probing >= self.probes):
            return None
        self._probing += state is CircuitState.HALF_OPEN
        return Admission(self._period)

    def succeed(self, admission: Admission) -> None:
        if admission.period == self._period:
            self.failures = 0
            if self._state is CircuitState.HALF_OPEN:
                self._enter(CircuitState.CLOSED)

    def fail(self, admission: Admission, now: float) -> None:
        if admission.period == self._period:
            self.failures += 1
            if self._state is CircuitState.HALF_OPEN or self.failures >= self.threshold:
                self.opened_at = now
                self._enter(CircuitState.OPEN)

    def cancel(self, admission: Admission) -> None:
        """End a call whose outcome says nothing about the host."""
        if admission.period == self._period and self._state is CircuitState.HALF_OPEN:
            self._probing -= 1

    def _enter(self, state: CircuitState) -> None:
        self._state = state
        self._period += 1
        self._probing = 0
