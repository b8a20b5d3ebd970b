"""Fault injection: which requests fail, how, and how often."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

from ytarchive.emulator.transport.request_log import REQUEST_KINDS


class Effect(StrEnum):
    """Effect of a fault on the response."""

    STATUS = "status"  # an error status replaces the response
    RESET = "reset"  # the connection is reset (RST) after some bytes of the body
    TRUNCATE = "truncate"  # the connection is closed (FIN) before the body is complete
    STALL = "stall"  # nothing more is sent after some bytes of the body
    THROTTLE = "throttle"  # the body is sent at `rate` bytes/s per connection, as YouTube does
    DELAY = "delay"  # the response starts after `seconds`


class FaultError(ValueError):
    """The description of a fault is invalid. The message contains the reason."""


@dataclass(slots=True)
class Fault:
    """One fault.

    `kind` is one of REQUEST_KINDS or `*`; `video_id` None matches every video and `itag` None every format.
    `retry_after` is the value of the Retry-After header, in seconds, that is sent with `status`.
    `after` is the number of body bytes sent before a reset, truncation or stall (None: half of the body).
    `rate` is in bytes per second; `seconds` is the duration of a delay or stall.
    `times` is the number of requests that the fault applies to (None: unlimited, until it is removed).
    """

    kind: str
    effect: Effect
    video_id: str | None = None
    itag: int | None = None
    status: int = 503
    retry_after: int | None = None
    after: int | None = None
    rate: int = 100_000
    seconds: float = 3600.0
    times: int | None = None
    id: int = 0

    def __post_init__(self) -> None:
        self.effect = Effect(self.effect)
        if self.kind != "*" and self.kind not in REQUEST_KINDS:
            raise FaultError(f"unknown kind of request: {self.kind!r}")
        if self.rate < 1:
            raise FaultError("rate must be at least 1 byte per second")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Create a fault from JSON. Raise FaultError for unknown fields and invalid values."""
        if unknown := set(data) - {f.name for f in fields(cls)}:
            raise FaultError(f"a fault has no field {', '.join(sorted(unknown))}")
        try:
            return cls(**data)
        except (TypeError, ValueError) as error:
            raise FaultError(str(error)) from error

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def matches(self, kind: str, video_id: str | None, itag: int | None) -> bool:
        return (
            self.times != 0
            and self.kind in ("*", kind)
            and self.video_id in (None, video_id)
            and self.itag in (None, itag)
        )


class Faults:
    """The active faults, in the order in which they were added."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._last_id = 0

    def add(self, fault: Fault) -> Fault:
        """Activate a fault and set its `id`."""
        self._last_id += 1
        fault.id = self._last_id
        self._faults.append(fault)
        return fault

    def remove(self, fault_id: int) -> bool:
        """Remove a fault. Return False when there is no fault with this id."""
        before = len(self._faults)
        self._faults = [fault for fault in self._faults if fault.id != fault_id]
        return len(self._faults) < before

    def clear(self) -> None:
        self._faults.clear()

    def all(self) -> list[Fault]:
        return list(self._faults)

    def take(self, kind: str, video_id: str | None = None, itag: int | None = None) -> Fault | None:
        """Return the first fault that matches the request and count its `times` down; None when none matches."""
        for fault in self._faults:
            if fault.matches(kind, video_id, itag):
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None
