"""The pure parts of the download service: progress, the breaker, the name of the way out."""

from datetime import UTC, datetime, timedelta

import pytest

from services.common.models import ErrorCode, Failure, FailureKind
from services.common.youtube.egress import egress_of
from services.common.youtube.messages import Downloading
from services.download.breaker import FIRST_WAIT, LONGEST_WAIT, OUTAGE_WAIT, THRESHOLD, Breaker
from services.download.progress import ProgressRule, progress_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([(0.0, 0.0)], [True]),
        ([(0.0, 0.0), (1.0, 0.04), (2.0, 0.05)], [True, False, True]),
        ([(0.0, 0.0), (4.9, 0.01), (5.0, 0.01), (9.0, 0.02), (10.0, 0.02)], [True, False, True, False, True]),
        ([(0.0, 0.5), (0.1, 0.54), (0.2, 0.56), (0.3, 0.60), (0.4, 0.62)], [True, False, True, False, True]),
    ],
)
def test_every_5_seconds_or_5_percent(steps: list[tuple[float, float]], told: list[bool]) -> None:
    rule = ProgressRule()
    assert [rule.due(now, share) for now, share in steps] == told


def test_the_last_one_is_always_told() -> None:
    rule = ProgressRule()
    assert rule.due(0.0, 0.99)
    assert not rule.due(0.1, 1.0)
    assert rule.due(0.2, 1.0, last=True)


@pytest.mark.claim("10.5")
def test_progress_as_spec_words_it() -> None:
    progress = progress_of(Downloading(downloaded=250, total=1000, speed=50.0, eta=15))
    assert (progress.current, progress.total, progress.percentage) == (250, 1000, 25.0)
    assert (progress.speed_bps, progress.eta_seconds) == (50.0, 15)


def test_progress_of_an_unknown_total_and_at_the_end() -> None:
    assert progress_of(Downloading(downloaded=250)).percentage == 0.0
    assert progress_of(Downloading(downloaded=250), finished=True).percentage == 100.0


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


@pytest.mark.parametrize(
    ("proxy", "expected"),
    [
        (None, "box/direct"),
        ("", "box/direct"),
        ("http://user:secret@proxy.example:3128", "box/proxy.example:3128"),
        ("socks5://10.0.0.1", "box/10.0.0.1"),
        ("user:secret@proxy.example:3128", "box/proxy.example:3128"),
    ],
)
def test_the_way_out_has_a_name_without_secrets(proxy: str | None, expected: str) -> None:
    assert egress_of(proxy, "box") == expected
