"""Events over NATS JetStream, independent of the services that use it."""

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
