"""Event handlers of the logging service: log records as they are, and one record of every durable event."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from bus import Delivery, Envelope, Handlers
from services.common.events import LogRecorded, catalogue
from services.logging.recorder import Recorder

HANDLERS = Handlers("logging")

_SIZE = 100  # messages in one write
_GATHER = 0.1  # seconds
_DURABLE = tuple(kind for kind in catalogue() if kind.delivery is Delivery.STREAM)


async def gather(recorder: Recorder) -> None:
    """Let events that follow each other be written and synced together, unless enough of them are waiting."""
    if recorder.last_batch < _SIZE:
        with suppress(TimeoutError):
            async with asyncio.timeout(_GATHER):
                await recorder.ending.wait()


@HANDLERS.inbox(LogRecorded, name="logs", size=_SIZE)
async def write_logs(envelopes: Sequence[Envelope], recorder: Recorder) -> None:
    await recorder.write_logs(envelopes)


@HANDLERS.inbox(*_DURABLE, name="events", size=_SIZE, ready=gather)
async def write_events(envelopes: Sequence[Envelope], recorder: Recorder) -> None:
    await recorder.write_events(envelopes)
