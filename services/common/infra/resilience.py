"""Calls that leave the system: retry and circuit breaker, one of each per host (SPEC: Retry Policy, Circuit Breaker).

The numbers are policy.py's, the retry is tenacity's, the breaker interlock's (docs/decisions/0013). Whoever calls out
holds a `Hosts`, and says by a `Judge` what a failed call tells of the host.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

import structlog
from interlock import CircuitBreaker, CircuitOpenError, Config, Outcome, State
from interlock.protocols import CoreEventListener
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from services.common.errors import HostUnavailable
from services.common.settings.retry_policy import BREAKER_OPEN, SPEC, BreakerState, Policy, Word

PROBE_TAKES = 5.0  # seconds after which one may ask again while another request probes; a guess

T = TypeVar("T")
Judge = Callable[[BaseException], Word | None]  # None: it says nothing of the host
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


class _SaysNothing(BaseException):
    """Carries an error past the breaker: interlock counts an Exception, and gives back the slot of what is none."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


@dataclass
class _Answered:
    """Carries an error past the breaker as a success: the host is well."""

    error: BaseException


class Host:
    """One host, by its name (`www.youtube.com`, `localhost:8003`). `quiet`: nothing is logged."""

    def __init__(self, name: str, policy: Policy, clock: Clock, *, quiet: bool = False) -> None:
        self.name = name
        self._policy = policy
        self._clock = clock
        self._quiet = quiet
        self._retries = 0
        self._seen = _Seen(clock, quiet)
        config = Config(
            window_size=policy.failures,
            minimum_number_of_calls=policy.failures,
            failure_rate_threshold=1.0,  # all of the last `failures` calls: that many in a row
            slow_call_duration_threshold=math.inf,
            permitted_calls_in_half_open=policy.probes,
            max_concurrent_probes=policy.probes,
            wait_duration_in_open=policy.open_for,
        )
        self._breaker = CircuitBreaker(name=name, config=config, clock=clock, listener=self._seen)

    async def call(self, work: Callable[[], Awaitable[T]], judge: Judge, *, repeatable: bool) -> T:
        """What `work` gives. Raises what it raises, after the last attempt; HostUnavailable without calling it while
        the breaker is open. Only what is `repeatable` (changes nothing, or the same again) is tried more than once."""
        if not repeatable:
            return await self._once(work, judge)
        wait = wait_exponential_jitter(
            multiplier=self._policy.backoff_factor,
            exp_base=self._policy.backoff_factor,
            max=self._policy.max_backoff,
            jitter=self._policy.jitter,
        )

        def pause(state: RetryCallState) -> float:
            word = _word(state, judge)
            return max(wait(state), (word and word.retry_after) or 0.0)

        def asks_again(error: BaseException) -> bool:
            if isinstance(error, HostUnavailable) or self._breaker.state is State.OPEN:
                return False
            word = judge(error)
            return word is not None and self._policy.asks_again(word)

        def tell(state: RetryCallState) -> None:
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
            retry=retry_if_exception(asks_again),
            wait=pause,
            before_sleep=tell,
            sleep=self._clock.sleep,
            reraise=True,
        )
        return await again(self._once, work, judge)

    async def _once(self, work: Callable[[], Awaitable[T]], judge: Judge) -> T:
        async def attempt() -> T | _Answered:
            try:
                return await work()
            except Exception as error:
                word = judge(error)
                if word is None:
                    raise _SaysNothing(error) from None
                if self._policy.counts(word):
                    raise
                return _Answered(error)

        error: BaseException
        try:
            result = await self._breaker.call_async(attempt)
        except CircuitOpenError:
            error = self._unavailable()
        except _SaysNothing as carried:
            error = carried.error
        else:
            if not isinstance(result, _Answered):
                return result
            error = result.error
        raise error

    def state(self) -> BreakerState:
        state, until = str(self._breaker.state), self._until()
        if until is not None and until <= self._clock.now():
            state, until = str(State.HALF_OPEN), None  # the next call is the probe
        return BreakerState(state, self._seen.failures, until, self._retries)

    def _until(self) -> datetime | None:
        if self._breaker.state is not State.OPEN:
            return None
        left = self._seen.opened_at + self._policy.open_for - self._clock.monotonic()
        return self._clock.now() + timedelta(seconds=left)

    def _unavailable(self) -> HostUnavailable:
        until = self._until()
        if until is None:
            until = self._clock.now() + timedelta(seconds=PROBE_TAKES)
            told = f"{self.name} did not answer, and one request looks whether it does again. Try again in a moment."
        else:
            times = f"{self._policy.failures} times in a row"
            told = f"{self.name} did not answer {times}: it is left alone until {until:%Y-%m-%d %H:%M:%S} UTC."
        left = math.ceil((until - self._clock.now()).total_seconds())
        return HostUnavailable(
            told, host=self.name, until=until.isoformat(), retry_after=max(1, left), reason=BREAKER_OPEN
        )


class _Seen(CoreEventListener):
    """What health tells of a breaker and interlock does not keep."""

    def __init__(self, clock: Clock, quiet: bool) -> None:
        self._clock = clock
        self._quiet = quiet
        self.failures = 0  # in a row
        self.opened_at = 0.0

    def on_call(self, *, name: str, outcome: Outcome, duration: float) -> None:
        self.failures = self.failures + 1 if outcome.is_failure else 0

    def on_state_change(self, *, name: str, old: State, new: State) -> None:
        if new is State.OPEN:
            self.opened_at = self._clock.monotonic()
        if self._quiet:
            return
        told = log.warning if new is State.OPEN else log.info
        told("breaker_changed", host=name, state=str(new), before=str(old), failures=self.failures)


@dataclass
class Hosts:
    """The hosts of one caller, made when they are first called. `quiet`: for a command, whose output is its answer."""

    policy: Policy = SPEC
    clock: Clock = field(default_factory=RealClock)
    quiet: bool = False
    _known: dict[str, Host] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Host:
        if name not in self._known:
            self._known[name] = Host(name, self.policy, self.clock, quiet=self.quiet)
        return self._known[name]

    def states(self) -> Mapping[str, BreakerState]:
        return {name: host.state() for name, host in sorted(self._known.items())}


def _word(state: RetryCallState, judge: Judge) -> Word | None:
    error = state.outcome.exception() if state.outcome else None
    return judge(error) if error is not None else None
