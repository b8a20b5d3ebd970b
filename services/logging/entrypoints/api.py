"""REST routes of logging: records, the story of a trace, live records (SSE), and retention."""

import asyncio
import json
from contextlib import suppress

from aiohttp import web
from aiohttp_sse import sse_response
from pydantic import BaseModel, ConfigDict, Field

from services.common.web.paging import PageQuery
from services.common.web.routing import Call, Route
from services.logging.queries import JournalQueries, LogFilter, LogPage, LogQuery, Service, TracePage
from services.logging.retention import LogCleanup, LogRetention
from services.logging.subscribers import LogSubscribers

_KEEP_ALIVE = 10  # seconds between two comments of an idle stream


class ServicePath(BaseModel):
    name: Service


class TracePath(BaseModel):
    trace_id: str = Field(min_length=1, max_length=128)


class LogCleanupBody(BaseModel):
    """`dry_run`: report only."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False


async def search(_call: Call, query: LogQuery, journals: JournalQueries) -> LogPage:
    return await asyncio.to_thread(journals.logs, query, query.limit, query.offset)


async def of_service(_call: Call, path: ServicePath, query: LogQuery, journals: JournalQueries) -> LogPage:
    wanted = query.model_copy(update={"service": path.name})
    return await asyncio.to_thread(journals.logs, wanted, query.limit, query.offset)


async def trace(_call: Call, path: TracePath, query: PageQuery, journals: JournalQueries) -> TracePage:
    return await asyncio.to_thread(journals.trace, path.trace_id, query.limit, query.offset)


async def follow(call: Call, query: LogFilter, subscribers: LogSubscribers) -> web.StreamResponse:
    """Events: `log` with a record; `dropped` with the number of records that this client was too slow to receive."""
    with subscribers.subscribe(query) as subscriber:
        async with sse_response(call.raw, ping_interval=_KEEP_ALIVE) as stream:
            with suppress(ConnectionResetError):  # the client has closed the connection
                await stream.send("{}", event="listening")
                while not call.closing.is_set() and stream.is_connected():
                    records, dropped = await subscriber.take(1.0)
                    for record in records:
                        await stream.send(json.dumps(record, default=str), event="log")
                    if dropped:
                        await stream.send(json.dumps({"dropped": dropped}), event="dropped")
    return stream


async def clean_up(_call: Call, body: LogCleanupBody, retention: LogRetention) -> LogCleanup:
    return await retention.clean_up(dry_run=body.dry_run)


_BASE = "/api/v1/logs"
ROUTES = (
    Route("GET", _BASE, search, "Log records, newest first", query=LogQuery, response=LogPage),
    Route(
        "GET", f"{_BASE}/services/{{name}}", of_service, "Log records of one service",
        path_model=ServicePath, query=LogQuery, response=LogPage,
    ),
    Route(
        "GET", f"{_BASE}/traces/{{trace_id}}", trace, "The story of a trace: its events and records in order",
        path_model=TracePath, query=PageQuery, response=TracePage,
    ),
    Route("GET", f"{_BASE}/stream", follow, "Live log records (SSE)", query=LogFilter, streams=True),
    Route(
        "POST", f"{_BASE}/cleanup", clean_up, "Remove journals past their retention period",
        body=LogCleanupBody, response=LogCleanup,
    ),
)  # fmt: skip
