"""The circuit breaker as a table of calls: what is admitted, and in which state it is afterwards."""

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


def test_failures_in_a_row_open_it() -> None:
    breaker = CircuitBreaker(threshold=3, open_for=60.0)
    for _ in range(2):
        breaker.fail(admitted(breaker, 0.0), 0.0)
    breaker.succeed(admitted(breaker, 0.0))
    for number in range(3):
        assert (breaker.state(0.0), breaker.failures) == (CircuitState.CLOSED, number)
        breaker.fail(admitted(breaker, 0.0), 0.0)
    assert breaker.state(0.0) is CircuitState.OPEN
    assert breaker.admit(59.9) is None


def test_one_probe_at_a_time_passes_when_its_time_is_over() -> None:
    breaker = opened()
    assert breaker.state(60.0) is CircuitState.HALF_OPEN
    admitted(breaker, 60.0)
    assert breaker.admit(60.0) is None


def test_a_probe_that_succeeds_closes_it() -> None:
    breaker = opened()
    breaker.succeed(admitted(breaker, 60.0))
    assert (breaker.state(60.0), breaker.failures) == (CircuitState.CLOSED, 0)


def test_a_probe_that_fails_opens_it_for_as_long_again() -> None:
    breaker = opened()
    breaker.fail(admitted(breaker, 70.0), 75.0)
    assert breaker.state(134.9) is CircuitState.OPEN
    assert breaker.state(135.0) is CircuitState.HALF_OPEN


def test_a_probe_without_an_outcome_makes_room_for_the_next() -> None:
    breaker = opened()
    breaker.cancel(admitted(breaker, 60.0))
    assert breaker.state(60.0) is CircuitState.HALF_OPEN
    admitted(breaker, 60.0)


def test_the_outcome_of_a_call_from_before_does_not_count() -> None:
    breaker = CircuitBreaker(threshold=3, open_for=60.0)
    early = [admitted(breaker, 0.0) for _ in range(5)]
    for admission in early[:3]:
        breaker.fail(admission, 1.0)
    probe = admitted(breaker, 61.0)
    breaker.succeed(early[3])  # it was sent before the failures
    breaker.fail(early[4], 62.0)
    assert breaker.state(62.0) is CircuitState.HALF_OPEN
    breaker.succeed(probe)
    assert breaker.state(62.0) is CircuitState.CLOSED
