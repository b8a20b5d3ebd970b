"""Writes log records and events to their journals, and passes new log records on to the subscribers."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog

from bus import Envelope
from services.common.errors import code_of
from services.common.infra import logs
from services.common.infra.disk_full import retry_while_full
from services.logging import records
from services.logging.journal import Journal, JournalMessage
from services.logging.reading import EVENTS, LOGS
from services.logging.subscribers import LogSubscribers

DISK_PATIENCE = 5.0  # seconds between two attempts to write

_log = structlog.get_logger("services.logging")


class Recorder:
    """Owns `{date}.jsonl` and `events-{date}.jsonl`. The counts are since the start of the service."""

    def __init__(self, directory: Path, subscribers: LogSubscribers, disk_patience: float = DISK_PATIENCE) -> None:
        self._logs = Journal(directory, LOGS)
        self._events = Journal(directory, EVENTS)
        self._subscribers = subscribers
        self._disk_patience = disk_patience
        self._own: JournalMessage | None = None  # records of this service, being written
        self.log_lines = 0
        self.event_lines = 0
        self.last_batch = 0  # events in the last write
        self.ending = asyncio.Event()  # set when the service is about to stop
        self.write_failures = 0
        self.on_events: Callable[[], None] = lambda: None  # called when the journal of events has grown

    async def write_logs(self, envelopes: Sequence[Envelope]) -> None:
        """Append the records of `log.recorded` events. Records that are written already are left out."""
        written = await self._append(self._logs, [records.log_message(one) for one in envelopes])
        self.log_lines += len(written)
        self._subscribers.publish(written)

    async def write_events(self, envelopes: Sequence[Envelope]) -> None:
        """Append one line per event. Events that are written already are left out."""
        self.last_batch = len(envelopes)
        written = await self._append(self._events, [records.event_message(one) for one in envelopes])
        self.event_lines += len(written)
        if written:
            self.on_events()

    async def run_own(self) -> None:
        """Background task: write the records of this service itself, which are never published. On a disk that takes no
        data they wait in a bounded queue, and nothing is logged."""
        while True:
            if self._own is None:
                await logs.OWN.filled()
            await asyncio.sleep(logs.PERIOD if await self.write_own() else self._disk_patience)

    async def write_own(self) -> bool:
        """Append the queued records of this service. Return False when the disk takes no data."""
        while (message := self._own or _own_message()) is not None:
            self._own = message
            try:
                written = await asyncio.to_thread(self._logs.append, [message])
            except OSError:
                return False  # under the same id again: what is written already is not repeated
            self._own = None
            self.log_lines += len(written)
            self._subscribers.publish(written)
        return True

    async def _append(self, journal: Journal, messages: Sequence[JournalMessage]) -> list[Mapping[str, Any]]:
        """Return the records that were written. Repeated for as long as the disk takes no data: no message is lost."""
        return await retry_while_full(
            lambda: asyncio.to_thread(journal.append, messages),
            partial(asyncio.sleep, self._disk_patience),
            report=self._report,
            retry_on=lambda error: isinstance(error, OSError),
        )

    def _report(self, error: Exception) -> None:
        self.write_failures += 1
        _log.error(
            "journal_write_failed",
            error_code=code_of(error),
            error_message=str(error),
            retry_in=self._disk_patience,
        )

    def close(self) -> None:
        """Blocks."""
        self._logs.close()
        self._events.close()


def _own_message() -> JournalMessage | None:
    own = logs.OWN.take()
    return JournalMessage(str(uuid4()), datetime.now(UTC), tuple(own)) if own else None
