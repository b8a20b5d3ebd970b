"""Read-only access to the journals while no service runs. Methods mirror the REST routes: the same query models in, the
same response models out."""

import asyncio
from collections.abc import Sequence

from pydantic import SecretStr

from services.common.settings.load import Config
from services.common.web.paging import PageQuery
from services.logging.news.delivery import Delivery, Sent
from services.logging.queries import JournalQueries, LogPage, LogQuery, TracePage
from services.logging.retention import LogCleanup, LogRetention


class OfflineLogs:
    def __init__(self, config: Config) -> None:
        self._journals = JournalQueries(config.storage.logs_dir)
        self._retention = LogRetention(config.storage.logs_dir, config.retention.logs)

    async def search(self, query: LogQuery) -> LogPage:
        """Return log records, newest first."""
        return await asyncio.to_thread(self._journals.logs, query, query.limit, query.offset)

    async def trace(self, trace_id: str, query: PageQuery) -> TracePage:
        """Return the events and records of a trace, oldest first."""
        return await asyncio.to_thread(self._journals.trace, trace_id, query.limit, query.offset)

    async def cleanup_preview(self) -> LogCleanup:
        """Return what a cleanup would remove now."""
        return await self._retention.clean_up(dry_run=True)


def send_test(urls: Sequence[SecretStr]) -> list[Sent]:
    """Send a message that tells nothing to every address. Blocks."""
    return Delivery(urls).send("YTArchive: a test", "If you read this, news will reach you.")
