"""Subscriptions without a stream: core handlers, request handlers and tails, as callbacks and iterators."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import nats.errors
import structlog
from cachetools import LRUCache
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from structlog.contextvars import bound_contextvars

from bus.connection.nats_client import envelope_of, respond
from bus.handlers import CoreHandler, RequestHandler, handling_of
from bus.message import Envelope, Event, UnreadableMessage

log = structlog.get_logger("bus", logger_name="bus")

ERROR_HEADER = "Nats-Service-Error"  # as in the NATS services convention
_REMEMBERED = 1_000  # ids by which a tail recognizes a message that was published twice

E = TypeVar("E", bound=Event)
Callback = Callable[[Msg], Awaitable[None]]


def core_callback(kind: type[Event], handler: CoreHandler) -> Callback:
    """Return a callback that passes a core event to its handler. Exceptions are logged and not propagated."""

    async def handle(message: Msg) -> None:
        try:
            envelope, event = _read(message, kind)
            with bound_contextvars(trace_id=envelope.trace_id), handling_of(envelope):
                await handler(event)
        except UnreadableMessage as error:
            log.warning("unreadable_message", subject=message.subject, error=str(error))
        except Exception:  # the boundary between the bus and a service: whatever the handler raises
            log.exception("ear_failed", subject=message.subject)

    return handle


def request_callback(kind: type[Event], handler: RequestHandler) -> Callback:
    """Return a callback that answers a request with the JSON of the handler's model, or with an error header when the
    handler raises."""

    async def answer(message: Msg) -> None:
        try:
            envelope, event = _read(message, kind)
            with bound_contextvars(trace_id=envelope.trace_id), handling_of(envelope):
                body = (await handler(event)).model_dump_json().encode()
        except UnreadableMessage as error:
            log.warning("unreadable_message", subject=message.subject, error=str(error))
            await _reply(message, error=f"unreadable request: {error}")
        except Exception as error:  # the boundary between the bus and a service: whatever the handler raises
            log.exception("answer_failed", subject=message.subject)
            await _reply(message, error=type(error).__name__)
        else:
            await _reply(message, body)

    return answer


def _read(message: Msg, kind: type[E]) -> tuple[Envelope, E]:
    """Return the event of a message with its envelope. A message keeps the subject on which it was published, also when
    a consumer of JetStream delivers it to another. Raise UnreadableMessage."""
    if message.subject != kind.subject:
        raise UnreadableMessage(f"a message on {message.subject} was delivered to {kind.subject}")
    envelope = envelope_of(message)
    return envelope, kind.read(envelope)


async def _reply(message: Msg, body: bytes = b"", *, error: str | None = None) -> None:
    with contextlib.suppress(nats.errors.Error):  # the requester has a timeout
        await respond(message, body, {ERROR_HEADER: error[:500]} if error else None)


def cover(kinds: tuple[type[Event], ...]) -> str:
    """Return one subject pattern for all kinds: the broker keeps the order only within one subscription."""
    tokens = [kind.subject.split(".") for kind in kinds]
    if not tokens:
        raise TypeError("a tail needs at least one kind of event")
    if len({len(one) for one in tokens}) > 1:
        raise TypeError("subjects of different lengths: a pattern for both would match the inboxes of others too")
    return ".".join(column[0] if len(set(column)) == 1 else "*" for column in zip(*tokens, strict=True))


async def envelopes(subscription: Subscription, subjects: set[str]) -> AsyncIterator[Envelope]:
    """Yield the readable messages on `subjects`, each id once: a publish whose ack was late is sent again."""
    seen: LRUCache[str, None] = LRUCache(_REMEMBERED)
    async for message in subscription.messages:
        if message.subject not in subjects:
            continue
        try:
            envelope = envelope_of(message)
        except UnreadableMessage as error:
            log.debug("tail_skips", subject=message.subject, error=str(error))
            continue
        if envelope.id in seen:
            continue
        seen[envelope.id] = None
        yield envelope
