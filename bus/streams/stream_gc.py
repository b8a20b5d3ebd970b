"""Garbage collection of the stream EVENTS: purge what all consumers have acknowledged. A stream with limits retention
keeps acknowledged messages otherwise (docs/decisions/0017)."""

from collections.abc import Iterable

import nats.errors
import structlog
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, StreamInfo

from bus.streams.configuration import EVENTS

log = structlog.get_logger("bus", logger_name="bus")

INTERVAL = 30.0  # seconds between two runs


def purge_up_to(stream: StreamInfo, consumers: Iterable[ConsumerInfo], expendable: str | None) -> int | None:
    """Return the first sequence to keep, or None when nothing is to be purged.

    Above half of max_bytes everything is purged that every durable has acknowledged, except those whose name begins
    with `expendable`. The ack floor of an idle filtered durable stays behind, so one without pending and unacknowledged
    messages counts as having read up to the last sequence of the stream; `stream` must therefore be fetched before
    `consumers`.
    """
    limit = stream.config.max_bytes or 0
    if limit <= 0 or stream.state.bytes <= limit // 2:
        return None
    counted = [one for one in consumers if expendable is None or not one.name.startswith(expendable)]
    lowest = min((_read_up_to(one, stream.state.last_seq) for one in counted), default=0)
    return lowest + 1 if lowest >= stream.state.first_seq else None


def _read_up_to(consumer: ConsumerInfo, last: int) -> int:
    if not consumer.num_pending and not consumer.num_ack_pending:
        return last
    return (consumer.ack_floor.stream_seq if consumer.ack_floor else 0) or 0


async def collect(js: JetStreamContext, expendable: str | None) -> None:
    """Purge once. Idempotent, so every service may do it. Does nothing while the broker is unavailable."""
    try:
        stream = await js.stream_info(EVENTS)
        if (stream.config.max_bytes or 0) <= 0 or stream.state.bytes <= (stream.config.max_bytes or 0) // 2:
            return
        keep_from = purge_up_to(stream, await js.consumers_info(EVENTS), expendable)
        if keep_from is None:
            log.warning("stream_fills", stream=EVENTS, bytes=stream.state.bytes, max_bytes=stream.config.max_bytes)
            return
        await js.purge_stream(EVENTS, seq=keep_from)
    except (nats.errors.Error, TimeoutError) as error:
        log.debug("janitor_could_not_look", error=str(error))
        return
    log.info("stream_purged", stream=EVENTS, keep_from=keep_from, bytes_before=stream.state.bytes)
