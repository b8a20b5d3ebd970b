"""Forward REST to the service that owns a path. The prefixes of the five services do not collide; what each of them has
(health, metrics, the description of its API) is under /api/v1/services/{name}/."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiohttp
from aiohttp import web
from pydantic import BaseModel, ConfigDict
from yarl import URL

from bus.tasks import unless
from services.common.errors import NotFound, ServiceUnavailable
from services.common.names import SERVICES, ServiceName, TokenScope
from services.common.web.routing import TRACE_HEADER, Call, Route
from ytarchive.web.services import Services

OWNERS: Final[dict[str, ServiceName]] = {
    "jobs": "jobs",
    "follows": "jobs",
    "events": "jobs",
    "registry": "jobs",
    "metadata": "metadata",
    "download": "download",
    "storage": "storage",
    "logs": "logging",
}
_OF_EVERY_SERVICE = frozenset({"health", "metrics", "openapi.json", "docs"})
_API = "/api/v1"
_CHUNK = 256 * 1024  # bytes
# What a client may ask of a service. Origin, Host, cookies and what proxies add were examined here and end here.
_ASKED = ("Accept", "Authorization", "Content-Type", "If-Modified-Since", "If-None-Match", "If-Range", "Last-Event-ID",
          "Range")  # fmt: skip
_ANSWERED = ("Accept-Ranges", "Allow", "Cache-Control", "Content-Disposition", "Content-Length", "Content-Range",
             "Content-Security-Policy", "Content-Type", "ETag", "Last-Modified", "Referrer-Policy", "Retry-After",
             "WWW-Authenticate")  # fmt: skip


class AnyQuery(BaseModel):
    """The query of a forwarded request, which its service examines."""

    model_config = ConfigDict(extra="allow")


class Forwarder:
    """Sends requests on, with the caller's own bearer token or, for one that was let in otherwise, with that of this
    installation."""

    def __init__(self, services: Services, session: aiohttp.ClientSession) -> None:
        self._services = services
        self._session = session

    @classmethod
    @asynccontextmanager
    async def open(cls, services: Services) -> AsyncIterator["Forwarder"]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0)
        async with aiohttp.ClientSession(
            timeout=timeout, connector=connector, trust_env=False, auto_decompress=False, read_bufsize=_CHUNK
        ) as session:
            yield cls(services, session)

    async def forward(
        self, call: Call, service: ServiceName, path: str, *, query: str | None = None
    ) -> web.StreamResponse:
        """Answer with what `path` of a service answers, with the query of the request or another one. Raise
        ServiceUnavailable."""
        base, token = await self._services.address(service)
        request = call.raw
        headers = {name: request.headers[name] for name in _ASKED if name in request.headers}
        if token is not None:
            headers.setdefault("Authorization", f"Bearer {token}")
        headers[TRACE_HEADER] = call.trace_id
        query = request.rel_url.raw_query_string if query is None else query
        url = f"{base}{path}?{query}" if query else f"{base}{path}"
        body = await request.read() if request.can_read_body else None
        try:
            async with self._session.request(
                request.method, _verbatim(url), headers=headers, data=body, allow_redirects=False
            ) as answer:
                return await _pass_on(call, answer)
        except aiohttp.ClientConnectionError as error:
            self._services.forget()
            raise ServiceUnavailable(
                f"The {service} service at {base} does not answer. It may be restarting; `ytarchive health` shows all."
            ) from error


async def _pass_on(call: Call, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    headers = {name: answer.headers[name] for name in _ANSWERED if name in answer.headers}
    headers[TRACE_HEADER] = answer.headers.get(TRACE_HEADER, call.trace_id)
    response = web.StreamResponse(status=answer.status, headers=headers)
    with suppress(ConnectionResetError):  # the client has gone
        await response.prepare(call.raw)
        if call.raw.method != "HEAD":
            await unless(_copy(answer, response), call.closing)
            await response.write_eof()
    return response


async def _copy(answer: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
    with suppress(ConnectionResetError):
        async for chunk in answer.content.iter_any():
            await response.write(chunk)


def _verbatim(url: str) -> URL:
    return URL(url, encoded=True)  # as the client has encoded it


async def forward_to_owner(call: Call, query: AnyQuery, forwarder: Forwarder) -> web.StreamResponse:
    """Forward to the service that owns the first part of the path."""
    path = call.raw.rel_url.raw_path
    owner = OWNERS.get(call.path["prefix"])
    if owner is None:
        raise NotFound(f"There is no {call.raw.path}. The services' own descriptions: {_API}/services/NAME/docs.")
    return await forwarder.forward(call, owner, path)


async def forward_to_service(call: Call, query: AnyQuery, forwarder: Forwarder) -> web.StreamResponse:
    """Forward what every service has: health, metrics, openapi.json, docs."""
    name, page = call.path["name"], call.path["page"]
    service = next((one for one in SERVICES if one == name), None)
    if service is None or page not in _OF_EVERY_SERVICE:
        raise NotFound(f"There is no {call.raw.path}. Services: {', '.join(SERVICES)}.")
    return await forwarder.forward(call, service, f"{_API}/{page}")


def routes() -> tuple[Route, ...]:
    """Return the routes of forwarded requests, which come after all others: the services' own descriptions and scopes
    apply to them."""
    of_service = f"{_API}/services/{{name}}/{{page}}"
    prefix = _API + "/{prefix}"
    found = [
        Route(method, of_service, forward_to_service, query=AnyQuery, streams=True, quiet=True, scope="read")
        for method in ("GET", "HEAD")
    ]
    for method in ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"):
        reads = method in {"GET", "HEAD"}
        for path in (prefix, prefix + "/{rest:.*}"):
            scope: TokenScope = "read" if reads else "request"
            found.append(Route(method, path, forward_to_owner, query=AnyQuery, streams=True, quiet=reads, scope=scope))
    return tuple(found)
