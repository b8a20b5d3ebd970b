"""The logging service: two journals under `logs/`, one of log records, one of events."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, ClassVar

from bus import BusSettings, Envelope, Handlers
from services.common.errors import code_of
from services.common.service import ServiceBase
from services.common.settings.load import Config
from services.common.web.routing import Route
from services.logging import api, records
from services.logging.handlers import handlers
from services.logging.journal import Journal, Message
from services.logging.queries import JournalQueries
from services.logging.retention import clean_up
from services.logging.subscribers import Live

DISK_PATIENCE = 5.0  # seconds between two tries to write


class LoggingService(ServiceBase):
    """Writes `{date}.jsonl` and `events-{date}.jsonl`. Its own records stay local: each would make another."""

    name: ClassVar[str] = "logging"
    handlers: ClassVar[Handlers] = handlers

    def __init__(self, config: Config, bus: BusSettings) -> None:
        super().__init__(config, bus)
        self.logs = Journal(config.storage.logs_dir)
        self.events = Journal(config.storage.logs_dir, "events-")
        self.queries = JournalQueries(config.storage.logs_dir)
        self.live = Live()
        self.disk_patience = DISK_PATIENCE
        self.write_failures = 0
        self._lines = {"log_lines": 0, "event_lines": 0}

    def disk_paths(self) -> Sequence[Path]:
        return (self.config.storage.logs_dir,)

    def routes(self) -> Sequence[Route]:
        return api.routes(self)

    async def after_start(self) -> None:
        self.spawn(self._keep_house, "retention")

    async def _keep_house(self) -> None:
        """At start, and when a new day (UTC) has begun."""
        while True:
            now = datetime.now(UTC)
            logs = self.config.storage
            gone = await asyncio.to_thread(clean_up, logs.logs_dir, self.config.retention.logs, now.date())
            if gone.files:
                self.logger.info("old_logs_removed", files=[file.name for file in gone.files], bytes=gone.bytes)
            tomorrow = datetime.combine(now.date() + timedelta(days=1), time(0, 5), tzinfo=UTC)
            await asyncio.sleep((tomorrow - now).total_seconds())

    def metrics(self) -> dict[str, Any]:
        return {**self._lines, "log_bytes": self.queries.size(), "write_failures": self.write_failures}

    async def write_logs(self, envelopes: Sequence[Envelope]) -> None:
        written = await self._append(self.logs, [records.of_logs(one) for one in envelopes])
        self._lines["log_lines"] += len(written)
        self.live.tell(written)  # not what was delivered again

    async def write_events(self, envelopes: Sequence[Envelope]) -> None:
        written = await self._append(self.events, [records.of_event(one) for one in envelopes])
        self._lines["event_lines"] += len(written)

    async def _append(self, journal: Journal, messages: Sequence[Message]) -> list[Mapping[str, Any]]:
        """Until it is written: a full disk is waited for, it is no reason to lose a message."""
        while True:
            try:
                return await asyncio.to_thread(journal.append, messages)
            except OSError as error:
                self.write_failures += 1
                self.logger.error(
                    "journal_write_failed",
                    error_code=code_of(error),
                    error_message=str(error),
                    retry_in=self.disk_patience,
                )
            await asyncio.sleep(self.disk_patience)

    async def cleanup_resources(self) -> None:
        await asyncio.to_thread(self.logs.close)
        await asyncio.to_thread(self.events.close)
