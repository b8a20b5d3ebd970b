"""REST of logging: records, the story of a trace, records as they come (SSE), and retention."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp_sse import sse_response
from pydantic import BaseModel, ConfigDict, Field

from services.common.web.paging import PageQuery
from services.common.web.routing import Call, Route
from services.logging.queries import LogFilter, LogPage, LogQuery, Service, TracePage
from services.logging.retention import LogCleanup, clean_up

if TYPE_CHECKING:
    from services.logging.service import LoggingService

_KEEP_ALIVE = 10  # seconds between two signs of life of a stream


class ServicePath(BaseModel):
    name: Service


class TracePath(BaseModel):
    trace_id: str = Field(min_length=1, max_length=128)


class CleanupBody(BaseModel):
    """`dry_run`: only tell."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False


class LogsApi:
    """The handlers of the routes below."""

    def __init__(self, logging: "LoggingService") -> None:
        self._logging = logging

    async def search(self, _call: Call, query: LogQuery) -> LogPage:
        return await asyncio.to_thread(self._logging.queries.logs, query, query.limit, query.offset)

    async def of_service(self, call: Call, path: ServicePath, query: LogQuery) -> LogPage:
        return await self.search(call, query.model_copy(update={"service": path.name}))

    async def trace(self, _call: Call, path: TracePath, query: PageQuery) -> TracePage:
        return await asyncio.to_thread(self._logging.queries.trace, path.trace_id, query.limit, query.offset)

    async def follow(self, call: Call, query: LogFilter) -> web.StreamResponse:
        """`log` for a record, `dropped` with the number of those that this listener was too slow for."""
        with self._logging.live.listening(query) as listener:
            async with sse_response(call.raw, ping_interval=_KEEP_ALIVE) as stream:
                with suppress(ConnectionResetError):  # who listened has gone
                    await stream.send("{}", event="listening")
                    while not call.closing.is_set() and stream.is_connected():
                        records, dropped = await listener.news(1.0)
                        for record in records:
                            await stream.send(json.dumps(record, default=str), event="log")
                        if dropped:
                            await stream.send(json.dumps({"dropped": dropped}), event="dropped")
        return stream

    async def clean_up(self, _call: Call, body: CleanupBody) -> LogCleanup:
        config = self._logging.config
        today = datetime.now(UTC).date()
        return await asyncio.to_thread(
            clean_up, config.storage.logs_dir, config.retention.logs, today, dry_run=body.dry_run
        )


def routes(logging: "LoggingService") -> Sequence[Route]:
    api = LogsApi(logging)
    many = "/api/v1/logs"
    return [
        Route("GET", many, api.search, "Log records, the newest first", query=LogQuery, response=LogPage),
        Route(
            "GET",
            f"{many}/services/{{name}}",
            api.of_service,
            "Log records of one service",
            path_model=ServicePath,
            query=LogQuery,
            response=LogPage,
        ),
        Route(
            "GET",
            f"{many}/traces/{{trace_id}}",
            api.trace,
            "The story of a trace: its events and records in order",
            path_model=TracePath,
            query=PageQuery,
            response=TracePage,
        ),
        Route("GET", f"{many}/stream", api.follow, "Log records as they come (SSE)", query=LogFilter, streams=True),
        Route(
            "POST", f"{many}/cleanup", api.clean_up, "Remove journals that are too old", body=CleanupBody,
            response=LogCleanup,
        ),
    ]  # fmt: skip
