"""State transitions of the circuit breaker."""

from services.common.infra.circuit_breaker import Admission, CircuitBreaker, CircuitState


def admitted(breaker: CircuitBreaker, now: float) -> Admission:
    admission = breaker.admit(now)
    assert admission is not None
    return admission


def opened(now: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker(threshold=3, open_for=60.0)
    for _ in range(3):
        breaker.fail(admitted(breaker, now), now)
    return breaker


def test_consecutive_failures_open_the_breaker() -> None:
    breaker = CircuitBreaker(threshold=3, open_for=60.0)
    for _ in range(2):
        breaker.fail(admitted(breaker, 0.0), 0.0)
    breaker.succeed(admitted(breaker, 0.0))
    for number in range(3):
        assert (breaker.state(0.0), breaker.failures) == (CircuitState.CLOSED, number)
        breaker.fail(admitted(breaker, 0.0), 0.0)
    assert breaker.state(0.0) is CircuitState.OPEN
    assert breaker.admit(59.9) is None


def test_the_half_open_breaker_admits_one_probe_at_a_time() -> None:
    breaker = opened()
    assert breaker.state(60.0) is CircuitState.HALF_OPEN
    admitted(breaker, 60.0)
    assert breaker.admit(60.0) is None


def test_a_successful_probe_closes_the_breaker() -> None:
    breaker = opened()
    breaker.succeed(admitted(breaker, 60.0))
    assert (breaker.state(60.0), breaker.failures) == (CircuitState.CLOSED, 0)


def test_a_failed_probe_opens_the_breaker_for_the_full_time_again() -> None:
    breaker = opened()
    breaker.fail(admitted(breaker, 70.0), 75.0)
    assert breaker.state(134.9) is CircuitState.OPEN
    assert breaker.state(135.0) is CircuitState.HALF_OPEN


def test_a_cancelled_probe_makes_room_for_the_next_probe() -> None:
    breaker = opened()
    breaker.cancel(admitted(breaker, 60.0))
    assert breaker.state(60.0) is CircuitState.HALF_OPEN
    admitted(breaker, 60.0)


def test_outcomes_of_calls_admitted_before_opening_are_ignored() -> None:
    breaker = CircuitBreaker(threshold=3, open_for=60.0)
    early = [admitted(breaker, 0.0) for _ in range(5)]
    for admission in early[:3]:
        breaker.fail(admission, 1.0)
    probe = admitted(breaker, 61.0)
    breaker.succeed(early[3])  # admitted before the failures
    breaker.fail(early[4], 62.0)
    assert breaker.state(62.0) is CircuitState.HALF_OPEN
    breaker.succeed(probe)
    assert breaker.state(62.0) is CircuitState.CLOSED
