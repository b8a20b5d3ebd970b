"""Garbage collection of the stream EVENTS: purge what all consumers have acknowledged. A stream with limits retention
keeps acknowledged messages otherwise (docs/decisions/0017)."""

from collections.abc import Iterable

import nats.errors
import structlog
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, StreamInfo

from bus.streams.configuration import EVENTS
from bus.streams.durable_floor import durable_floor, known_floor

log = structlog.get_logger("bus", logger_name="bus")

INTERVAL = 30.0  # seconds between two runs


def purge_up_to(stream: StreamInfo, lowest: int | None) -> int | None:
    """Return the first sequence to keep, or None when nothing is to be purged. `lowest` is the lowest floor of the
    durables. Nothing is purged below half of max_bytes."""
    if not _fills(stream) or lowest is None:
        return None
    return lowest + 1 if lowest >= stream.state.first_seq else None


def _fills(stream: StreamInfo) -> bool:
    limit = stream.config.max_bytes or 0
    return limit > 0 and stream.state.bytes > limit // 2


def counted(consumers: Iterable[ConsumerInfo], expendable: str | None) -> list[ConsumerInfo]:
    """Return the consumers whose unread messages are kept: all but those whose name begins with `expendable`."""
    return [one for one in consumers if expendable is None or not one.name.startswith(expendable)]


async def lowest_floor(js: JetStreamContext, stream: StreamInfo, consumers: Iterable[ConsumerInfo]) -> int | None:
    """Return the lowest floor of these consumers, None without any. `stream` was read before them."""
    lowest: int | None = None
    for one in sorted(consumers, key=known_floor):
        if lowest is not None and known_floor(one) >= lowest:
            break  # the floors of the rest are not lower: nobody needs to ask for them
        floor = (await durable_floor(js, EVENTS, one, stream.state.last_seq)).sequence
        lowest = floor if lowest is None else min(lowest, floor)
    return lowest


async def collect(js: JetStreamContext, expendable: str | None) -> None:
    """Purge once. Idempotent, so every service may do it. Does nothing while the broker is unavailable."""
    try:
        stream = await js.stream_info(EVENTS)
        if not _fills(stream):
            return
        consumers = await js.consumers_info(EVENTS)
        if len(consumers) < stream.state.consumer_count:
            log.warning("janitor_could_not_look", error="the broker did not report all consumers")
            return
        keep_from = purge_up_to(stream, await lowest_floor(js, stream, counted(consumers, expendable)))
        if keep_from is None:
            log.warning("stream_fills", stream=EVENTS, bytes=stream.state.bytes, max_bytes=stream.config.max_bytes)
            return
        await js.purge_stream(EVENTS, seq=keep_from)
    except (nats.errors.Error, TimeoutError) as error:
        log.debug("janitor_could_not_look", error=str(error))
        return
    log.info("stream_purged", stream=EVENTS, keep_from=keep_from, bytes_before=stream.state.bytes)
