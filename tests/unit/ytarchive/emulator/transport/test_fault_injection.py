"""Fault injection: which fault applies to a request, and validation."""

import pytest

from ytarchive.emulator.transport.fault_injection import Effect, Fault, FaultError, Faults


def test_faults_apply_in_order_and_expire() -> None:
    faults = Faults()
    once = faults.add(Fault("media", Effect.RESET, video_id="a", times=1))
    always = faults.add(Fault("*", Effect.THROTTLE, itag=137))

    assert faults.take("media", "b", 18) is None
    assert faults.take("media", "a", 137) is once
    assert faults.take("media", "a", 137) is always
    assert faults.take("watch", "a") is None
    assert faults.remove(always.id)
    assert not faults.remove(always.id)
    assert faults.take("media", "a", 137) is None


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "media", "effect": "odd"},
        {"kind": "media", "effect": "throttle", "rate": 0},
        {"kind": "medai", "effect": "reset"},
        {"kind": "x", "y": 1},
        {},
    ],
)
def test_an_invalid_fault_is_rejected(data: dict[str, object]) -> None:
    with pytest.raises(FaultError):
        Fault.from_json(data)
