"""What can go wrong on the bus.

    BusError
    ├── BrokerUnavailable   no broker, wrong credentials, a full store, another server on the same store
    ├── MessageTooLarge     an event that does not fit into one message: split it
    └── NoAnswer            a request that nobody answered in time

`bus.message.UnreadableMessage` and `NotNow` stand apart: a handler says them of one message, never of the broker.
"""


class BusError(Exception):
    """Base of the errors of the bus. The text says what to do and never holds a secret."""


class BrokerUnavailable(BusError):
    """The broker cannot be reached or does not take what it is given. Passing, unless the text names a remedy."""


class MessageTooLarge(BusError):
    """An event is larger than the broker's max_payload."""


class NoAnswer(BusError):
    """Nobody answered a request in time, or the answer was an error or could not be read."""


class NotNow(Exception):
    """What the message asks for cannot be done for the time being, and not by any fault of it: it comes again after
    `delay` seconds, as often as it takes, and this counts for nothing."""

    def __init__(self, why: str, delay: float) -> None:
        super().__init__(why)
        self.delay = delay
