"""Durables of the stream EVENTS that no service reads any more: of a removed handler, a renamed subject.

A service knows its own durables only: it judges those with its own prefix, and those with the prefix of no service.
"""

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, StreamInfo
from nats.js.errors import NotFoundError

from bus.handlers import Handlers
from bus.schema import BusSchema
from bus.streams.durable_floor import durable_floor

log = structlog.get_logger("bus", logger_name="bus")

REMOVED_AFTER = timedelta(days=1)

Declared = Callable[[str], bool]


def declared_by(schema: BusSchema, tables: Collection[Handlers]) -> Declared:
    """Return the test whether a durable may have a reader: one of these tables, or another service, declares it."""
    services = {name for kind in schema.events for name in kind.publishers}
    own = {table.publisher for table in tables}
    durables = {consumption.durable for table in tables for consumption in table.consumptions}

    def declared(durable: str) -> bool:
        service = durable.partition("-")[0]
        return durable in durables if service in own else service in services

    return declared


class UndeclaredDurables:
    """Names undeclared durables in the log, once each, and removes them when nobody has read them for a day.

    `found`: durable name -> its open messages.
    """

    def __init__(self, removed_after: timedelta = REMOVED_AFTER) -> None:
        self._removed_after = removed_after
        self.found: dict[str, int] = {}

    async def look(
        self, js: JetStreamContext, stream: StreamInfo, consumers: Iterable[ConsumerInfo], declared: Declared
    ) -> None:
        """Raise the errors of nats-py."""
        found: dict[str, int] = {}
        for one in consumers:
            if one.config.durable_name is None or declared(one.name):
                continue
            if await _unread_since(js, stream, one, datetime.now(UTC) - self._removed_after):
                with suppress(NotFoundError):
                    await js.delete_consumer(str(stream.config.name), one.name)
                log.warning("undeclared_durable_removed", durable=one.name, open_messages=_open_messages(one))
                continue
            found[one.name] = _open_messages(one)
            if one.name not in self.found:
                log.warning(
                    "undeclared_durable",
                    durable=one.name,
                    open_messages=found[one.name],
                    remedy="no handler of this version reads it; it is removed when nobody has read it for a day",
                )
        self.found = found


async def _unread_since(js: JetStreamContext, stream: StreamInfo, consumer: ConsumerInfo, before: datetime) -> bool:
    """Return whether nobody reads the durable, and its first open message, or all of its past, is older."""
    if consumer.num_waiting or consumer.push_bound:
        return False
    delivered = consumer.delivered.last_active if consumer.delivered else None
    if consumer.created > before or (delivered is not None and delivered > before):
        return False
    floor = await durable_floor(js, str(stream.config.name), consumer, stream.state.last_seq)
    return floor.open_since is None or floor.open_since < before


def _open_messages(consumer: ConsumerInfo) -> int:
    return (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
