"""Core subscriptions: ears, answers and tails, as callbacks and iterators over NATS messages."""

import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from structlog.contextvars import bound_contextvars

from bus.handlers import Answer, Ear, handling_of
from bus.message import Envelope, Event, UnreadableMessage

log = structlog.get_logger("bus", logger_name="bus")

ERROR_HEADER = "Nats-Service-Error"  # as in the NATS services convention
_REMEMBERED = 1_000  # ids by which a tail knows a message that was sent twice

Callback = Callable[[Msg], Awaitable[None]]


def hearing(kind: type[Event], ear: Ear) -> Callback:
    """Calls an ear. Whatever it raises is logged and ends there: nothing is kept of a core event."""

    async def hear(message: Msg) -> None:
        try:
            envelope = Envelope.from_bytes(message.data, message.subject)
            event = kind.read(envelope)
            with bound_contextvars(trace_id=envelope.trace_id), handling_of(envelope):
                await ear(event)
        except UnreadableMessage as error:
            log.warning("unreadable_message", subject=message.subject, error=str(error))
        except Exception:  # the boundary between the bus and a service: whatever it raises
            log.exception("ear_failed", subject=message.subject)

    return hear


def answering(kind: type[Event], answer: Answer) -> Callback:
    """Calls an answer and responds with its model as JSON, or with an error header when it raises."""

    async def respond(message: Msg) -> None:
        try:
            envelope = Envelope.from_bytes(message.data, message.subject)
            event = kind.read(envelope)
            with bound_contextvars(trace_id=envelope.trace_id), handling_of(envelope):
                body = (await answer(event)).model_dump_json().encode()
        except UnreadableMessage as error:
            log.warning("unreadable_message", subject=message.subject, error=str(error))
            await _reply(message, error=f"unreadable request: {error}")
        except Exception as error:  # the boundary between the bus and a service: whatever it raises
            log.exception("answer_failed", subject=message.subject)
            await _reply(message, error=type(error).__name__)
        else:
            await _reply(message, body)

    return respond


async def _reply(message: Msg, body: bytes = b"", *, error: str | None = None) -> None:
    with contextlib.suppress(nats.errors.Error):  # who asked has a timeout
        headers = {ERROR_HEADER: error[:500]} if error else None
        await message._client.publish(message.reply, body, headers=headers)


def cover(kinds: tuple[type[Event], ...]) -> str:
    """One subject pattern for all kinds: only within one subscription is the broker's order kept."""
    tokens = [kind.subject.split(".") for kind in kinds]
    if not tokens:
        raise TypeError("a tail needs at least one kind of event")
    if len({len(one) for one in tokens}) > 1:
        raise TypeError("subjects of different lengths: a pattern over both would hear the inboxes of others too")
    return ".".join(column[0] if len(set(column)) == 1 else "*" for column in zip(*tokens, strict=True))


async def envelopes(subscription: Subscription, subjects: set[str]) -> AsyncIterator[Envelope]:
    """The readable messages on `subjects`, each id once: a publish whose ack was late is sent again."""
    seen: OrderedDict[str, None] = OrderedDict()
    async for message in subscription.messages:
        if message.subject not in subjects:
            continue
        try:
            envelope = Envelope.from_bytes(message.data, message.subject)
        except UnreadableMessage as error:
            log.debug("tail_skips", subject=message.subject, error=str(error))
            continue
        if envelope.id in seen:
            continue
        seen[envelope.id] = None
        if len(seen) > _REMEMBERED:
            seen.popitem(last=False)
        yield envelope
