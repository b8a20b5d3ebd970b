"""Event handlers of the logging service: log records as they are, and one record of every durable event."""

from collections.abc import Sequence

from bus import Delivery, Envelope, Handlers
from services.common.events import LogRecorded, catalogue
from services.logging.recorder import Recorder

HANDLERS = Handlers("logging")

_DURABLE = tuple(kind for kind in catalogue() if kind.delivery is Delivery.STREAM)


@HANDLERS.inbox(LogRecorded, name="logs", size=100)
async def write_logs(envelopes: Sequence[Envelope], recorder: Recorder) -> None:
    await recorder.write_logs(envelopes)


@HANDLERS.inbox(*_DURABLE, name="events", size=100)
async def write_events(envelopes: Sequence[Envelope], recorder: Recorder) -> None:
    await recorder.write_events(envelopes)
