"""What an application brings to the bus: its events, and how to treat what the bus itself cannot judge."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bus.message import DeadLetter, Delivery, Event


def _no_fields(_data: Mapping[str, Any]) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class BusSchema:
    """`events` decide which subjects the streams keep.

    `dead_letter` is the event published for a message that could not be handled; `dead_letter_fields` reads its
    additional fields from the `data` of that message, which may hold anything; `mask` removes secrets from its text.
    Unread messages of consumers whose durable name begins with `expendable` do not keep the stream GC from purging.
    `stream_owner` is the service that alone changes the limits and subjects of existing streams and purges them; None:
    every program does.
    """

    events: tuple[type[Event], ...]
    dead_letter: type[DeadLetter]
    dead_letter_fields: Callable[[Mapping[str, Any]], dict[str, Any]] = _no_fields
    mask: Callable[[str], str] = str
    expendable: str | None = None
    stream_owner: str | None = None

    @cached_property
    def stored(self) -> Mapping[str, type[Event]]:
        """The events that a stream keeps, by subject."""
        return {kind.subject: kind for kind in self.events if kind.delivery in {Delivery.STREAM, Delivery.LOG}}
