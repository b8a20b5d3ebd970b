"""The room in the stream EVENTS and what holds it. Pure.

Above half of max_bytes the stream is purged; above three quarters no new work is begun, so that the events of running
work, which end it and release what they hold, can always be stored (docs/decisions/0019).
"""

import math
from dataclasses import dataclass
from datetime import datetime

PURGE_ABOVE, NO_NEW_WORK_ABOVE, FULL_ABOVE = 0.5, 0.75, 0.95  # of max_bytes


@dataclass(frozen=True)
class Holder:
    """The durable with the lowest floor, which keeps the stream from being purged further. `open_since`: when its first
    open message was stored."""

    durable: str
    open_messages: int
    open_since: datetime | None
    declared: bool = True

    @property
    def service(self) -> str:
        return self.durable.partition("-")[0]

    def __str__(self) -> str:
        since = f" since {self.open_since:%Y-%m-%d %H:%M} UTC" if self.open_since else ""
        held = f"the durable {self.durable} holds it with {self.open_messages} open messages{since}"
        return f"{held}: {self.remedy}"

    @property
    def remedy(self) -> str:
        if self.declared:
            return f"start the {self.service} service, or see its health if it runs"
        return (
            f"no service reads it any more; it is removed after a day, or now by"
            f" `nats consumer rm EVENTS {self.durable}`"
        )


@dataclass(frozen=True)
class StreamRoom:
    """How far the stream EVENTS is filled, in bytes. `max_bytes` 0: without limit."""

    bytes: int = 0
    max_bytes: int = 0
    holder: Holder | None = None

    def above(self, share: float) -> bool:
        return self.bytes > share * self.max_bytes > 0

    def until(self, share: float) -> float:
        """Return how many bytes may be stored until it is filled to this share."""
        return share * self.max_bytes - self.bytes if self.max_bytes else math.inf

    @property
    def for_new_work(self) -> bool:
        return not self.above(NO_NEW_WORK_ABOVE)

    @property
    def full(self) -> bool:
        return self.above(FULL_ABOVE)

    def problem(self) -> str | None:
        """Return why new work cannot begin, with the remedy; None when it can."""
        if self.for_new_work:
            return None
        percent = round(100 * self.bytes / self.max_bytes)
        cause = str(self.holder) if self.holder else "raise [nats] events_max_bytes if this persists"
        return f"the event stream of the broker is {percent} % full, no new work begins; {cause}"

    def waiting_for(self) -> str | None:
        """Return the same without numbers, which change all the time."""
        if self.for_new_work:
            return None
        remedy = self.holder.remedy if self.holder else "raise [nats] events_max_bytes if this persists"
        return f"the event stream of the broker is almost full: {remedy}"
