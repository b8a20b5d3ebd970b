"""When the site refuses this machine, or cannot be reached: how long to keep still, and when to speak of it. Pure
(SPEC: Circuit Breaker).

SPEC's numbers are for what is down: five failures in a row to reach the site block for a minute, and so does the next
one after that. A site that has taken offence is asked again after 5 minutes, then 10, 20, 40, and at most every hour.
Jobs keeps `until` per egress and lets one probe through.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.common.models import Failure, FailureKind
from services.common.settings.retry_policy import SPEC, BreakerState
from services.common.youtube.classify import REFUSALS, UNREACHED

THRESHOLD = SPEC.failures  # in a row
FIRST_WAIT = timedelta(minutes=5)
LONGEST_WAIT = timedelta(hours=1)
OUTAGE_WAIT = timedelta(seconds=SPEC.open_for)


@dataclass
class Breaker:
    """The mood of the site towards one egress, as this worker has seen it."""

    until: datetime | None = None
    blocks: int = 0  # in a row, since the last success
    refusals: int = 0  # media answers 403 and 429 in a row
    unreached: int = 0  # failures in a row to reach the site at all
    down: bool = False  # blocked because of those

    def blocked(self, now: datetime) -> bool:
        return self.until is not None and now < self.until

    def state(self, now: datetime) -> BreakerState:
        """As health tells of every breaker; half-open when the next one may look again."""
        if self.blocked(now):
            return BreakerState("open", self._failures, self.until)
        return BreakerState("half_open" if self.blocks or self.down else "closed", self._failures)

    @property
    def _failures(self) -> int:
        return max(self.refusals, self.unreached)

    def judge(self, failure: Failure) -> bool:
        """Whether this failure is about this machine, or its network, rather than about one video."""
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
        """Block: for a refusal longer each time. Failures that arrive while it is blocked do not make it longer."""
        if self.until is None or now >= self.until:
            self.down = failure.reason in UNREACHED
            if self.down:
                self.until = now + OUTAGE_WAIT
            else:
                self.until = now + min(FIRST_WAIT * 2**self.blocks, LONGEST_WAIT)
                self.blocks = min(self.blocks + 1, 10)
        self.refusals = self.unreached = 0
        return self.until

    def succeed(self) -> bool:
        """A download went well; True if that ends a block, which is worth telling."""
        was_blocked = self.blocks > 0 or self.down
        self.until, self.blocks, self.refusals, self.unreached, self.down = None, 0, 0, 0, False
        return was_blocked
