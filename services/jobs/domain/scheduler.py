"""Scheduling: which job is next, how many dispatches at once, when to retry. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

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
    """The source refuses an egress from `since` until `until`; after that one worker probes it."""

    until: datetime
    reason: str
    probing_since: datetime | None = None
    probe: str | None = None  # the dispatch or listing that probes
    since: datetime | None = None  # in the future if the clock was set back: then the block is over

    def holds(self, now: datetime) -> bool:
        return now < self.until and (self.since is None or self.since <= now)

    def is_probed(self, now: datetime) -> bool:
        """Return whether the result of a probe is waited for."""
        return self.probing_since is not None and timedelta() <= now - self.probing_since < PROBE_FOR


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


def blocked_until(workers: Collection[ServiceInfo], blocks: Mapping[str, Block], now: datetime) -> datetime | None:
    """Return when the first block ends if every live worker is blocked; None if one can work."""
    ends = [block.until for worker in workers if (block := blocks.get(worker.egress or "")) and block.holds(now)]
    return min(ends) if ends and len(ends) == len(workers) else None


def claim_verdict(block: Block | None, claim: str, now: datetime) -> ClaimAnswer:
    """Decide whether a claim may use an egress with this block. Marks the block if the claim is its probe."""
    if block is None:
        return ClaimAnswer(verdict=ClaimVerdict.GO)
    if block.holds(now):
        return ClaimAnswer(verdict=ClaimVerdict.WAIT, until=block.until)
    if block.is_probed(now) and block.probe != claim:
        return ClaimAnswer(verdict=ClaimVerdict.WAIT, until=now + timedelta(seconds=30))
    block.probing_since, block.probe = now, claim
    return ClaimAnswer(verdict=ClaimVerdict.PROBE)
