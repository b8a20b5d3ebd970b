"""The messages that a consumer works on, and what the broker is told about them."""

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
class Hand:
    """A message in hand. After the store was lost its ack would hit another message: then it is `stale`."""

    message: Msg
    stale: bool = False
    facts: dict[str, Event] = field(default_factory=dict)  # by id: what its handler has yielded

    @property
    def sequence(self) -> int:
        """Its place in the stream."""
        return self.message.metadata.sequence.stream


class Hands:
    """All messages of one consumer that are in hand, and how often handlers raised on them."""

    def __init__(self, online: asyncio.Event) -> None:
        self._online = online
        self._held: dict[int, Hand] = {}  # by sequence
        self._raised: Counter[int] = Counter()  # by sequence: exceptions, not deliveries

    def take(self, messages: Iterable[Msg]) -> list[Hand]:
        """Take messages in hand. One that came again while we work on it is not handled twice; its newest delivery
        is the one to ack."""
        fresh = []
        for message in messages:
            hand = Hand(message)
            known = self._held.setdefault(hand.sequence, hand)
            if known is hand:
                fresh.append(hand)
            else:
                known.message = message
        return fresh

    def raised(self, hand: Hand) -> int:
        """Count an exception. Returns how many there were on this message."""
        if hand.stale:
            return 0
        self._raised[hand.sequence] += 1
        return self._raised[hand.sequence]

    def forget(self) -> None:
        """The store was lost: sequences begin again, so what is known by sequence is void."""
        self._raised.clear()
        for hand in self._held.values():
            hand.stale = True
        self._held.clear()

    async def ack(self, hand: Hand) -> None:
        await self._settle(hand, Msg.ack)
        self._raised.pop(hand.sequence, None)

    async def term(self, hand: Hand) -> None:
        """Never again."""
        await self._settle(hand, Msg.term)
        self._raised.pop(hand.sequence, None)

    async def put_back(self, hand: Hand, delay: float) -> None:
        """Again, to whom it may concern, after `delay` seconds."""
        await self._settle(hand, lambda message: message.nak(delay=delay))

    async def put_back_all(self) -> None:
        """At once. While the broker is away ack_wait does it."""
        for hand in list(self._held.values()):
            if self._online.is_set():
                await self._settle(hand, Msg.nak)

    async def keep_alive(self, period: float) -> None:
        """Tell the broker every `period` seconds that we are at work, until cancelled."""
        while True:
            await asyncio.sleep(period)
            for hand in list(self._held.values()):
                if self._online.is_set():
                    with contextlib.suppress(nats.errors.Error):
                        await hand.message.in_progress()

    async def _settle(self, hand: Hand, how: Callable[[Msg], Coroutine[Any, Any, None]]) -> None:
        """Answer the broker: not before its store is known to be the one that the message came from."""
        await self._online.wait()
        if hand.stale:
            return
        self._held.pop(hand.sequence, None)
        with contextlib.suppress(nats.errors.Error):  # a lost answer means that the message comes again
            await how(hand.message)
