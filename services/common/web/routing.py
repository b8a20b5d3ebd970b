"""REST scaffolding (SPEC: API Standards): models in, ServiceResponse out, a trace through everything.

    Route("POST", "/api/v1/jobs", create, body=NewJob, response=Job, status=201, summary="Create a job")

    async def create(call: Call, body: NewJob) -> Job: ...

A handler gets the Call, and `path=`, `query=` and `body=` where the route names models for them. It returns a model (or
plain data), a Reply for another status, or a raw aiohttp response (files, SSE). It raises the errors of
services.common.errors; they become an ErrorDetail with their own HTTP status.
"""

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import uuid4

import structlog
from aiohttp import web
from pydantic import BaseModel, TypeAdapter

from bus import BusError
from bus.injection import inject
from services.common.errors import InvalidRequest, ServiceUnavailable, YTArchiveError
from services.common.models import ErrorCode, ErrorDetail, ServiceResponse
from services.common.web.bound_socket import Listener
from services.common.web.error_protocol import Runner
from services.common.web.request_parsing import NoQuery, read_body, read_path, read_query, refuse_other_sites

TRACE_HEADER = "X-Trace-Id"
BODY_LIMIT = 1024**2  # bytes
_TRACE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACE_KEY = web.RequestKey("trace_id", str)
_JSON: TypeAdapter[Any] = TypeAdapter(Any)
_BEGUN = web.RequestKey("response_begun", bool)


@dataclass(frozen=True)
class Call:
    """One request: its trace, the parts of its path, and aiohttp's own object for what is beyond models.

    `closing` is set when the service shuts down: a handler that streams ends then.
    """

    trace_id: str
    path: Mapping[str, str]
    raw: web.Request
    closing: asyncio.Event


@dataclass(frozen=True)
class Reply:
    """An answer with a status (and headers) other than its route's."""

    data: Any
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    error: ErrorDetail | None = None


Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class Route:
    """One endpoint, with all that its description in OpenAPI takes. `path` as aiohttp writes it: `/jobs/{job_id}`.

    A query key that no model names is refused, also where there is no model. A GET that does not stream has HEAD too.
    """

    method: str
    path: str
    handler: Handler
    summary: str = ""
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    path_model: type[BaseModel] | None = None  # the parts of the path; what does not fit is not found (404)
    response: Any = None  # a model, or a type that pydantic can describe
    status: int = 200
    needs_bus: bool = False  # 503 at once while the broker is away
    streams: bool = False  # may stay open for long: shutdown does not wait for it
    quiet: bool = False  # logged at debug level: health is asked all the time
    media_type: str | None = None  # of an answer that is no ServiceResponse; of a stream it is text/event-stream
    also: Mapping[int, str] = field(default_factory=dict)  # statuses beyond 400, 404, 413 and 503 -> when
    failure: Any = None  # the type of `data` that may stand beside an error
    headers: Mapping[str, str] = field(default_factory=dict)  # request headers that the handler reads -> what they do
    common: bool = False  # every service has it

    def bind(self, parts: Sequence[object]) -> "Route":
        """The same route whose handler gets what it takes beside the request, by type, from `parts`."""
        return replace(self, handler=inject(self.handler, parts, 1, named=("path", "query", "body")))


@dataclass(frozen=True)
class Observed:
    """A request that was answered; of a stream: that ended. `route` unset: none took it."""

    route: Route | None
    method: str
    status: int
    seconds: float


class Host(Protocol):
    """What the scaffolding asks of its service."""

    logger: structlog.typing.FilteringBoundLogger
    accepting: bool
    closing: asyncio.Event

    @property
    def bus_connected(self) -> bool: ...


class Rest:
    """The aiohttp application of one service. `idle` can be awaited: no request is in hand then."""

    def __init__(self, host: Host, routes: Sequence[Route], observe: Callable[[Observed], None] | None = None) -> None:
        self._host = host
        self._observe = observe
        self.routes = tuple(routes)
        self.in_hand = 0
        self.answered = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._runner: web.AppRunner | None = None

    def application(self) -> web.Application:
        app = web.Application(client_max_size=BODY_LIMIT, middlewares=[self._frame])
        app.on_response_prepare.append(_begin)
        for route in self.routes:
            endpoint = self._endpoint(route)
            methods = ["GET", "HEAD"] if route.method == "GET" and not route.streams else [route.method]
            for method in methods:
                app.router.add_route(method, route.path, endpoint, expect_handler=_expected)
        return app

    async def start(self, listener: Listener) -> None:
        self._runner = Runner(self.application(), _unreadable, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.SockSite(self._runner, listener.socket).start()

    async def idle(self) -> None:
        await self._idle.wait()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    # --- one request ----------------------------------------------------------------------------------------------

    @web.middleware
    async def _frame(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Trace, logs and errors around every request, also those that no route takes."""
        trace_id = _trace_of(request)
        request[_TRACE_KEY] = trace_id
        route = self._route_of(request)
        log = self._host.logger.debug if route and route.quiet else self._host.logger.info
        counted = not (route and route.streams)
        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(trace_id=trace_id):
            log("request_received", endpoint=request.path, method=request.method, trace_id=trace_id)
            self._count(+1 if counted else 0)
            response: web.StreamResponse | None = None
            try:
                response = await self._answer(request, handler, trace_id)
            finally:
                self._count(-1 if counted else 0)
                status = response.status if response is not None else 499  # cut off at the end of the service
                seconds = time.perf_counter() - started
                log(
                    "request_completed",
                    endpoint=request.path,
                    method=request.method,
                    status_code=status,
                    duration_ms=round(seconds * 1000, 3),
                    trace_id=trace_id,
                )
                if self._observe is not None:
                    self._observe(Observed(route, request.method, status, seconds))
        return response

    async def _answer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]], trace_id: str
    ) -> web.StreamResponse:
        try:
            if not self._host.accepting:
                raise ServiceUnavailable("The service is shutting down. Try again in a moment.")
            refuse_other_sites(request)
            return await handler(request)
        except Exception as error:
            if _BEGUN in request:  # a stream: its headers are out, all that is left is to break it off
                self._host.logger.warning("stream_broken", error_type=type(error).__name__, error_message=str(error))
                raise
            return self._failed(request, error, trace_id)

    def _failed(self, request: web.Request, error: Exception, trace_id: str) -> web.Response:
        """The boundary: whatever it is, the client gets a ServiceResponse."""
        match error:
            case YTArchiveError():
                return _failure(error.http_status, error.detail(), trace_id, _retry_after(error))
            case BusError():
                return _failure(503, ErrorDetail(code=ErrorCode.SERVICE_UNAVAILABLE, message=str(error)), trace_id)
            case web.HTTPException():
                return _refusal(request, error, trace_id)
        kind = type(error).__name__
        self._host.logger.error("error_occurred", error_type=kind, error_message=str(error), exc_info=error)
        message = f"Internal error ({kind}). The log tells more under this trace_id."
        return _failure(500, ErrorDetail(code=ErrorCode.INTERNAL_ERROR, message=message), trace_id)

    def _endpoint(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def endpoint(request: web.Request) -> web.StreamResponse:
            models: dict[str, BaseModel] = {}
            if route.path_model is not None:
                models["path"] = read_path(request, route.path_model)
            if route.needs_bus and not self._host.bus_connected:
                raise ServiceUnavailable("The message bus is away. Try again when it is back.")
            if route.body is not None:
                models["body"] = await read_body(request, route.body)
            query = read_query(request, route.query or NoQuery)
            if route.query is not None:
                models["query"] = query
            call = Call(request[_TRACE_KEY], dict(request.match_info), request, self._host.closing)
            result = await route.handler(call, **models)
            return result if isinstance(result, web.StreamResponse) else _success(result, route.status, call.trace_id)

        endpoint.__name__ = getattr(route.handler, "__name__", "endpoint")
        setattr(endpoint, "route", route)  # noqa: B010 - an attribute that the type of a function does not have
        return endpoint

    @staticmethod
    def _route_of(request: web.Request) -> Route | None:
        found = getattr(request.match_info.handler, "route", None)
        return found if isinstance(found, Route) else None

    def _count(self, change: int) -> None:
        self.in_hand += change
        self.answered += change < 0
        if self.in_hand:
            self._idle.clear()
        else:
            self._idle.set()


async def _begin(request: web.Request, response: web.StreamResponse) -> None:
    """Files and streams tell their trace too: a handler makes them without knowing of it."""
    request[_BEGUN] = True
    response.headers.setdefault(TRACE_HEADER, request.get(_TRACE_KEY) or _trace_of(request))


def _trace_of(request: web.Request) -> str:
    given = request.headers.get(TRACE_HEADER, "")
    return given if _TRACE_ID.fullmatch(given) else str(uuid4())


def _success(result: Any, status: int, trace_id: str) -> web.Response:
    reply = result if isinstance(result, Reply) else Reply(result, status)
    data = _JSON.dump_python(reply.data, mode="json")
    return _response(
        reply.status,
        ServiceResponse(success=reply.error is None, data=data, error=reply.error, trace_id=trace_id),
        reply.headers,
    )


def _failure(status: int, error: ErrorDetail, trace_id: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """SPEC: Error Response Pattern; the trace_id stands among the details too."""
    told = error.model_copy(update={"details": {**(error.details or {}), "trace_id": trace_id}})
    return _response(status, ServiceResponse(success=False, error=told, trace_id=trace_id), headers or {})


def _retry_after(error: YTArchiveError) -> dict[str, str]:
    """The header, where the error knows `retry_after`: a time, or seconds from now. Whole seconds, rounded up."""
    match error.details.get("retry_after"):
        case datetime() as when:
            seconds = (when - datetime.now(UTC)).total_seconds()
        case bool() | None:
            return {}
        case int() | float() as seconds:
            pass
        case _:
            return {}
    return {"Retry-After": str(max(0, math.ceil(seconds)))}


def _refusal(request: web.Request, error: web.HTTPException, trace_id: str) -> web.Response:
    """What aiohttp itself refuses: an unknown path, a wrong method, a body that is too large."""
    messages = {
        404: f"There is no {request.path} here.",
        405: f"{request.method} is not possible on {request.path}.",
        413: f"The body is larger than {BODY_LIMIT} bytes.",
    }
    message = messages.get(error.status, error.reason)
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return _failure(error.status, ErrorDetail(code=ErrorCode.INVALID_REQUEST, message=message), trace_id, headers)


def _unreadable(status: int, reason: str) -> web.Response:
    """What aiohttp could not read: it never became a request."""
    code = ErrorCode.INVALID_REQUEST if status < 500 else ErrorCode.INTERNAL_ERROR
    return _failure(status, ErrorDetail(code=code, message=reason), str(uuid4()))


async def _expected(request: web.Request) -> web.StreamResponse | None:
    """`Expect: 100-continue` is all that HTTP knows to expect."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # as aiohttp's own does: the answer itself has not begun
        return None
    error = InvalidRequest("The header Expect can only be 100-continue.")
    return _failure(error.http_status, error.detail(), _trace_of(request))


def _response(status: int, body: ServiceResponse, headers: Mapping[str, str]) -> web.Response:
    return web.Response(
        status=status,
        body=body.model_dump_json().encode(),
        content_type="application/json",
        headers={**headers, TRACE_HEADER: body.trace_id},
    )
