"""The retry policy of the specification (Service Communication) and the decisions derived from it."""

from datetime import UTC, datetime
from http import HTTPStatus

import pytest

from services.common.domain.failures import Failure, FailureKind
from services.common.models import ErrorCode
from services.common.settings.retry_policy import ANSWERED, SPEC, BreakerState, CallOutcome, RetryPolicy, retry_after
from services.common.youtube.classify import call_outcome
from services.jobs.domain import scheduler
from services.metadata.data_api.errors import ApiRefused, RefusalKind

NOW = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)


@pytest.mark.claim("7.1", "7.3", "7.5", "7.6", "7.7", "7.8")
def test_the_retry_policy_has_the_numbers_of_the_specification() -> None:
    assert (SPEC.connect, SPEC.read, SPEC.write, SPEC.pool) == (5, 30, 30, 30)
    assert (SPEC.max_attempts, SPEC.backoff_factor, SPEC.max_backoff) == (3, 2, 30)
    assert SPEC.retry_on == {502, 503, 504, 429}
    assert (SPEC.failures, SPEC.open_for, SPEC.probes) == (5, 60, 1)


@pytest.mark.claim("7.4", "16.3")
@pytest.mark.parametrize(("attempt", "seconds"), [(0, 2), (1, 2), (2, 4), (3, 8), (4, 16), (5, 30), (6, 30), (50, 30)])
def test_back_off_doubles_up_to_30_seconds_for_calls_and_in_the_queue(attempt: int, seconds: int) -> None:
    assert SPEC.backoff(attempt) == scheduler.backoff(attempt).total_seconds() == seconds


@pytest.mark.claim("7.5")
def test_which_outcomes_are_retried() -> None:
    assert {status for status in range(100, 600) if SPEC.is_retryable(CallOutcome(status))} == {502, 503, 504, 429}
    assert SPEC.is_retryable(CallOutcome(None))  # no answer
    assert not SPEC.is_retryable(CallOutcome(None, final=True))
    assert not SPEC.is_retryable(ANSWERED)


@pytest.mark.parametrize(("seconds", "again"), [(0, True), (30, True), (30.5, False), (3600, False)])
def test_a_retry_after_longer_than_30_seconds_prevents_the_retry(seconds: float, again: bool) -> None:
    assert SPEC.is_retryable(CallOutcome(HTTPStatus.SERVICE_UNAVAILABLE, retry_after=seconds)) is again


@pytest.mark.claim("7.6")
def test_which_outcomes_count_as_failures_of_the_host() -> None:
    counted = {status for status in range(100, 600) if SPEC.counts(CallOutcome(status))}
    assert counted == {429, *range(500, 600)}
    assert SPEC.counts(CallOutcome(None, final=True))
    assert not SPEC.counts(ANSWERED)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0", 0.0),
        ("-3", 0.0),
        ("1.5", 1.5),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0.0),
        ("Wed, 21 Oct 2026 07:28:30 -0000", 30.0),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("", None),
    ],
)
def test_retry_after_accepts_seconds_and_http_dates(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


@pytest.mark.parametrize(
    ("kind", "reason", "expected"),
    [
        (FailureKind.PASSING, "timeout", CallOutcome()),
        (FailureKind.PASSING, "network", CallOutcome()),
        (FailureKind.PASSING, "proxy", CallOutcome()),
        (FailureKind.PASSING, "http_503", CallOutcome(503)),
        (FailureKind.PASSING, "http_5xx", CallOutcome(503)),
        (FailureKind.SITE_WIDE, "http_429", CallOutcome(429)),
        (FailureKind.SITE_WIDE, "rate_limit", CallOutcome(429)),
        (FailureKind.SITE_WIDE, "http_403", CallOutcome(403)),
        (FailureKind.SITE_WIDE, "bot_check", ANSWERED),
        (FailureKind.GONE, "private", ANSWERED),
        (FailureKind.NOT_YET, "upcoming", ANSWERED),
        (FailureKind.LOCAL, "crash", None),
        (FailureKind.LOCAL, "disk_full", None),
        (FailureKind.PASSING, "unknown", None),
    ],
)
def test_the_call_outcome_of_a_yt_dlp_failure(kind: FailureKind, reason: str, expected: CallOutcome | None) -> None:
    assert call_outcome(Failure(kind=kind, code=ErrorCode.INTERNAL_ERROR, reason=reason, message="-")) == expected


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        (ApiRefused(RefusalKind.PASSING, "network", "-"), CallOutcome()),
        (ApiRefused(RefusalKind.PASSING, "backendError", "-", 503, 7.0), CallOutcome(503, 7.0)),
        (ApiRefused(RefusalKind.PASSING, "rateLimitExceeded", "-", 429), CallOutcome(429)),
        (ApiRefused(RefusalKind.KEY, "keyInvalid", "-", 400), ANSWERED),
        (ApiRefused(RefusalKind.QUOTA, "quotaExceeded", "-", 429), ANSWERED),
        (ApiRefused(RefusalKind.QUOTA, "quota_limit", "-"), None),  # refused by the local quota store without a call
    ],
)
def test_the_call_outcome_of_a_data_api_refusal(refused: ApiRefused, expected: CallOutcome | None) -> None:
    assert refused.outcome() == expected


def test_the_state_of_a_breaker_as_number_and_as_json() -> None:
    assert [BreakerState(name).number for name in ("closed", "half_open", "open")] == [0, 1, 2]
    reported = BreakerState("open", failures=5, until=NOW, retries=3).as_json()
    assert reported == {"state": "open", "failures": 5, "until": "2026-10-21T07:28:00+00:00", "retries": 3}


def test_a_policy_accepts_another_factor_and_maximum() -> None:
    assert RetryPolicy(backoff_factor=3, max_backoff=20).backoff(5) == 20
