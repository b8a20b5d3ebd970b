"""What goes wrong on purpose, for which requests, and how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from ytarchive.emulator.transport.request_log import REQUEST_KINDS


class Effect(StrEnum):
    """What a fault does to the answer."""

    STATUS = "status"  # an error status instead of the answer
    RESET = "reset"  # a connection reset after some bytes of the body
    TRUNCATE = "truncate"  # the connection ends orderly, but too early
    STALL = "stall"  # some bytes, then silence
    THROTTLE = "throttle"  # the body at `rate` bytes a second on each connection, as YouTube does
    DELAY = "delay"  # the answer begins `seconds` late


class FaultError(ValueError):
    """A description of a fault that cannot be used; the text says why."""


@dataclass(slots=True)
class Fault:
    """One fault.

    `kind` is a kind of request as in the log, or `*`; `video_id` None means every video; `itag` None every format.
    `after` is the number of body bytes sent before a reset, truncation or stall (None: half of them).
    `rate` is bytes a second; `seconds` is how long a delay or stall lasts.
    `times` is how many requests it hits before all is well again (None: until it is cleared).
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
            raise FaultError(f"no kind of request is called {self.kind!r}")
        if self.rate < 1:
            raise FaultError("rate must be at least 1 byte a second")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Fault:
        """Raises FaultError for unknown fields and unknown effects."""
        if unknown := set(data) - {f.name for f in fields(cls)}:
            raise FaultError(f"a fault has no field {', '.join(sorted(unknown))}")
        try:
            return cls(**data)
        except (TypeError, ValueError) as error:
            raise FaultError(str(error)) from error

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def hits(self, kind: str, video_id: str | None, itag: int | None) -> bool:
        return (
            self.times != 0
            and self.kind in ("*", kind)
            and self.video_id in (None, video_id)
            and self.itag in (None, itag)
        )


class Faults:
    """The faults in force; the first that fits a request is used (and used up, when it has `times`)."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._made = 0

    def add(self, fault: Fault) -> Fault:
        """Put it in force; it is given its `id`."""
        self._made += 1
        fault.id = self._made
        self._faults.append(fault)
        return fault

    def remove(self, fault_id: int) -> bool:
        before = len(self._faults)
        self._faults = [fault for fault in self._faults if fault.id != fault_id]
        return len(self._faults) < before

    def clear(self) -> None:
        self._faults.clear()

    def all(self) -> list[Fault]:
        return list(self._faults)

    def take(self, kind: str, video_id: str | None = None, itag: int | None = None) -> Fault | None:
        """The fault for this request, counted down; None when all is well."""
        for fault in self._faults:
            if fault.hits(kind, video_id, itag):
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None
