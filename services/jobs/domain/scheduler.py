"""Who is next, how many at once, and when again. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.common.models import ClaimAnswer, ClaimVerdict, ServiceInfo
from services.common.settings.retry_policy import SPEC

MAX_ATTEMPTS = SPEC.max_attempts
PROBE_FOR = timedelta(minutes=2)  # so long the others wait for the one that looks whether the source answers again


def backoff(attempts: int) -> timedelta:
    """2, 4, 8 … at most 30 seconds after the first, second, third attempt (SPEC: RETRY_CONFIG)."""
    return timedelta(seconds=SPEC.backoff(attempts))


@dataclass(frozen=True)
class Candidate:
    """A job with a video that could start now."""

    job_id: str
    priority: int
    running: int  # dispatches under way for it
    served: int  # when it was served last: a counter, 0 never
    created_at: datetime
    refused: bool = False  # all that it could begin with now is what the site has refused before


def next_job(candidates: Iterable[Candidate]) -> str | None:
    """By priority; among equals the one with the fewest under way, then the one that waited longest for its turn. What
    the site has refused comes last, whatever its priority: it would be the one to look after every block."""
    best = min(candidates, key=lambda c: (c.refused, -c.priority, c.running, c.served, c.created_at), default=None)
    return best.job_id if best else None


@dataclass
class Block:
    """The source refuses an egress until `until`; then one worker probes."""

    until: datetime
    reason: str
    probing_since: datetime | None = None
    probe: str | None = None  # the dispatch or listing that probes


def window(workers: Iterable[ServiceInfo], blocks: Mapping[str, Block], now: datetime) -> int:
    """How many dispatches may be out: the slots of the live workers; one for an egress whose block has run out."""
    open_slots = 0
    probes: set[str] = set()
    for worker in workers:
        block = blocks.get(worker.egress or "")
        if block is None:
            open_slots += worker.slots
        elif block.until <= now and worker.egress not in probes:
            probes.add(worker.egress or "")
            open_slots += 1
    return open_slots


def blocked_until(workers: Collection[ServiceInfo], blocks: Mapping[str, Block], now: datetime) -> datetime | None:
    """When the first of the blocks runs out, if every live worker is behind one; None if anybody can work."""
    ends = [block.until for worker in workers if (block := blocks.get(worker.egress or "")) and block.until > now]
    return min(ends) if ends and len(ends) == len(workers) else None


def claim_verdict(block: Block | None, claim: str, now: datetime) -> ClaimAnswer:
    """May this claim go out through an egress with this block? Marks the block when the claim is its probe."""
    if block is None:
        return ClaimAnswer(verdict=ClaimVerdict.GO)
    if block.until > now:
        return ClaimAnswer(verdict=ClaimVerdict.WAIT, until=block.until)
    probing = block.probing_since is not None and now - block.probing_since < PROBE_FOR
    if probing and block.probe != claim:
        return ClaimAnswer(verdict=ClaimVerdict.WAIT, until=now + timedelta(seconds=30))
    block.probing_since, block.probe = now, claim
    return ClaimAnswer(verdict=ClaimVerdict.PROBE)
