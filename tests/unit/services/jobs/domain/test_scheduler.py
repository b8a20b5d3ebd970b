"""Decisions of the scheduler."""

from datetime import UTC, datetime, timedelta

import pytest

from services.common.domain.registry import ServiceInfo
from services.common.domain.replies import ClaimVerdict
from services.jobs.domain.scheduler import Block, Candidate, backoff, claim_verdict, current_block, next_job, window

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 2), (1, 2), (2, 4), (3, 8), (4, 16), (5, 30), (50, 30)])
@pytest.mark.claim("16.3")
def test_the_back_off_doubles_up_to_30_seconds(attempts: int, seconds: int) -> None:
    assert backoff(attempts) == timedelta(seconds=seconds)


def test_jobs_with_refused_videos_come_last_whatever_their_priority() -> None:
    """Otherwise such a job would be the probe after every block and cause the next block."""
    refused = Candidate("urgent", 5, 0, 0, NOW, refused=True)
    assert next_job([refused, Candidate("other", 0, 0, 0, NOW)]) == "other"
    assert next_job([refused]) == "urgent"


def test_jobs_are_chosen_by_priority_then_fewest_running_then_longest_wait() -> None:
    def job(name: str, priority: int = 0, running: int = 0, served: int = 0) -> Candidate:
        return Candidate(name, priority, running, served, NOW)

    assert next_job([]) is None
    assert next_job([job("a"), job("b", priority=1, running=9)]) == "b"
    assert next_job([job("a", running=1), job("b", served=7)]) == "b"
    assert next_job([job("a", served=3), job("b", served=2)]) == "b"


def _worker(egress: str, slots: int = 2) -> ServiceInfo:
    return ServiceInfo(
        name="download", instance=egress, url="http://x", version="1", slots=slots, egress=egress, pid=1, started_at=NOW
    )


def test_a_blocked_egress_gets_no_slots_and_after_the_block_one_probe() -> None:
    workers = [_worker("a"), _worker("b"), _worker("b")]
    assert window(workers, {}, NOW) == 6
    blocks = {"b": Block(NOW + timedelta(minutes=5), "bot_check")}
    assert window(workers, blocks, NOW) == 2
    assert window(workers, blocks, NOW + timedelta(minutes=6)) == 3


def test_the_queue_is_blocked_only_while_every_egress_is_blocked() -> None:
    soon, later = NOW + timedelta(minutes=5), NOW + timedelta(minutes=9)
    blocks = {"a": Block(soon, "x"), "b": Block(later, "x")}
    assert current_block([_worker("a"), _worker("b")], blocks, NOW) is blocks["a"]
    assert current_block([_worker("a"), _worker("c")], blocks, NOW) is None
    assert current_block([_worker("a")], blocks, later) is None
    assert current_block([], blocks, NOW) is None


def test_after_a_block_one_claim_probes_and_the_others_wait() -> None:
    block = Block(NOW, "bot_check")
    assert claim_verdict(None, "a", NOW).verdict is ClaimVerdict.GO
    assert claim_verdict(Block(NOW + timedelta(minutes=1), "x"), "a", NOW).verdict is ClaimVerdict.WAIT
    assert claim_verdict(block, "a", NOW).verdict is ClaimVerdict.PROBE
    assert claim_verdict(block, "b", NOW).verdict is ClaimVerdict.WAIT
    assert claim_verdict(block, "a", NOW).verdict is ClaimVerdict.PROBE
    assert claim_verdict(block, "b", NOW + timedelta(minutes=3)).verdict is ClaimVerdict.PROBE


def test_a_block_ends_when_the_clock_is_set_back_before_it() -> None:
    ahead = NOW + timedelta(days=3650)
    block = Block(ahead + timedelta(minutes=5), "bot_check", since=ahead)
    assert claim_verdict(block, "a", ahead).verdict is ClaimVerdict.WAIT
    assert current_block([_worker("e")], {"e": block}, NOW) is None
    assert window([_worker("e")], {"e": block}, NOW) == 1
    assert claim_verdict(block, "a", NOW).verdict is ClaimVerdict.PROBE


def test_a_probe_is_not_waited_for_when_the_clock_is_set_back() -> None:
    block = Block(NOW, "bot_check", since=NOW - timedelta(minutes=5))
    assert claim_verdict(block, "a", NOW + timedelta(days=3650)).verdict is ClaimVerdict.PROBE
    assert claim_verdict(block, "b", NOW + timedelta(seconds=5)).verdict is ClaimVerdict.PROBE
