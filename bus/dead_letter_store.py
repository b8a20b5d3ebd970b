"""The dead letters that the stream keeps: look at them, send their messages again, drop them."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

import nats.errors
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, Header
from nats.js.errors import APIError

from bus.connection.connection_manager import API_TIMEOUT, reason
from bus.dead_letter import shown
from bus.errors import BusError
from bus.jetstream import Bus
from bus.message import DeadLettered, Delivery, Envelope, Event, UnreadableMessage, event_types
from bus.streams import EVENTS, stream_of

_BATCH = 100
_NO_SUCH_MESSAGE = 10043
_IDLE = 30.0  # seconds after which the broker forgets a reader that died


class NotReplayable(BusError):
    """The message of a letter is no longer there, and the letter does not hold the whole of it."""


@dataclass(frozen=True)
class Letter:
    """A dead letter as the stream keeps it. `number` is its place there: short, and never given twice."""

    number: int
    at: datetime
    trace_id: str
    said: DeadLettered


class Letterbox:
    """All methods raise BusError when the broker does not answer."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def letters(self) -> AsyncGenerator[Letter, None]:
        """All that there are, the oldest first. What is no letter, only on its subject, is left out."""
        async with aclosing(self._read(EVENTS, DeadLettered.subject, 1)) as messages:
            async for number, raw in messages:
                if letter := _opened(number, raw):
                    yield letter

    async def find(self, number: int) -> Letter | None:
        raw = await self._at(EVENTS, DeadLettered.subject, number)
        return None if raw is None else _opened(number, raw)

    async def message(self, letter: Letter) -> bytes | None:
        """The message that the letter is about, as it was sent; None if there is no way back to it."""
        said = letter.said
        kind = _kinds().get(said.type)
        if kind is None:  # a letter that a stranger wrote must not make us send what is none of ours
            return None
        raw = await self._at(stream_of(kind), said.type, said.sequence)
        if raw is not None and shown(raw) == said.payload:  # else a store that was lost gave the number anew
            return raw
        return said.payload.encode() if said.whole else None

    async def replay(self, letter: Letter) -> None:
        """Send the message again: all its consumers get it, for whom it is new or, since they are idempotent, nothing.
        Raises NotReplayable."""
        raw = await self.message(letter)
        if raw is None:
            raise NotReplayable(
                f"the message of letter {letter.number} is no longer in the stream, and the letter does not hold"
                " the whole of it"
            )
        kind = _kinds()[letter.said.type]
        headers = {Header.MSG_ID.value: str(uuid4())}  # under its own id the duplicate window would swallow it
        try:
            await self._bus.js.publish(kind.subject, raw, timeout=API_TIMEOUT, stream=stream_of(kind), headers=headers)
        except (nats.errors.Error, TimeoutError) as error:
            raise BusError(f"{kind.subject} is not stored: {reason(error)}") from error

    async def drop(self, letter: Letter) -> None:
        """Forget a letter. One that is gone already is no error."""
        try:
            await self._bus.js.delete_msg(EVENTS, letter.number)
        except APIError as error:
            if error.err_code != _NO_SUCH_MESSAGE:
                raise BusError(f"letter {letter.number} is not dropped: {reason(error)}") from error
        except (nats.errors.Error, TimeoutError) as error:
            raise BusError(f"letter {letter.number} is not dropped: {reason(error)}") from error

    async def _at(self, stream: str, subject: str, sequence: int) -> bytes | None:
        """The message at this place, if it is there and on this subject."""
        async with aclosing(self._read(stream, subject, sequence, at_once=1)) as messages:
            async for found, raw in messages:
                return raw if found == sequence else None
        return None

    async def _read(
        self, stream: str, subject: str, start: int, *, at_once: int = _BATCH
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """Sequence and bytes of the messages on a subject, from a place in the stream on to the last there is now."""
        try:
            async with self._reader(stream, subject, start) as reader:
                left = (await reader.consumer_info()).num_pending or 0
                while left > 0:
                    for message in await reader.fetch(min(left, at_once), timeout=API_TIMEOUT):
                        left -= 1
                        yield message.metadata.sequence.stream, message.data
        except (nats.errors.Error, TimeoutError) as error:
            raise BusError(f"{subject} cannot be read: {reason(error)}") from error

    @asynccontextmanager
    async def _reader(self, stream: str, subject: str, start: int) -> AsyncIterator[JetStreamContext.PullSubscription]:
        config = ConsumerConfig(
            ack_policy=AckPolicy.NONE,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=max(1, start),
            inactive_threshold=_IDLE,
            mem_storage=True,
            num_replicas=1,
        )
        js = self._bus.js
        reader = await js.pull_subscribe(subject, stream=stream, config=config)
        name = (await reader.consumer_info()).name
        try:
            yield reader
        finally:
            await reader.unsubscribe()
            await js.delete_consumer(stream, name)


def _kinds() -> dict[str, type[Event]]:
    return {kind.subject: kind for kind in event_types() if kind.delivery in {Delivery.STREAM, Delivery.LOG}}


def _opened(number: int, raw: bytes) -> Letter | None:
    try:
        envelope = Envelope.from_bytes(raw, DeadLettered.subject)
        return Letter(number, envelope.timestamp, envelope.trace_id, DeadLettered.read(envelope))
    except UnreadableMessage:
        return None
