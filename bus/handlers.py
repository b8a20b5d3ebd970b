"""The table of what a service does on which event.

    handlers = Handlers("storage")

    @handlers.on(DownloadCompleted, slots=4)
    async def take_in(event: DownloadCompleted, archive: ArchiveStore) -> AsyncIterator[Event]:
        files = await archive.take_in(event)
        yield VideoArchived(...)

A handler is an async generator from one event to the events that it causes. The bus wraps and publishes what is
yielded, awaits the stream's ack, and only then acks the input; so a handler may see an event again and must be
idempotent. One that causes nothing may be a plain `async def` that returns None. Whatever a handler, `slots` or `ready`
takes beside the event is injected by its annotated type when the bus begins to serve the table (bus.injection).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TypeVar

from pydantic import BaseModel

from bus.injection import inject
from bus.message import Delivery, Envelope, Event

# the first argument is the event (of an inbox: the envelopes), what follows is injected
Reaction = Callable[..., AsyncIterator[Event] | Awaitable[None]]
Inbox = Callable[..., Awaitable[None]]
CoreHandler = Callable[..., Awaitable[None]]
RequestHandler = Callable[..., Awaitable[BaseModel]]
Slots = Callable[..., int]
Ready = Callable[..., Awaitable[None]]
_R = TypeVar("_R", bound=Reaction)

_handling: ContextVar[Envelope] = ContextVar("handling")


def handling() -> Envelope:
    """Return the envelope that is being handled in this task. Raise LookupError outside a handler."""
    return _handling.get()


@contextmanager
def handling_of(envelope: Envelope) -> Iterator[None]:
    """Make `handling()` return `envelope` inside the block."""
    before = _handling.set(envelope)
    try:
        yield
    finally:
        _handling.reset(before)


@dataclass(frozen=True)
class Consumption:
    """One durable pull consumer. `handler` or `inbox` is set, never both."""

    events: tuple[type[Event], ...]
    durable: str
    slots: Slots  # how many messages at once (of an inbox: the size of a batch)
    ready: Ready | None = None  # awaited before each fetch, so that a blocked worker does not pull
    handler: Reaction | None = None
    inbox: Inbox | None = None

    def bind(self, parts: Sequence[object]) -> "Consumption":
        return replace(
            self,
            slots=inject(self.slots, parts, 0),
            ready=inject(self.ready, parts, 0) if self.ready else None,
            handler=inject(self.handler, parts, 1) if self.handler else None,
            inbox=inject(self.inbox, parts, 1) if self.inbox else None,
        )


@dataclass
class Handlers:
    """The events that one service consumes, subscribes to and answers; checks that it publishes only its own
    subjects."""

    publisher: str
    consumptions: list[Consumption] = field(default_factory=list)
    core: dict[type[Event], CoreHandler] = field(default_factory=dict)
    requests: dict[type[Event], RequestHandler] = field(default_factory=dict)
    answered_by_all: set[type[Event]] = field(default_factory=set)

    def on(self, kind: type[Event], *, slots: int | Slots = 1, ready: Ready | None = None) -> Callable[[_R], _R]:
        """Handle a stream event, up to `slots` at once. The instances of a service share the messages."""
        self._expect(kind, Delivery.STREAM, Delivery.LOG)

        def add(handler: _R) -> _R:
            durable = f"{self.publisher}-{kind.subject.replace('.', '_')}"
            self._add(Consumption((kind,), durable, _count(slots), ready, handler=handler))
            return handler

        return add

    def inbox(
        self, *kinds: type[Event], name: str = "inbox", size: int = 100, ready: Ready | None = None
    ) -> Callable[[Inbox], Inbox]:
        """Handle several stream events in order, up to `size` in one call (in one transaction, for example).

        The handler gets valid envelopes and publishes by itself. When it raises, it is called again with each message
        alone, so that only the failing one is counted; UnreadableMessage dead-letters that one at once.
        """
        for kind in kinds:
            self._expect(kind, Delivery.STREAM, Delivery.LOG)
        if len({kind.delivery for kind in kinds}) != 1:
            raise TypeError("an inbox reads one stream: declare one inbox for events of EVENTS and one for LOGS")

        def add(handler: Inbox) -> Inbox:
            self._add(Consumption(kinds, f"{self.publisher}-{name}", _count(size), ready, inbox=handler))
            return handler

        return add

    def subscribe(self, kind: type[Event]) -> Callable[[CoreHandler], CoreHandler]:
        """Handle a core event. Every connected instance receives it."""
        self._expect(kind, Delivery.CORE)

        def add(handler: CoreHandler) -> CoreHandler:
            self._once(kind, self.core)
            self.core[kind] = handler
            return handler

        return add

    def answer(self, kind: type[Event], *, every_instance: bool = False) -> Callable[[RequestHandler], RequestHandler]:
        """Answer a request. The instances of a service share the requests; with `every_instance` each answers, and the
        requester receives the first answer."""
        self._expect(kind, Delivery.REQUEST)

        def add(handler: RequestHandler) -> RequestHandler:
            self._once(kind, self.requests)
            if every_instance:
                self.answered_by_all.add(kind)
            self.requests[kind] = handler
            return handler

        return add

    def bind(self, *parts: object) -> "Handlers":
        """The same table with everything injected from `parts`. TypeError names what is missing."""
        return replace(
            self,
            consumptions=[consumption.bind(parts) for consumption in self.consumptions],
            core={kind: inject(handler, parts, 1) for kind, handler in self.core.items()},
            requests={kind: inject(handler, parts, 1) for kind, handler in self.requests.items()},
        )

    def check_publishes(self, event: Event) -> None:
        """Raise TypeError if this service may not publish the subject (a mistake in our code, not in data)."""
        if self.publisher not in type(event).publishers:
            raise TypeError(f"{self.publisher} does not publish {event.subject}")

    def _add(self, consumption: Consumption) -> None:
        if any(other.durable == consumption.durable for other in self.consumptions):
            raise TypeError(f"{consumption.durable} has a handler already: they would share its messages")
        self.consumptions.append(consumption)

    @staticmethod
    def _once(kind: type[Event], table: Container[type[Event]]) -> None:
        if kind in table:
            raise TypeError(f"{kind.subject} has a handler already")

    @staticmethod
    def _expect(kind: type[Event], *allowed: Delivery) -> None:
        if kind.delivery not in allowed:
            raise TypeError(f"{kind.subject} is delivered as {kind.delivery}, this handler takes {allowed}")


def _count(slots: int | Slots) -> Slots:
    return slots if callable(slots) else lambda: slots
