"""The circuit breaker of an egress: when it blocks, for how long, and what ends it."""

from datetime import UTC, datetime, timedelta

import pytest

from services.common.domain.failures import Failure, FailureKind
from services.common.models import ErrorCode
from services.download.breaker import FIRST_WAIT, LONGEST_WAIT, OUTAGE_WAIT, THRESHOLD, Breaker

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def failure(kind: FailureKind, reason: str) -> Failure:
    return Failure(kind=kind, code=ErrorCode.NETWORK_TIMEOUT, reason=reason, message="")


SITE_WIDE = failure(FailureKind.SITE_WIDE, "bot_check")
REFUSED = failure(FailureKind.PASSING, "http_403")
PASSING = failure(FailureKind.PASSING, "truncated")
UNREACHED = failure(FailureKind.PASSING, "network")


@pytest.mark.claim("7.7")
def test_a_site_wide_failure_blocks_longer_each_time() -> None:
    breaker, now, waits = Breaker(), NOW, []
    for _ in range(6):
        assert breaker.judge(SITE_WIDE)
        until = breaker.trip(now, SITE_WIDE)
        waits.append(until - now)
        assert breaker.blocked(now)
        now = until
        assert not breaker.blocked(now)
    assert waits == [FIRST_WAIT, FIRST_WAIT * 2, FIRST_WAIT * 4, FIRST_WAIT * 8, LONGEST_WAIT, LONGEST_WAIT]


def test_what_fails_during_a_block_does_not_make_it_longer() -> None:
    breaker = Breaker()
    until = breaker.trip(NOW, SITE_WIDE)
    assert breaker.trip(NOW + timedelta(seconds=1), SITE_WIDE) == until


def test_success_ends_it_and_is_worth_telling_once() -> None:
    breaker = Breaker()
    breaker.trip(NOW, SITE_WIDE)
    assert breaker.succeed()
    assert not breaker.succeed()
    assert breaker.trip(NOW, SITE_WIDE) - NOW == FIRST_WAIT


def test_one_refused_file_is_an_expired_url_five_in_a_row_are_not() -> None:
    breaker = Breaker()
    assert [breaker.judge(REFUSED) for _ in range(THRESHOLD)] == [False] * (THRESHOLD - 1) + [True]


def test_a_success_between_refusals_starts_the_count_anew() -> None:
    breaker = Breaker()
    for _ in range(THRESHOLD - 1):
        assert not breaker.judge(REFUSED)
    breaker.succeed()
    assert not breaker.judge(REFUSED)
    assert not breaker.judge(PASSING)


@pytest.mark.claim("7.6", "7.7")
def test_a_network_that_is_down_is_no_attempt_of_every_video() -> None:
    breaker = Breaker()
    assert [breaker.judge(UNREACHED) for _ in range(THRESHOLD)] == [False] * (THRESHOLD - 1) + [True]
    until = breaker.trip(NOW, UNREACHED)
    assert until - NOW == OUTAGE_WAIT == timedelta(seconds=60)
    assert breaker.state(until).state == "half_open"
    assert breaker.judge(UNREACHED), "one probe is enough to know that it is still down"
    assert breaker.trip(until, UNREACHED) - until == OUTAGE_WAIT, "and not longer each time"
    assert breaker.succeed()
    assert not breaker.judge(UNREACHED)


@pytest.mark.parametrize("between", [REFUSED, PASSING, UNREACHED.model_copy(update={"gained_bytes": True})])
def test_an_answer_between_says_that_the_network_is_there(between: Failure) -> None:
    breaker = Breaker()
    for _ in range(THRESHOLD - 1):
        assert not breaker.judge(UNREACHED)
    assert not breaker.judge(between)
    assert not breaker.judge(UNREACHED)
