"""Events over NATS JetStream, independent of the services that use it.

A name is imported when it is first used: models of events need neither nats-py nor the broker.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bus.embedded.server import EmbeddedServer
    from bus.errors import BrokerUnavailable, BusError, MessageTooLarge, NoAnswer, NotNow
    from bus.handlers import Handlers, handling
    from bus.jetstream import Bus
    from bus.message import DeadLetter, Delivery, Envelope, Event, UnreadableMessage
    from bus.schema import BusSchema
    from bus.settings import BusSettings

__all__ = [
    "BrokerUnavailable",
    "Bus",
    "BusError",
    "BusSchema",
    "BusSettings",
    "DeadLetter",
    "Delivery",
    "EmbeddedServer",
    "Envelope",
    "Event",
    "Handlers",
    "MessageTooLarge",
    "NoAnswer",
    "NotNow",
    "UnreadableMessage",
    "handling",
]

_MODULES = {
    "bus.embedded.server": ("EmbeddedServer",),
    "bus.errors": ("BrokerUnavailable", "BusError", "MessageTooLarge", "NoAnswer", "NotNow"),
    "bus.handlers": ("Handlers", "handling"),
    "bus.jetstream": ("Bus",),
    "bus.message": ("DeadLetter", "Delivery", "Envelope", "Event", "UnreadableMessage"),
    "bus.schema": ("BusSchema",),
    "bus.settings": ("BusSettings",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
