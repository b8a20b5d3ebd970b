"""The messages that a consumer is handling, and their acknowledgement."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

import nats.errors
from nats.aio.msg import Msg

from bus.message import Event


@dataclass
class InFlightMessage:
    """A delivered message that is not acknowledged yet. If the stream was recreated, its ack subject may address
    another message; such a message is `stale` and must not be acked."""

    message: Msg
    stale: bool = False
    facts: dict[str, Event] = field(default_factory=dict)  # by id: what its handler has yielded

    @property
    def sequence(self) -> int:
        """Its position in the stream."""
        return self.message.metadata.sequence.stream


class InFlight:
    """All in-flight messages of one consumer, and how often handlers raised on each."""

    def __init__(self, online: asyncio.Event) -> None:
        self._online = online
        self._messages: dict[int, InFlightMessage] = {}  # by sequence
        self._raised: Counter[int] = Counter()  # by sequence: exceptions, not deliveries

    def add(self, messages: Iterable[Msg]) -> list[InFlightMessage]:
        """Register delivered messages and return those to handle. One that is redelivered while its handler runs is
        not handled twice; the ack goes to its latest delivery."""
        fresh = []
        for message in messages:
            new = InFlightMessage(message)
            known = self._messages.setdefault(new.sequence, new)
            if known is new:
                fresh.append(new)
            else:
                known.message = message
        return fresh

    def count_exception(self, in_flight: InFlightMessage) -> int:
        """Count an exception of the handler. Return the number of exceptions on this message so far."""
        if in_flight.stale:
            return 0
        self._raised[in_flight.sequence] += 1
        return self._raised[in_flight.sequence]

    def invalidate(self) -> None:
        """Mark all messages as stale: the stream was recreated, and its sequences start again."""
        self._raised.clear()
        for in_flight in self._messages.values():
            in_flight.stale = True
        self._messages.clear()

    async def ack(self, in_flight: InFlightMessage) -> None:
        await self._settle(in_flight, Msg.ack)
        self._raised.pop(in_flight.sequence, None)

    async def term(self, in_flight: InFlightMessage) -> None:
        """Terminate: the message is not delivered again."""
        await self._settle(in_flight, Msg.term)
        self._raised.pop(in_flight.sequence, None)

    async def nak(self, in_flight: InFlightMessage, delay: float) -> None:
        """Negatively acknowledge: any consumer instance may receive the message again after `delay` seconds."""
        await self._settle(in_flight, lambda message: message.nak(delay=delay))

    async def nak_all(self) -> None:
        """Negatively acknowledge all messages, without delay. Without a broker they are redelivered after ack_wait."""
        for in_flight in list(self._messages.values()):
            if self._online.is_set():
                await self._settle(in_flight, Msg.nak)

    async def extend_deadlines(self, period: float) -> None:
        """Report all messages as in progress every `period` seconds, until cancelled."""
        while True:
            await asyncio.sleep(period)
            for in_flight in list(self._messages.values()):
                if self._online.is_set():
                    with contextlib.suppress(nats.errors.Error):
                        await in_flight.message.in_progress()

    async def _settle(self, in_flight: InFlightMessage, how: Callable[[Msg], Coroutine[Any, Any, None]]) -> None:
        """Answer the broker once it is certain that its stream is the one that the message came from."""
        await self._online.wait()
        if in_flight.stale:
            return
        self._messages.pop(in_flight.sequence, None)
        with contextlib.suppress(nats.errors.Error):  # if the answer is lost the message is redelivered
            await how(in_flight.message)
