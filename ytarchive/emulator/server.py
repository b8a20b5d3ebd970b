"""Server of the emulator: HTTP proxy to the emulated YouTube, Data API and control API on one port of 127.0.0.1."""

import asyncio
import contextlib
import ipaddress
import logging
import ssl
from http import HTTPStatus
from pathlib import Path
from typing import Self

import platformdirs

from ytarchive.emulator import control
from ytarchive.emulator.site import data_api
from ytarchive.emulator.site.media import Media
from ytarchive.emulator.site.router import Site
from ytarchive.emulator.site.sample import sample_world
from ytarchive.emulator.site.world import World
from ytarchive.emulator.transport import tls
from ytarchive.emulator.transport.fault_injection import Effect, Fault, Faults
from ytarchive.emulator.transport.http import (
    BadRequest,
    ConnectionBroken,
    Request,
    Response,
    SendProgress,
    json_response,
    quick_ack,
    read_request,
    send,
    text_response,
)
from ytarchive.emulator.transport.request_log import RequestLog

LOOPBACK = "127.0.0.1"
HEAD_LIMIT = 1024 * 1024  # large enough that StreamReader never pauses a transport that start_tls has replaced
_CONTROL_HOSTS = frozenset({LOOPBACK, "localhost"})

logger = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """Return the directory that keeps the clips and the certificate authority between runs."""
    return platformdirs.user_cache_path("ytarchive") / "emulator"


class Emulator:
    """Server of the emulated YouTube; `async with Emulator() as emulator:` serves until the block is left.

    `world` (default: the sample world) is copied; to change it later, use `emulator.world`. Entering the block raises
    MediaError when the clips cannot be encoded and OSError when the port is in use.
    """

    def __init__(
        self,
        world: World | None = None,
        *,
        cache_dir: Path | None = None,
        port: int = 0,
    ) -> None:
        self._initial_world = sample_world() if world is None else world.copy()
        self._cache_dir = cache_dir or default_cache_dir()
        self._requested_port = port
        self.port = 0
        self.ca_file = Path()
        self._media = Media(self._cache_dir)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._tls: ssl.SSLContext | None = None
        self.log = RequestLog()
        self.reset()

    def reset(self) -> None:
        """Restore the initial world, remove all faults, clear the log and lift the quota limit."""
        self.world = self._initial_world.copy()
        self.faults = Faults()
        self.site = Site(self.world, self._media)
        self.data_api = data_api.EmulatedDataApi(self.world)
        self._control = control.Control(
            self.world,
            self.site,
            self.data_api,
            self.faults,
            self.log,
            addresses=self.addresses,
            reset=self.reset,
        )
        self.log.clear()

    @property
    def base_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def proxy_url(self) -> str:
        """Value of the `proxy` setting of yt-dlp and other clients."""
        return self.base_url

    @property
    def api_endpoint(self) -> str:
        """Value of the `api_endpoint` option of google-api-python-client."""
        return self.base_url

    def addresses(self) -> dict[str, str]:
        return {"proxy": self.proxy_url, "api_endpoint": self.api_endpoint, "ca_file": str(self.ca_file)}

    async def __aenter__(self) -> Self:
        await self._media.prepare()
        authority, self.ca_file = await asyncio.to_thread(tls.certificate_authority, self._cache_dir)
        self._tls = tls.server_context(authority)
        self._server = await asyncio.start_server(
            self._accept, LOOPBACK, self._requested_port, limit=HEAD_LIMIT, backlog=512
        )
        for sock in self._server.sockets:
            address, self.port = sock.getsockname()[:2]
            if not ipaddress.ip_address(address).is_loopback:
                raise AssertionError(f"the emulator must listen on loopback only, but is bound to {address}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        # OSError includes connection resets and TLS failures; a client that disconnects is not an error
        with contextlib.suppress(OSError, ConnectionBroken, asyncio.CancelledError):
            await self._serve_connection(reader, writer)
        writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tunnel_host: str | None = None
        while True:
            try:
                request = await read_request(reader, writer)
            except BadRequest as error:
                bad = Request("GET", "", {})
                await send(writer, bad, text_response(str(error), HTTPStatus.BAD_REQUEST), None, SendProgress())
                return
            if request is None:
                return
            if request.method == "CONNECT" and tunnel_host is None:
                tunnel_host = await self._open_tunnel(request, writer)
                if tunnel_host is None:
                    return
                continue
            await self._serve(request, writer, tunnel_host)
            if request.headers.get("connection", "").lower() == "close":
                return

    async def _open_tunnel(self, request: Request, writer: asyncio.StreamWriter) -> str | None:
        """Accept a CONNECT request and start TLS; return the host, or None when the host is not emulated."""
        host = request.target.rpartition(":")[0]
        if not tls.is_allowed(host):
            await self._refuse(request, writer, host)
            return None
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        assert self._tls is not None  # noqa: S101  # for the type checker: set before the server listens
        await writer.start_tls(self._tls)
        quick_ack(writer)
        return host

    async def _refuse(self, request: Request, writer: asyncio.StreamWriter, host: str) -> None:
        entry = self.log.begin("refused_connect", request.method, host, request.path, {})
        response = text_response(f"{host} is not a host of the emulated YouTube\n", HTTPStatus.FORBIDDEN)
        response.headers["Connection"] = "close"
        entry.status, entry.done = HTTPStatus.FORBIDDEN, True
        logger.warning("refused a connection to %s", host)
        await self.log.notify()
        await send(writer, request, response, None, SendProgress())

    async def _serve(self, request: Request, writer: asyncio.StreamWriter, tunnel_host: str | None) -> None:
        host = tunnel_host or request.host.rpartition(":")[0] or request.host
        if tunnel_host is None and host in _CONTROL_HOSTS and request.path.startswith(control.PREFIX):
            await send(writer, request, await self._control.respond(request), None, SendProgress())
        elif not tls.is_allowed(host) and host not in _CONTROL_HOSTS:
            await self._refuse(request, writer, host)
            raise ConnectionBroken
        else:
            await self._serve_youtube(request, writer, host)

    async def _serve_youtube(self, request: Request, writer: asyncio.StreamWriter, host: str) -> None:
        is_api = request.path.startswith(data_api.PREFIX)
        kind, video_id = ("data_api", None) if is_api else self.site.classify(request)
        entry = self.log.begin(
            kind, request.method, host, request.path, request.query, request.headers.get("range"), video_id
        )
        await self.log.notify()
        itag = request.query.get("itag", "")
        fault = self.faults.take(kind, video_id, int(itag) if itag.isdecimal() else None)
        progress = SendProgress()
        try:
            response = await self._build_response(request, kind, fault)
            await send(writer, request, response, fault, progress)
        finally:
            entry.status, entry.bytes_sent, entry.done = progress.status or None, progress.sent, True
            await self.log.notify()

    async def _build_response(self, request: Request, kind: str, fault: Fault | None) -> Response:
        if fault is not None and fault.effect is Effect.DELAY:
            await asyncio.sleep(fault.seconds)
        if fault is not None and fault.effect is Effect.STATUS:
            headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            if kind == "data_api":
                response = json_response({"error": {"code": fault.status, "message": "Backend Error"}}, fault.status)
            else:
                response = text_response("", fault.status)
            response.headers |= headers
            return response
        if kind == "data_api":
            return self.data_api.respond(request)
        try:
            return await self.site.respond(kind, request)
        except BadRequest as error:
            return text_response(str(error), HTTPStatus.BAD_REQUEST)
