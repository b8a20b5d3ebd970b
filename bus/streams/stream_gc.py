"""Garbage collection of the stream EVENTS: purge what all consumers have acknowledged. A stream with limits retention
keeps acknowledged messages otherwise (docs/decisions/0017)."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import nats.errors
import structlog
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, StreamInfo

from bus.handlers import Handlers
from bus.schema import BusSchema
from bus.streams.configuration import EVENTS
from bus.streams.durable_floor import DurableFloor, durable_floor, known_floor
from bus.streams.durables import UndeclaredDurables, declared_by
from bus.streams.stream_room import PURGE_ABOVE, Holder, StreamRoom
from bus.tasks import sleep_to_next

log = structlog.get_logger("bus", logger_name="bus")

INTERVAL = 2.0  # seconds between two looks at the size of the stream
_IDLE_INTERVAL, _FAR = 10.0, 1024**3  # while it would have to grow by so many bytes until anything is to be done
_COLLECT_EVERY = 30.0  # seconds between two purges, while there is room for new work
_DURABLES_EVERY = 600.0  # seconds between two looks at the durables, while the stream is less than half full


def purge_up_to(stream: StreamInfo, lowest: int | None) -> int | None:
    """Return the first sequence to keep, or None when nothing is to be purged. `lowest` is the lowest floor of the
    durables. Nothing is purged below half of max_bytes."""
    if not room_of(stream).above(PURGE_ABOVE) or lowest is None:
        return None
    return lowest + 1 if lowest >= stream.state.first_seq else None


def room_of(stream: StreamInfo) -> StreamRoom:
    return StreamRoom(stream.state.bytes, max(0, stream.config.max_bytes or 0))


def counted(consumers: Iterable[ConsumerInfo], expendable: str | None) -> list[ConsumerInfo]:
    """Return the consumers whose unread messages are kept: all but those whose name begins with `expendable`."""
    return [one for one in consumers if expendable is None or not one.name.startswith(expendable)]


async def lowest_floor(
    js: JetStreamContext, stream: StreamInfo, consumers: Iterable[ConsumerInfo]
) -> tuple[ConsumerInfo, DurableFloor] | None:
    """Return the consumer with the lowest floor, None without any. `stream` was read before them."""
    lowest: tuple[ConsumerInfo, DurableFloor] | None = None
    for one in sorted(consumers, key=known_floor):
        if lowest is not None and known_floor(one) >= lowest[1].sequence:
            break  # the floors of the rest are not lower: nobody needs to ask for them
        floor = await durable_floor(js, EVENTS, one, stream.state.last_seq)
        if lowest is None or floor.sequence < lowest[1].sequence:
            lowest = one, floor
    return lowest


class StreamGC:
    """Knows how much room the stream has and what holds it, and purges it if it may."""

    def __init__(self, schema: BusSchema, jetstream: Callable[[], JetStreamContext], *, purges: bool) -> None:
        """`jetstream` returns that of the present connection. `purges`: whether this process purges; the others only
        look. One is enough: it cannot purge further than its own durables have read."""
        self._schema = schema
        self._jetstream = jetstream
        self.purges = purges
        self._tables: list[Handlers] = []
        self._collected = self._looked_at_durables = -_DURABLES_EVERY  # monotonic seconds
        self._collecting = asyncio.Lock()
        self._reported = ""  # the durable that was last reported to hold the stream
        self.room = StreamRoom()  # as last seen
        self.undeclared = UndeclaredDurables()

    def serves(self, handlers: Handlers) -> None:
        """Add a table of handlers that this process serves."""
        self._tables.append(handlers)

    async def look(self, stream: StreamInfo | None = None) -> StreamRoom:
        """Return the room, after a purge if little is left. `stream`: its state, if it was just read. Raise the errors
        of nats-py."""
        js = self._jetstream()
        stream = stream or await js.stream_info(EVENTS)
        seen = room_of(stream)
        now = time.monotonic()
        due = now - self._collected > _COLLECT_EVERY
        if not seen.for_new_work or (seen.above(PURGE_ABOVE) and due):
            await self.collect()
        else:
            self.room = seen
            if now - self._looked_at_durables > _DURABLES_EVERY:
                await self._judge(js, stream, await js.consumers_info(EVENTS))
        return self.room

    async def collect(self) -> None:
        """Look at the durables, and purge once. Raise the errors of nats-py."""
        js = self._jetstream()
        async with self._collecting:
            self._collected = time.monotonic()
            stream = await js.stream_info(EVENTS)
            room = room_of(stream)
            consumers = await js.consumers_info(EVENTS)
            if len(consumers) < stream.state.consumer_count:
                self.room = room
                log.warning("janitor_could_not_look", error="the broker did not report all consumers")
                return
            await self._judge(js, stream, consumers)
            lowest = await lowest_floor(js, stream, counted(consumers, self._schema.expendable))
            keep_from = purge_up_to(stream, lowest[1].sequence if lowest else None)
            if keep_from is not None and self.purges:
                await js.purge_stream(EVENTS, seq=keep_from)
                log.info("stream_purged", stream=EVENTS, keep_from=keep_from, bytes_before=stream.state.bytes)
                room = room_of(await js.stream_info(EVENTS))
            held = lowest is not None and lowest[1].open_since is not None and room.above(PURGE_ABOVE)
            self.room = replace(room, holder=self._holder(*lowest)) if lowest and held else room
            self._report()

    def _report(self) -> None:
        """Log which durable holds the stream, once."""
        holder = self.room.holder
        if holder is not None and holder.durable != self._reported:
            size = {"bytes": self.room.bytes, "max_bytes": self.room.max_bytes}
            log.warning("stream_fills", stream=EVENTS, **size, held_by=str(holder))
        self._reported = holder.durable if holder else ""

    def _holder(self, consumer: ConsumerInfo, floor: DurableFloor) -> Holder:
        declared = declared_by(self._schema, self._tables)(consumer.name)
        unread = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
        return Holder(consumer.name, unread, floor.open_since, declared)

    async def _judge(self, js: JetStreamContext, stream: StreamInfo, consumers: Iterable[ConsumerInfo]) -> None:
        self._looked_at_durables = time.monotonic()
        if self._tables:
            await self.undeclared.look(js, stream, consumers, declared_by(self._schema, self._tables))

    async def run(self, online: asyncio.Event) -> None:
        """Look at the stream every few seconds. Never returns."""
        while True:
            await online.wait()
            try:
                await self.look()
            except (nats.errors.Error, TimeoutError) as error:
                log.debug("janitor_could_not_look", error=str(error))
            await sleep_to_next(self._pause())

    def _pause(self) -> float:
        return _IDLE_INTERVAL if self.room.until(PURGE_ABOVE) > _FAR else INTERVAL
