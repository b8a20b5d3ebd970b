"""The errors of the bus.

    BusError
    ├── BrokerUnavailable   no broker, full store, another server on the store
    │   └── BrokerRefuses   wrong credentials or limits: waiting does not help
    ├── MessageTooLarge     an event exceeds the maximum message size
    └── NoAnswer            no answer to a request in time

`bus.message.UnreadableMessage` and `NotNow` are separate: handlers raise them about one message, not about the broker.
"""


class BusError(Exception):
    """Base class. The message names the remedy and never contains a secret."""


class BrokerUnavailable(BusError):
    """The broker cannot be reached or rejects a message. Temporary, unless the message names a remedy."""


class BrokerRefuses(BrokerUnavailable):
    """The broker rejects the configuration: credentials, URL, size of the streams. A repetition fails in the same
    way."""


class MessageTooLarge(BusError):
    """An event exceeds the broker's max_payload."""


class NoAnswer(BusError):
    """A request was not answered in time, or the answer was an error or unreadable."""


class NotNow(Exception):
    """A message cannot be handled at present, for reasons outside of it: it is redelivered after `delay` seconds,
    without limit and without counting as a failure (docs/decisions/0016)."""

    def __init__(self, reason: str, delay: float) -> None:
        super().__init__(reason)
        self.delay = delay
