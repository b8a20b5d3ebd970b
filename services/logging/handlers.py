"""Everything that travels is written down: log records as they are, and a record of every durable event."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bus import Delivery, Envelope, Handlers
from services.common.events import LogRecorded, catalogue

if TYPE_CHECKING:
    from services.logging.service import LoggingService

handlers = Handlers("logging")

DURABLE = tuple(kind for kind in catalogue() if kind.delivery is Delivery.STREAM)


@handlers.inbox(LogRecorded, name="logs", size=100)
async def write_logs(envelopes: Sequence[Envelope], service: "LoggingService") -> None:
    await service.write_logs(envelopes)


@handlers.inbox(*DURABLE, name="events", size=100)
async def write_events(envelopes: Sequence[Envelope], service: "LoggingService") -> None:
    await service.write_events(envelopes)
