"""The circuit breaker of an egress: how long it is blocked when the site refuses this machine, or cannot be reached.
Pure (SPEC: Circuit Breaker).

SPEC's numbers apply to a site that is down: five failures in a row to reach it block for a minute, and so does the next
failure after that. A site that refuses this machine is tried again after 5 minutes, then 10, 20, 40, and at most every
hour. Jobs stores `until` per egress and lets one probe through.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.common.domain.failures import Failure, FailureKind
from services.common.settings.retry_policy import SPEC, BreakerState
from services.common.youtube.classify import REFUSALS, UNREACHED

THRESHOLD = SPEC.failures  # in a row
FIRST_WAIT = timedelta(minutes=5)
LONGEST_WAIT = timedelta(hours=1)
OUTAGE_WAIT = timedelta(seconds=SPEC.open_for)


@dataclass
class Breaker:
    """The state of one egress, from the results of this worker."""

    until: datetime | None = None
    blocks: int = 0  # in a row, since the last success
    refusals: int = 0  # media answers 403 and 429 in a row
    unreached: int = 0  # failures in a row to reach the site at all
    down: bool = False  # blocked because of those
    first_wait: timedelta = FIRST_WAIT

    def blocked(self, now: datetime) -> bool:
        """Return whether the block lasts. One that ends later than any block began before the clock was set back."""
        return self.until is not None and now < self.until <= now + LONGEST_WAIT

    def state(self, now: datetime) -> BreakerState:
        """Return the state for health; half-open when the next request is a probe."""
        if self.blocked(now):
            return BreakerState("open", self._failures, self.until)
        return BreakerState("half_open" if self.blocks or self.down else "closed", self._failures)

    @property
    def _failures(self) -> int:
        return max(self.refusals, self.unreached)

    def judge(self, failure: Failure) -> bool:
        """Count a failure. Return whether it concerns this machine, or its network, rather than one video."""
        if failure.kind is FailureKind.SITE_WIDE:
            return True
        if failure.reason in UNREACHED and not failure.gained_bytes:
            self.unreached += 1
            return self.down or self.unreached >= THRESHOLD
        if failure.kind is not FailureKind.LOCAL:
            self.unreached = 0  # it was reached
        if failure.reason not in REFUSALS:
            return False
        self.refusals += 1
        return self.refusals >= THRESHOLD

    def trip(self, now: datetime, failure: Failure) -> datetime:
        """Block the egress and return the end of the block. Each refusal blocks longer than the one before; failures
        during a block do not extend it."""
        if self.until is None or not self.blocked(now):
            self.down = failure.reason in UNREACHED
            if self.down:
                self.until = now + OUTAGE_WAIT
            else:
                self.until = now + min(self.first_wait * 2**self.blocks, LONGEST_WAIT)
                self.blocks = min(self.blocks + 1, 10)
        self.refusals = self.unreached = 0
        return self.until

    def succeed(self) -> bool:
        """Count a successful download. Return whether it ended a block, which jobs has to know."""
        was_blocked = self.blocks > 0 or self.down
        self.until, self.blocks, self.refusals, self.unreached, self.down = None, 0, 0, 0, False
        return was_blocked
