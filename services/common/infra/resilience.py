"""Retry and circuit breaker for calls to other hosts, one of each per host (SPEC: Retry Policy, Circuit Breaker;
docs/decisions/0018).

A caller holds a `RemoteHosts` and passes a `Classifier`, which tells what a failed call means for the host.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from services.common.errors import HostUnavailable
from services.common.infra.circuit_breaker import Admission, CircuitBreaker, CircuitState
from services.common.settings.retry_policy import ANSWERED, BREAKER_OPEN, SPEC, BreakerState, CallOutcome, RetryPolicy

PROBE_DURATION = 5.0  # seconds after which to retry while another request is the probe; an estimate

T = TypeVar("T")
Classifier = Callable[[BaseException], CallOutcome | None]  # None: the error says nothing about the host
log = structlog.get_logger("services.resilience")


class Clock(Protocol):
    def monotonic(self) -> float: ...
    def now(self) -> datetime:
        """Aware."""

    async def sleep(self, seconds: float) -> None: ...


class RealClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class RemoteHost:
    """One host, by its name (`www.youtube.com`, `localhost:8003`). With `quiet` nothing is logged."""

    def __init__(self, name: str, policy: RetryPolicy, clock: Clock, *, quiet: bool = False) -> None:
        self.name = name
        self._policy = policy
        self._clock = clock
        self._quiet = quiet
        self._retries = 0
        self._breaker = CircuitBreaker(policy.failures, policy.open_for, policy.probes)

    async def call(self, work: Callable[[], Awaitable[T]], classify: Classifier, *, repeatable: bool) -> T:
        """Return the result of `work`. Raise its error after the last attempt; raise HostUnavailable without calling it
        while the breaker is open. Only `repeatable` (idempotent) work is attempted more than once."""
        if not repeatable:
            return await self._once(work, classify)
        wait = wait_exponential_jitter(
            multiplier=self._policy.backoff_factor,
            exp_base=self._policy.backoff_factor,
            max=self._policy.max_backoff,
            jitter=self._policy.jitter,
        )

        def pause(state: RetryCallState) -> float:
            outcome = _outcome(state, classify)
            return max(wait(state), (outcome and outcome.retry_after) or 0.0)

        def is_retryable(error: BaseException) -> bool:
            if isinstance(error, HostUnavailable) or self._breaker.state(self._clock.monotonic()) is CircuitState.OPEN:
                return False
            outcome = classify(error)
            return outcome is not None and self._policy.is_retryable(outcome)

        def log_retry(state: RetryCallState) -> None:
            self._retries += 1
            if self._quiet:
                return
            error = state.outcome.exception() if state.outcome else None
            log.info(
                "call_again",
                host=self.name,
                attempt=state.attempt_number,
                wait_seconds=round(state.upcoming_sleep, 1),
                error_message=str(error),
            )

        again = AsyncRetrying(
            stop=stop_after_attempt(self._policy.max_attempts),
            retry=retry_if_exception(is_retryable),
            wait=pause,
            before_sleep=log_retry,
            sleep=self._clock.sleep,
            reraise=True,
        )
        return await again(self._once, work, classify)

    async def _once(self, work: Callable[[], Awaitable[T]], classify: Classifier) -> T:
        before = self._breaker.state(self._clock.monotonic())
        admission = self._breaker.admit(self._clock.monotonic())
        self._log_change(before)
        if admission is None:
            raise self._unavailable()
        try:
            result = await work()
        except Exception as error:
            self._settle(admission, classify(error))
            raise
        except BaseException:
            self._breaker.cancel(admission)
            raise
        self._settle(admission, ANSWERED)
        return result

    def _settle(self, admission: Admission, outcome: CallOutcome | None) -> None:
        before = self._breaker.state(self._clock.monotonic())
        if outcome is None:
            self._breaker.cancel(admission)
        elif self._policy.counts(outcome):
            self._breaker.fail(admission, self._clock.monotonic())
        else:
            self._breaker.succeed(admission)
        self._log_change(before)

    def _log_change(self, before: CircuitState) -> None:
        state = self._breaker.state(self._clock.monotonic())
        if state is before or self._quiet:
            return
        write = log.warning if state is CircuitState.OPEN else log.info
        write("breaker_changed", host=self.name, state=str(state), before=str(before), failures=self._breaker.failures)

    def state(self) -> BreakerState:
        state = self._breaker.state(self._clock.monotonic())
        return BreakerState(str(state), self._breaker.failures, self._until(), self._retries)

    def _until(self) -> datetime | None:
        now = self._clock.monotonic()
        if self._breaker.state(now) is not CircuitState.OPEN:
            return None
        return self._clock.now() + timedelta(seconds=self._breaker.opened_at + self._breaker.open_for - now)

    def _unavailable(self) -> HostUnavailable:
        until = self._until()
        if until is None:
            until = self._clock.now() + timedelta(seconds=PROBE_DURATION)
            message = f"{self.name} did not answer, and one request tests whether it does now. Try again in a moment."
        else:
            times = f"{self._policy.failures} times in a row"
            message = f"{self.name} did not answer {times}: the next attempt is at {until:%Y-%m-%d %H:%M:%S} UTC."
        left = math.ceil((until - self._clock.now()).total_seconds())
        return HostUnavailable(
            message, host=self.name, until=until.isoformat(), retry_after=max(1, left), reason=BREAKER_OPEN
        )


@dataclass
class RemoteHosts:
    """The hosts of one caller, created on first use. `quiet` is for commands, whose output is their answer."""

    policy: RetryPolicy = SPEC
    clock: Clock = field(default_factory=RealClock)
    quiet: bool = False
    _known: dict[str, RemoteHost] = field(default_factory=dict)

    def __getitem__(self, name: str) -> RemoteHost:
        if name not in self._known:
            self._known[name] = RemoteHost(name, self.policy, self.clock, quiet=self.quiet)
        return self._known[name]

    def states(self) -> Mapping[str, BreakerState]:
        return {name: host.state() for name, host in sorted(self._known.items())}


def _outcome(state: RetryCallState, classify: Classifier) -> CallOutcome | None:
    error = state.outcome.exception() if state.outcome else None
    return classify(error) if error is not None else None
