"""How far a durable has read a stream: the sequence before its first message that is unread or not acknowledged.

The ack floor in the broker's consumer info is not that: the floor of a durable with filter subjects stays at the last
message of those subjects, however far the stream has gone on (docs/decisions/0017).
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, RawStreamMsg
from nats.js.errors import NotFoundError


@dataclass(frozen=True)
class DurableFloor:
    """`sequence`: all messages of the durable up to this one are acknowledged. `open_since`: when the next one was
    stored; None without one."""

    sequence: int
    open_since: datetime | None = None


def known_floor(consumer: ConsumerInfo) -> int:
    """Return the highest sequence up to which all was acknowledged, as far as the consumer info tells. The floor is not
    lower."""
    acked = (consumer.ack_floor.stream_seq if consumer.ack_floor else 0) or 0
    if consumer.num_ack_pending or consumer.delivered is None:
        return acked
    return max(acked, consumer.delivered.stream_seq or 0)


async def durable_floor(js: JetStreamContext, stream: str, consumer: ConsumerInfo, last: int) -> DurableFloor:
    """Return the floor of a durable of `stream`. `last` is the last sequence of the stream, read before `consumer`: the
    floor of a durable that has nothing to read. Raise the errors of nats-py."""
    if not consumer.num_pending and not consumer.num_ack_pending:
        return DurableFloor(max(last, known_floor(consumer)))
    config = consumer.config
    subjects = config.filter_subjects or [config.filter_subject or ">"]
    following = known_floor(consumer) + 1
    found = await asyncio.gather(*(_next_message(js, stream, subject, following) for subject in subjects))
    first = min((one for one in found if one is not None), key=lambda one: one.seq or 0, default=None)
    if first is None or first.seq is None:  # what was pending has been deleted or has expired
        return DurableFloor(max(last, following - 1))
    return DurableFloor(first.seq - 1, first.time)


async def _next_message(js: JetStreamContext, stream: str, subject: str, sequence: int) -> RawStreamMsg | None:
    try:
        return await js.get_msg(stream, sequence, subject=subject, next=True)
    except NotFoundError:
        return None
