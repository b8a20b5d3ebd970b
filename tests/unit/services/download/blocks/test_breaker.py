"""The circuit breaker of an egress: what opens it, for how long, and what closes it."""

from datetime import UTC, datetime, timedelta

import pytest

from services.common.domain.failures import Failure, FailureKind
from services.common.models import ErrorCode
from services.download.blocks.breaker import FIRST_WAIT, OUTAGE_WAIT, THRESHOLD, Breaker

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def failure(kind: FailureKind, reason: str) -> Failure:
    return Failure(kind=kind, code=ErrorCode.NETWORK_TIMEOUT, reason=reason, message="")


SITE_WIDE = failure(FailureKind.SITE_WIDE, "bot_check")
REFUSED = failure(FailureKind.PASSING, "http_403")
PASSING = failure(FailureKind.PASSING, "truncated")
UNREACHABLE = failure(FailureKind.PASSING, "network")


@pytest.mark.claim("7.7")
def test_each_site_wide_failure_doubles_the_block_up_to_a_maximum() -> None:
    breaker, now, waits = Breaker(), NOW, []
    for _ in range(6):
        assert breaker.judge(SITE_WIDE)
        until = breaker.trip(now, SITE_WIDE)
        waits.append(until - now)
        assert breaker.blocked(now)
        now = until
        assert not breaker.blocked(now)
    assert waits == [timedelta(minutes=minutes) for minutes in (5, 10, 20, 40, 60, 60)]


def test_a_failure_during_a_block_does_not_extend_it() -> None:
    breaker = Breaker()
    until = breaker.trip(NOW, SITE_WIDE)
    assert breaker.trip(NOW + timedelta(seconds=1), SITE_WIDE) == until


def test_a_success_ends_the_block_and_is_reported_once() -> None:
    breaker = Breaker()
    breaker.trip(NOW, SITE_WIDE)
    assert breaker.succeed()
    assert not breaker.succeed()
    assert breaker.trip(NOW, SITE_WIDE) - NOW == FIRST_WAIT


def test_only_consecutive_http_403_failures_open_the_breaker() -> None:
    breaker = Breaker()
    assert [breaker.judge(REFUSED) for _ in range(THRESHOLD)] == [False] * (THRESHOLD - 1) + [True]


def test_a_success_resets_the_count_of_refusals() -> None:
    breaker = Breaker()
    for _ in range(THRESHOLD - 1):
        assert not breaker.judge(REFUSED)
    breaker.succeed()
    assert not breaker.judge(REFUSED)
    assert not breaker.judge(PASSING)


@pytest.mark.claim("7.6", "7.7")
def test_consecutive_network_failures_open_the_breaker_for_60_seconds() -> None:
    breaker = Breaker()
    assert [breaker.judge(UNREACHABLE) for _ in range(THRESHOLD)] == [False] * (THRESHOLD - 1) + [True]
    until = breaker.trip(NOW, UNREACHABLE)
    assert until - NOW == OUTAGE_WAIT == timedelta(seconds=60)
    assert breaker.state(until).state == "half_open"
    assert breaker.judge(UNREACHABLE), "one failed probe reopens the breaker"
    assert breaker.trip(until, UNREACHABLE) - until == OUTAGE_WAIT, "the wait does not grow"
    assert breaker.succeed()
    assert not breaker.judge(UNREACHABLE)


@pytest.mark.parametrize("between", [REFUSED, PASSING, UNREACHABLE.model_copy(update={"gained_bytes": True})])
def test_an_answer_of_the_host_resets_the_count_of_network_failures(between: Failure) -> None:
    breaker = Breaker()
    for _ in range(THRESHOLD - 1):
        assert not breaker.judge(UNREACHABLE)
    assert not breaker.judge(between)
    assert not breaker.judge(UNREACHABLE)


def test_a_block_ends_when_the_clock_is_set_back() -> None:
    breaker = Breaker()
    breaker.trip(NOW + timedelta(days=3650), SITE_WIDE)
    assert not breaker.blocked(NOW)
    assert breaker.trip(NOW, SITE_WIDE) == NOW + FIRST_WAIT * 2
    assert breaker.blocked(NOW)
