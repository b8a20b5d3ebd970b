"""Scheduling: which job is next, how many dispatches at once, when to retry. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.common.domain.failures import Suspicion
from services.common.domain.registry import ServiceInfo
from services.common.domain.replies import ClaimAnswer, ClaimVerdict
from services.common.settings.retry_policy import SPEC

MAX_ATTEMPTS = SPEC.max_attempts
PROBE_FOR = timedelta(minutes=2)  # the others wait that long for the result of the probe


def backoff(attempts: int) -> timedelta:
    """Return the pause after an attempt: 2, 4, 8 … at most 30 s (SPEC: RETRY_CONFIG)."""
    return timedelta(seconds=SPEC.backoff(attempts))


@dataclass(frozen=True)
class Candidate:
    """A job with a video that could start now."""

    job_id: str
    priority: int
    running: int  # its dispatches that are running
    served: int  # the number of its last turn, 0 never
    created_at: datetime
    refused: bool = False  # the site has refused every video that it could start with


def next_job(candidates: Iterable[Candidate]) -> str | None:
    """Choose by priority, then the fewest running dispatches, then the longest wait for a turn. Videos that the site
    has refused come last, whatever their priority: one of them would be the probe after every block."""
    best = min(candidates, key=lambda c: (c.refused, -c.priority, c.running, c.served, c.created_at), default=None)
    return best.job_id if best else None


@dataclass
class Block:
    """The source refuses an egress from `since` until `until`; after that one worker probes it. With a Suspicion as
    `reason` it begins as a question: `until` is its beginning, and the first probe decides whether it becomes a block.
    """

    until: datetime
    reason: str
    probing_since: datetime | None = None
    probe: str | None = None  # the dispatch or listing that probes
    since: datetime | None = None  # in the future if the clock was set back: then the block is over
    message: str = ""  # for people
    about: str = ""  # of a Suspicion: what the failures have in common (streaks.py)
    canaries: tuple[str, ...] = ()  # the videos that were asked for as canaries, in order

    def holds(self, now: datetime) -> bool:
        return now < self.until and (self.since is None or self.since <= now)

    def is_probed(self, now: datetime) -> bool:
        """Return whether the result of a probe is waited for."""
        return self.probing_since is not None and timedelta() <= now - self.probing_since < PROBE_FOR

    @property
    def suspected(self) -> bool:
        """Whether failures of video after video were the cause, rather than an answer of the site about us."""
        return self.reason in set(Suspicion)

    @property
    def question(self) -> bool:
        """Whether it is a suspicion that no probe has confirmed yet."""
        return self.suspected and not self.message

    def waiting_for(self) -> str:
        """Return why jobs wait, until when, and what to do."""
        why = self.message or f"YouTube blocks this machine ({self.reason.replace('_', ' ')})."
        return f"{why} The next attempt is at {self.until.astimezone(UTC):%H:%M} UTC."


def window(workers: Iterable[ServiceInfo], blocks: Mapping[str, Block], now: datetime) -> int:
    """Return how many dispatches may run: the slots of the live workers, and one for an egress whose block is over."""
    open_slots = 0
    probes: set[str] = set()
    for worker in workers:
        block = blocks.get(worker.egress or "")
        if block is None:
            open_slots += worker.slots
        elif not block.holds(now) and worker.egress not in probes:
            probes.add(worker.egress or "")
            open_slots += 1
    return open_slots


def current_block(workers: Collection[ServiceInfo], blocks: Mapping[str, Block], now: datetime) -> Block | None:
    """Return the block that ends first if every live worker is blocked; None if one can work."""
    found = [block for worker in workers if (block := blocks.get(worker.egress or "")) and block.holds(now)]
    return min(found, key=lambda block: block.until) if found and len(found) == len(workers) else None


def claim_verdict(block: Block | None, claim: str, now: datetime) -> ClaimAnswer:
    """Decide whether a claim may use an egress with this block. Marks the block if the claim is its probe."""
    if block is None:
        return ClaimAnswer(verdict=ClaimVerdict.GO)
    if block.holds(now):
        return ClaimAnswer(verdict=ClaimVerdict.WAIT, until=block.until)
    if block.is_probed(now) and block.probe != claim:
        return ClaimAnswer(verdict=ClaimVerdict.WAIT, until=now + timedelta(seconds=30))
    block.probing_since, block.probe = now, claim
    return ClaimAnswer(verdict=ClaimVerdict.PROBE, reason=block.reason)
