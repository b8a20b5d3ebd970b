"""When the site refuses this machine: how long to keep still, and when to speak of it. Pure (SPEC: Circuit Breaker).

SPEC's numbers are for a server that is down; a site that has taken offence is asked again after 5 minutes, then 10,
20, 40, and at most every hour. Jobs keeps `until` per egress and lets one probe through.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.common.models import Failure, FailureKind
from services.common.youtube.classify import REFUSALS

THRESHOLD = 5  # SPEC: Circuit Breaker, consecutive failures
FIRST_WAIT = timedelta(minutes=5)
LONGEST_WAIT = timedelta(hours=1)


@dataclass
class Breaker:
    """The mood of the site towards one egress, as this worker has seen it."""

    until: datetime | None = None
    blocks: int = 0  # in a row, since the last success
    refusals: int = 0  # media answers 403 and 429 in a row

    def blocked(self, now: datetime) -> bool:
        return self.until is not None and now < self.until

    def judge(self, failure: Failure) -> bool:
        """Whether this failure is the site's word to this machine rather than about one video."""
        if failure.kind is FailureKind.SITE_WIDE:
            return True
        if failure.reason not in REFUSALS:
            return False
        self.refusals += 1
        return self.refusals >= THRESHOLD

    def trip(self, now: datetime) -> datetime:
        """Block, longer each time; failures that arrive while it is blocked do not make it longer."""
        if self.until is None or now >= self.until:
            self.until = now + min(FIRST_WAIT * 2**self.blocks, LONGEST_WAIT)
            self.blocks = min(self.blocks + 1, 10)
        self.refusals = 0
        return self.until

    def succeed(self) -> bool:
        """A download went well; True if that ends a block, which is worth telling."""
        was_blocked = self.blocks > 0
        self.until, self.blocks, self.refusals = None, 0, 0
        return was_blocked
