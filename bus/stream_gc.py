"""Frees what every consumer has read: acked history does not leave a limits stream by itself (DESIGN §4)."""

from collections.abc import Iterable

import nats.errors
import structlog
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, StreamInfo

from bus.streams import EVENTS

log = structlog.get_logger("bus", logger_name="bus")

INTERVAL = 30.0  # seconds between two looks
_EXCEPT = "logging-"  # a stopped logger must not stop the rest


def purge_up_to(stream: StreamInfo, consumers: Iterable[ConsumerInfo]) -> int | None:
    """The first sequence to keep, or None when nothing is to be purged.

    Above half of max_bytes all goes that every durable has acked. The ack floor of an idle filtered durable stays
    behind; one with nothing pending and nothing unacked counts as having read up to the stream's last sequence.
    So `stream` must be asked for before `consumers`.
    """
    limit = stream.config.max_bytes or 0
    if limit <= 0 or stream.state.bytes <= limit // 2:
        return None
    floors = [_read_up_to(one, stream.state.last_seq) for one in consumers if not one.name.startswith(_EXCEPT)]
    lowest = min(floors, default=0)  # nobody has read anything yet: nothing goes
    return lowest + 1 if lowest >= stream.state.first_seq else None


def _read_up_to(consumer: ConsumerInfo, last: int) -> int:
    if not consumer.num_pending and not consumer.num_ack_pending:
        return last
    return (consumer.ack_floor.stream_seq if consumer.ack_floor else 0) or 0


async def sweep(js: JetStreamContext) -> None:
    """Look once and purge. Idempotent, so every service may do it. A broker that is away is looked at next time."""
    try:
        stream = await js.stream_info(EVENTS)
        if (stream.config.max_bytes or 0) <= 0 or stream.state.bytes <= (stream.config.max_bytes or 0) // 2:
            return
        keep_from = purge_up_to(stream, await js.consumers_info(EVENTS))
        if keep_from is None:
            log.warning("stream_fills", stream=EVENTS, bytes=stream.state.bytes, max_bytes=stream.config.max_bytes)
            return
        await js.purge_stream(EVENTS, seq=keep_from)
    except (nats.errors.Error, TimeoutError) as error:
        log.debug("janitor_could_not_look", error=str(error))
        return
    log.info("stream_purged", stream=EVENTS, keep_from=keep_from, bytes_before=stream.state.bytes)
