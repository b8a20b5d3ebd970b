"""The logging service: two journals under `logs/`, one of log records, one of events."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar

from bus import BusSettings, Handlers
from services.common.service import SHUTDOWN_TIMEOUT, ServiceBase
from services.common.settings.load import Config
from services.common.web.routing import Route
from services.logging.bootstrap import HANDLERS, ROUTES, bootstrap
from services.logging.news.delivery import Delivery
from services.logging.news.news import News
from services.logging.news.store import NewsStore
from services.logging.recorder import DISK_PATIENCE

_LAST_EVENTS = 1.0  # seconds that a stop waits for events that are there
_BETWEEN = 0.02  # seconds between two looks at them


class LoggingService(ServiceBase):
    """Start-up, shut-down and metrics; `parts` do the work. Its own records do not travel over the bus: each
    would cause another."""

    name: ClassVar[str] = "logging"
    handlers: ClassVar[Handlers] = HANDLERS
    routes: Sequence[Route] = ROUTES

    def __init__(self, config: Config, bus: BusSettings, *, disk_patience: float = DISK_PATIENCE) -> None:
        """`disk_patience`: seconds between two attempts to write to a full disk."""
        super().__init__(config, bus)
        self.parts = bootstrap(config, disk_patience)
        self._resources = AsyncExitStack()

    def disk_paths(self) -> Sequence[Path]:
        return (self.config.storage.logs_dir,)

    async def initialize_resources(self) -> Sequence[object]:
        return self.parts.all()

    async def after_start(self) -> None:
        self.spawn(self.parts.retention.run, "retention")
        self.spawn(self.parts.recorder.run_own, "own records")
        if self.config.notify.urls:
            await self._begin_news()

    async def _begin_news(self) -> None:
        """Without an address to tell anything to, nothing is read."""
        store = await asyncio.to_thread(NewsStore, self.config.storage.base_data_dir / "news.db")
        self._resources.push_async_callback(asyncio.to_thread, store.close)
        notify = self.config.notify
        news = News(self.config.storage.logs_dir, store, notify, Delivery(notify.urls))
        self.parts.recorder.on_events = news.written.set
        self.spawn(news.run, "news")

    async def shutdown(self, within: float = SHUTDOWN_TIMEOUT) -> None:
        """As every service, after the events that are there, and with the last records of its own, `service_stopped`
        among them."""
        self.parts.recorder.ending.set()
        await self._read_last(min(within, _LAST_EVENTS))
        await super().shutdown(within)
        await self.parts.recorder.write_own()
        await asyncio.to_thread(self.parts.recorder.close)

    async def _read_last(self, within: float) -> None:
        """Let the last events of a command be written by its own run, not by the next one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                bus = self._bus
                while bus is not None and bus.connected and not await bus.caught_up(HANDLERS):  # noqa: ASYNC110 - only the broker knows it
                    await asyncio.sleep(_BETWEEN)

    async def cleanup_resources(self) -> None:
        await self._resources.aclose()
        await asyncio.to_thread(self.parts.recorder.close)

    def metrics(self) -> dict[str, Any]:
        recorder = self.parts.recorder
        return {
            "log_lines": recorder.log_lines,
            "event_lines": recorder.event_lines,
            "log_bytes": self.parts.queries.size(),
            "write_failures": recorder.write_failures,
        }
