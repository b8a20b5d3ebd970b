"""Logs and traces: over REST where a system runs, else from the journals. New records come from the event stream of the
logging service."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote

from services.common.settings.load import Config
from services.common.web.paging import PageQuery
from services.logging.offline import OfflineLogs
from services.logging.offline import send_test as send_test
from services.logging.queries import LogFilter, LogPage, LogQuery, TracePage
from ytarchive.client.endpoints import System, find_system, get_or_read, query_of, require_system
from ytarchive.client.sse import StreamLost

_RECONNECT_INTERVAL = 0.5  # seconds


class LogsClient:
    def __init__(self, config: Config) -> None:
        self._config = config

    async def search(self, query: LogQuery) -> LogPage:
        """Return log records, newest first."""
        offline = partial(OfflineLogs(self._config).search, query)
        return await get_or_read(self._config, "logging", "logs", LogPage, offline, query)

    async def trace(self, trace_id: str, query: PageQuery) -> TracePage:
        """Return the events and records of a trace, oldest first."""
        offline = partial(OfflineLogs(self._config).trace, trace_id, query)
        path = f"logs/traces/{quote(trace_id, safe='')}"
        return await get_or_read(self._config, "logging", path, TracePage, offline, query)

    async def follow(
        self, wanted: LogFilter, show: Callable[[dict[str, Any]], None], notify: Callable[[str], None]
    ) -> None:
        """Show each new record that matches, until cancelled. `notify` gets messages about missed records.

        Raise ServiceUnavailable when nothing runs at the beginning, InvalidRequest for an invalid filter.
        """
        system: System | None = await require_system(self._config)
        interrupted = False
        while True:
            if system is not None:
                try:
                    async for name, data in system.stream("logging", "logs/stream", query_of(wanted)):
                        if name == "listening" and interrupted:
                            interrupted = False
                            notify("Connected again. `ytarchive logs` shows the records logged in between.")
                        elif name == "log":
                            show(data)
                        elif name == "dropped":
                            notify(f"{data['dropped']} records were skipped: they arrived faster than they were shown.")
                except StreamLost:
                    if not interrupted:
                        notify("Lost the connection to the logging service. Reconnecting; Ctrl-C ends.")
                    interrupted = True
            await asyncio.sleep(_RECONNECT_INTERVAL)
            system = await find_system(self._config)
