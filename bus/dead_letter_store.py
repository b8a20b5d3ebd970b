"""The dead letters in the stream: list them, replay their messages, drop them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from uuid import uuid4

import nats.errors
from nats.js.api import Header
from nats.js.errors import APIError

from bus.connection.connection_manager import API_TIMEOUT, reason
from bus.dead_letter import masked_payload
from bus.errors import BusError
from bus.jetstream import Bus
from bus.message import DeadLetter, Envelope, UnreadableMessage
from bus.streams.configuration import EVENTS, stream_of

D = TypeVar("D", bound=DeadLetter)

_NO_SUCH_MESSAGE = 10043


class NotReplayable(BusError):
    """The message is no longer in the stream, and its dead letter does not contain all of it."""


@dataclass(frozen=True)
class StoredDeadLetter(Generic[D]):
    """A dead letter in the stream. `number` is its sequence there, which is short and unique."""

    number: int
    at: datetime
    trace_id: str
    event: D


class DeadLetterStore(Generic[D]):
    """All methods raise BusError when the broker does not answer."""

    def __init__(self, bus: Bus, kind: type[D]) -> None:
        """`kind`: the event class of the dead letters, as in the schema of the bus."""
        self._bus = bus
        self._kind = kind

    async def letters(self) -> AsyncGenerator[StoredDeadLetter[D], None]:
        """Yield all dead letters, oldest first. Other messages on their subject are skipped."""
        async with aclosing(self._read(EVENTS, self._kind.subject)) as messages:
            async for number, raw in messages:
                if letter := self._opened(number, raw):
                    yield letter

    async def find(self, number: int) -> StoredDeadLetter[D] | None:
        raw = await self._at(EVENTS, self._kind.subject, number)
        return None if raw is None else self._opened(number, raw)

    async def message(self, letter: StoredDeadLetter[D]) -> bytes | None:
        """Return the message as it was sent; None when it can no longer be obtained."""
        event = letter.event
        kind = self._bus.schema.stored.get(event.type)
        if kind is None:  # a forged dead letter must not make us send messages that are not ours
            return None
        raw = await self._at(stream_of(kind), event.type, event.sequence)
        # a recreated stream may have another message at this sequence
        if raw is not None and masked_payload(raw, self._bus.schema.mask) == event.payload:
            return raw
        return event.payload.encode() if event.whole else None

    async def replay(self, letter: StoredDeadLetter[D]) -> None:
        """Publish the message again. All its consumers receive it; those that have handled it before ignore it, because
        they are idempotent. Raise NotReplayable."""
        raw = await self.message(letter)
        if raw is None:
            raise NotReplayable(
                f"the message of dead letter {letter.number} is no longer in the stream, and the dead letter does not"
                " contain all of it"
            )
        kind = self._bus.schema.stored[letter.event.type]
        headers = {Header.MSG_ID.value: str(uuid4())}  # under its own id the duplicate window would drop it
        try:
            await self._bus.js.publish(kind.subject, raw, timeout=API_TIMEOUT, stream=stream_of(kind), headers=headers)
        except (nats.errors.Error, TimeoutError) as error:
            raise BusError(f"{kind.subject} is not stored: {reason(error)}") from error

    async def drop(self, letter: StoredDeadLetter[D]) -> None:
        """Remove a dead letter. It is no error if it was removed already."""
        try:
            await self._bus.js.delete_msg(EVENTS, letter.number)
        except APIError as error:
            if error.err_code != _NO_SUCH_MESSAGE:
                raise BusError(f"dead letter {letter.number} is not dropped: {reason(error)}") from error
        except (nats.errors.Error, TimeoutError) as error:
            raise BusError(f"dead letter {letter.number} is not dropped: {reason(error)}") from error

    async def _at(self, stream: str, subject: str, sequence: int) -> bytes | None:
        """Return the message at this sequence, if it exists and is on this subject."""
        async with aclosing(self._read(stream, subject, sequence)) as messages:
            async for found, raw in messages:
                return raw if found == sequence else None
        return None

    async def _read(self, stream: str, subject: str, start: int = 1) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield sequence and bytes of the messages on a subject, from a sequence to the current last one."""
        try:
            async for message in self._bus.messages(stream, subject, start):
                yield message
        except (nats.errors.Error, TimeoutError) as error:
            raise BusError(f"{subject} cannot be read: {reason(error)}") from error

    def _opened(self, number: int, raw: bytes) -> StoredDeadLetter[D] | None:
        try:
            envelope = Envelope.from_bytes(raw, self._kind.subject)
            event = self._kind.read(envelope)
        except UnreadableMessage:
            return None
        return StoredDeadLetter(number, envelope.timestamp, envelope.trace_id, event)
