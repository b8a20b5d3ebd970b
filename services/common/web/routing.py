"""REST routes (SPEC: API Standards): typed models in, ServiceResponse out, a trace id for each request.

    Route("POST", "/api/v1/jobs", create, body=NewJob, response=Job, status=201, summary="Create a job")

    async def create(call: Call, body: NewJob) -> Job: ...

A handler gets the Call, then `path=`, `query=` and `body=` where the route names models for them; further parameters
are injected by type (bus.injection). It returns a model or plain data, a Reply for another status, or a raw aiohttp
response (files, SSE). Errors of services.common.errors become an ErrorDetail with their own HTTP status.
"""

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Protocol
from uuid import uuid4

import structlog
from aiohttp import web
from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_json

from bus import BusError
from bus.injection import inject
from bus.tasks import unless
from services.common.errors import (
    InvalidRequest,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
    YTArchiveError,
    code_of,
)
from services.common.models import ErrorCode, ErrorDetail, ServiceResponse
from services.common.names import TokenScope
from services.common.web import access
from services.common.web.access import AccessRules, Arrival
from services.common.web.bound_socket import BoundSocket
from services.common.web.error_protocol import ENDS_WITH_CONNECTION, Runner
from services.common.web.limits import Limits, report_exhaustion_once
from services.common.web.request_parsing import NoQuery, parse_body, read_json, read_path, read_query, wrapper_of

TRACE_HEADER = "X-Trace-Id"
BODY_LIMIT = 1024**2  # bytes
_LAST_ANSWERS = 1.0  # seconds
_TRACE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACE_KEY = web.RequestKey("trace_id", str)
_JSON: TypeAdapter[Any] = TypeAdapter(Any)
_BEGUN = web.RequestKey("response_begun", bool)


@dataclass(frozen=True)
class Call:
    """One request: its trace id, the parts of its path, and the aiohttp request.

    `closing` is set when the service shuts down; a streaming handler must end then.
    """

    trace_id: str
    path: Mapping[str, str]
    raw: web.Request
    closing: asyncio.Event


@dataclass(frozen=True)
class Reply:
    """An answer with another status, or other headers, than its route's."""

    data: Any
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    error: ErrorDetail | None = None


Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class Route:
    """One endpoint and its OpenAPI description. `path` is in aiohttp's syntax: `/jobs/{job_id}`.

    Unknown query keys are rejected, also by a route without a query model. A GET route that does not stream also serves
    HEAD.
    """

    method: str
    path: str
    handler: Handler
    summary: str = ""
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    path_model: type[BaseModel] | None = None  # the parts of the path; a mismatch is 404
    response: Any = None  # a model, or a type that pydantic can describe
    status: int = 200
    needs_bus: bool = False  # answer 503 at once while the broker is away, or (but to GET) stores no events
    begins_work: bool = False  # and also while its room is kept for the events of running work
    streams: bool = False  # shutdown does not wait for it
    quiet: bool = False  # logged at debug level, for routes that are polled
    limited: bool = True  # in the rate of requests of one client
    media_type: str | None = None  # of an answer that is not a ServiceResponse; of a stream text/event-stream
    also: Mapping[int, str] = field(
        default_factory=dict
    )  # further statuses beside 400, 404, 413 and 503, with their conditions
    failure: Any = None  # the type of `data` that may accompany an error
    headers: Mapping[str, str] = field(
        default_factory=dict
    )  # request headers that the handler reads, with their effects
    common: bool = False  # a route of every service
    deprecated: bool = False  # an old path, which is still served for one release
    scope: TokenScope | None = None  # of the token that is needed; unset: read for GET, else operate
    public: bool = False  # no token is needed: what somebody needs who wants to log in

    @property
    def needed(self) -> TokenScope:
        return self.scope or ("read" if self.method in {"GET", "HEAD"} else "operate")

    def renamed_from(self, path: str) -> "Route":
        """Return the deprecated route that serves the same under its old `path`."""
        return replace(self, path=path, deprecated=True)

    def bind(self, parts: Sequence[object]) -> "Route":
        """Return the route with the further parameters of its handler injected from `parts`."""
        return replace(self, handler=inject(self.handler, parts, 1, named=("path", "query", "body")))


@dataclass(frozen=True)
class Observed:
    """A finished request. `route` is None when no route matched."""

    route: Route | None
    method: str
    status: int
    seconds: float


class RestOwner(Protocol):
    """The state of the service that the REST application needs."""

    logger: structlog.typing.FilteringBoundLogger
    accepting: bool
    accepting_work: bool
    closing: asyncio.Event

    @property
    def bus_away(self) -> str | None: ...

    async def bus_problem(self, *, new_work: bool = True) -> str | None: ...


class RestApplication:
    """The aiohttp application of one service."""

    def __init__(
        self,
        owner: RestOwner,
        routes: Sequence[Route],
        access_rules: AccessRules,
        observe: Callable[[Observed], None] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._owner = owner
        self._access = access_rules
        self._limits = limits or Limits.of_process()
        self._observe = observe
        self.routes = tuple(routes)
        self.in_hand = 0
        self.answered = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._over = asyncio.Event()  # nothing is worked on any longer
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

    async def start(self, bound: BoundSocket) -> None:
        report_exhaustion_once(asyncio.get_running_loop())
        self._runner = Runner(self.application(), _unreadable, self._limits, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.SockSite(self._runner, bound.socket).start()

    async def idle(self) -> None:
        """Return when no request is in progress."""
        await self._idle.wait()

    async def stop(self) -> None:
        """Answer what is in hand with 503, and close all connections."""
        self._over.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.idle(), _LAST_ANSWERS)
        if self._runner is not None:
            await self._runner.cleanup()

    # --- one request ----------------------------------------------------------------------------------------------

    @web.middleware
    async def _frame(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Add trace id, log records and error handling to every request, also to those without a route. Requests beyond
        the limit of their client are logged once a minute, by RequestRates."""
        trace_id = _trace_of(request)
        request[_TRACE_KEY] = trace_id
        route = self._route_of(request)
        problem = self._problem(request, route)
        quiet = (route and route.quiet) or isinstance(problem, TooManyRequests)
        log = self._owner.logger.debug if quiet else self._owner.logger.info
        counted = not (route and route.streams)
        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(trace_id=trace_id):
            log("request_received", endpoint=request.path, method=request.method, trace_id=trace_id)
            self._count(+1 if counted else 0)
            response: web.StreamResponse | None = None
            try:
                response = await self._answer(request, handler, problem, route)
            finally:
                self._count(-1 if counted else 0)
                status = response.status if response is not None else 499  # cancelled at the end of the service
                seconds = time.perf_counter() - started
                log(
                    "request_completed",
                    endpoint=request.path,
                    method=request.method,
                    status_code=status,
                    duration_ms=round(seconds * 1000, 3),
                    trace_id=request[_TRACE_KEY],
                )
                if self._observe is not None:
                    self._observe(Observed(route, request.method, status, seconds))
        return response

    def _problem(self, request: web.Request, route: Route | None) -> Exception | None:
        """Return why a request is not answered."""
        if not self._owner.accepting:
            return ServiceUnavailable("The service is shutting down. Try again in a moment.")
        if route and not self._owner.accepting_work and (route.begins_work or route.status == HTTPStatus.CREATED):
            return ServiceUnavailable(
                "The system is shutting down and begins nothing new. Send the request again when it runs"
                " (`ytarchive up`); `ytarchive download` needs no running system."
            )
        needed, limited = (route.needed, route.limited) if route else ("read", True)
        try:
            self._access.check(
                arrival_of(request), None if route is not None and route.public else needed, limited=limited
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered like an error of a handler
            return error
        return None

    async def _answer(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        problem: Exception | None,
        route: Route | None,
    ) -> web.StreamResponse:
        """A stream ends when its client may no longer read; other answers are 503 at the end of the service."""
        try:
            if problem is not None:
                raise problem
            if route is not None and route.streams:
                return await self._stream(request, handler, route)
            response = await unless(handler(request), self._over)
            if response is None:
                raise ServiceUnavailable(
                    "The service stopped before this request was done. Look whether it had an effect before you send"
                    " it again."
                )
            return response
        except Exception as error:
            if _BEGUN in request:  # the headers of a stream are sent: it can only be aborted
                self._owner.logger.warning("stream_broken", error_type=type(error).__name__, error_message=str(error))
                raise
            response = self._failed(request, error, request[_TRACE_KEY])
            self._log_error(error, response.status, request[_TRACE_KEY])
            return response

    async def _stream(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]], route: Route
    ) -> web.StreamResponse:
        refused = self._access.until_refused(arrival_of(request), None if route.public else route.needed)
        response = await unless(handler(request), refused)
        if response is not None:
            return response
        if _BEGUN in request and request.transport is not None:
            request.transport.abort()  # there is no other way to tell the client
            return web.Response(status=HTTPStatus.UNAUTHORIZED)  # for the log
        raise Unauthorized("The session or the token that this request came with has ended. Log in again.")

    def _log_error(self, error: Exception, status: int, trace_id: str) -> None:
        """Log the error of an answer (docs/decisions/0024): a failure of this system at level error, with the traceback
        of an unforeseen one; a refused request at level info."""
        kind, message = type(error).__name__, str(error)
        code = code_of(error)
        if isinstance(error, web.HTTPException):
            code, message = ErrorCode.INVALID_REQUEST, error.reason
        known = isinstance(error, (YTArchiveError, BusError, web.HTTPException))
        log = self._owner.logger.error if status >= 500 else self._owner.logger.info
        if isinstance(error, TooManyRequests):
            log = self._owner.logger.debug
        about = {
            "error_type": kind,
            "error_code": code,
            "error_message": message,
            "status_code": status,
            "trace_id": trace_id,
        }
        log("error_occurred", **about, exc_info=None if known else error)

    @staticmethod
    def _failed(request: web.Request, error: Exception, trace_id: str) -> web.Response:
        """Turn any exception into a ServiceResponse."""
        match error:
            case YTArchiveError():
                return _failure(error.http_status, error.detail(), trace_id, _headers_of(error))
            case BusError():
                return _failure(503, ErrorDetail(code=ErrorCode.SERVICE_UNAVAILABLE, message=str(error)), trace_id)
            case web.HTTPException():
                return _refusal(request, error, trace_id)
        message = f"Internal error ({type(error).__name__}). The log has the details under this trace_id."
        return _failure(500, ErrorDetail(code=ErrorCode.INTERNAL_ERROR, message=message), trace_id)

    def _endpoint(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def endpoint(request: web.Request) -> web.StreamResponse:
            models: dict[str, BaseModel] = {}
            if route.path_model is not None:
                models["path"] = read_path(request, route.path_model)
            if problem := await self._bus_problem(route):
                raise ServiceUnavailable(f"The request is not taken: {problem}.")
            if route.body is not None:
                models["body"] = await self._read_body(request, route.body)
            query = read_query(request, route.query or NoQuery)
            if route.query is not None:
                models["query"] = query
            if route.streams:
                request[ENDS_WITH_CONNECTION] = True
            call = Call(request[_TRACE_KEY], dict(request.match_info), request, self._owner.closing)
            result = await route.handler(call, **models)
            return result if isinstance(result, web.StreamResponse) else success(result, route.status, call.trace_id)

        endpoint.__name__ = getattr(route.handler, "__name__", "endpoint")
        setattr(endpoint, "route", route)  # noqa: B010 - an attribute that the type of a function does not have
        return endpoint

    async def _bus_problem(self, route: Route) -> str | None:
        if not route.needs_bus:
            return None
        if route.method == "GET":  # it only asks other services
            return self._owner.bus_away
        return await self._owner.bus_problem(new_work=route.begins_work)

    async def _read_body(self, request: web.Request, model: type[BaseModel]) -> BaseModel:
        try:
            async with asyncio.timeout(self._limits.body):
                raw = await read_json(request)
        except TimeoutError as error:
            raise web.HTTPRequestTimeout from error
        wrapper = wrapper_of(raw)
        if wrapper is None:
            return parse_body(raw, model)
        if not _has_trace(request) and _TRACE_ID.fullmatch(wrapper.trace_id):
            request[_TRACE_KEY] = wrapper.trace_id
            structlog.contextvars.bind_contextvars(trace_id=wrapper.trace_id)
        return parse_body(to_json(wrapper.data), model)

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
    """Add the headers of every answer to files and streams, whose handlers do not."""
    request[_BEGUN] = True
    for name, value in access.HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault(TRACE_HEADER, request.get(_TRACE_KEY) or _trace_of(request))


def arrival_of(request: web.Request) -> Arrival:
    """Return what the access rules need to know of a request."""

    def address(end: str) -> str:
        name = request.get_extra_info(end)
        return str(name[0]) if isinstance(name, tuple) else ""

    forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
    return Arrival(request.method, request.path, request.headers, address("sockname"), address("peername"), forwarded)


def _has_trace(request: web.Request) -> bool:
    return _TRACE_ID.fullmatch(request.headers.get(TRACE_HEADER, "")) is not None


def _trace_of(request: web.Request) -> str:
    return request.headers[TRACE_HEADER] if _has_trace(request) else str(uuid4())


def success(result: Any, status: int, trace_id: str) -> web.Response:
    """Return the answer of a route: a ServiceResponse with `result`, or a Reply, as its data."""
    reply = result if isinstance(result, Reply) else Reply(result, status)
    data = _JSON.dump_python(reply.data, mode="json")
    return _response(
        reply.status,
        ServiceResponse(success=reply.error is None, data=data, error=reply.error, trace_id=trace_id),
        reply.headers,
    )


def _failure(status: int, error: ErrorDetail, trace_id: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Build an error answer (SPEC: Error Response Pattern); the details contain the trace_id."""
    detail = error.model_copy(update={"details": {**(error.details or {}), "trace_id": trace_id}})
    return _response(status, ServiceResponse(success=False, error=detail, trace_id=trace_id), headers or {})


def _headers_of(error: YTArchiveError) -> dict[str, str]:
    """Return WWW-Authenticate for 401, and Retry-After in whole seconds if the error's details have `retry_after` (a
    time or seconds)."""
    if error.http_status == 401:
        return {"WWW-Authenticate": "Bearer"}
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
    """Answer a request that aiohttp itself rejects: unknown path, wrong method, body too large."""
    messages = {
        404: f"There is no {request.path}.",
        405: f"{request.method} is not allowed on {request.path}.",
        408: "The body did not arrive in time.",
        413: f"The body is larger than {BODY_LIMIT} bytes.",
    }
    message = messages.get(error.status, error.reason)
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return _failure(error.status, ErrorDetail(code=ErrorCode.INVALID_REQUEST, message=message), trace_id, headers)


def _unreadable(status: int, reason: str) -> web.Response:
    """Answer what aiohttp could not parse as a request."""
    code = ErrorCode.INVALID_REQUEST if status < 500 else ErrorCode.INTERNAL_ERROR
    return _failure(status, ErrorDetail(code=code, message=reason), str(uuid4()))


async def _expected(request: web.Request) -> web.StreamResponse | None:
    """Handle the Expect header: only `100-continue` is defined."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # as in aiohttp's own handler: the answer itself has not started
        return None
    error = InvalidRequest("The header Expect can only be 100-continue.")
    return _failure(error.http_status, error.detail(), _trace_of(request))


def _response(status: int, body: ServiceResponse, headers: Mapping[str, str]) -> web.Response:
    return web.Response(
        status=status,
        body=body.model_dump_json().encode(),
        content_type="application/json",
        headers={**access.HEADERS, **headers, TRACE_HEADER: body.trace_id},
    )
