"""The emulator: one port on 127.0.0.1 with a proxy to the emulated YouTube, the Data API and the control path."""

from __future__ import annotations

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
    Answer,
    BadRequest,
    ConnectionBroken,
    Request,
    Sending,
    json_answer,
    quick_ack,
    read_request,
    send,
    text_answer,
)
from ytarchive.emulator.transport.request_log import RequestLog

LOOPBACK = "127.0.0.1"
HEAD_LIMIT = 1024 * 1024  # also keeps StreamReader from pausing a transport that start_tls has replaced
_CONTROL_HOSTS = frozenset({LOOPBACK, "localhost"})

logger = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """Return the folder in which clips and the certificate authority are kept between runs."""
    return platformdirs.user_cache_path("ytarchive") / "emulator"


class Emulator:
    """`async with Emulator() as emulator:` serves until the block ends.

    `world` (by default the sample world) is copied: later changes go to `emulator.world`. Entering raises MediaError
    when the clips cannot be created, and OSError when the port is taken.
    """

    def __init__(
        self,
        world: World | None = None,
        *,
        cache_dir: Path | None = None,
        port: int = 0,
    ) -> None:
        self._first_world = sample_world() if world is None else world.copy()
        self._cache_dir = cache_dir or default_cache_dir()
        self._wanted_port = port
        self.port = 0
        self.ca_file = Path()
        self._media = Media(self._cache_dir)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._tls: ssl.SSLContext | None = None
        self.log = RequestLog()
        self.reset()

    def reset(self) -> None:
        """Restore the first world, full quota and an empty log, and remove all faults."""
        self.world = self._first_world.copy()
        self.faults = Faults()
        self.site = Site(self.world, self._media)
        self.data_api = data_api.DataApi(self.world)
        self._control = control.Control(
            self.world,
            self.faults,
            self.site,
            self.data_api,
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
        """The `proxy` setting for yt-dlp and other clients."""
        return self.base_url

    @property
    def api_endpoint(self) -> str:
        """The `api_endpoint` setting for google-api-python-client."""
        return self.base_url

    def addresses(self) -> dict[str, str]:
        return {"proxy": self.proxy_url, "api_endpoint": self.api_endpoint, "ca_file": str(self.ca_file)}

    async def __aenter__(self) -> Self:
        await self._media.prepare()
        authority, self.ca_file = await asyncio.to_thread(tls.certificate_authority, self._cache_dir)
        self._tls = tls.server_context(authority)
        self._server = await asyncio.start_server(
            self._accept, LOOPBACK, self._wanted_port, limit=HEAD_LIMIT, backlog=512
        )
        for sock in self._server.sockets:
            address, self.port = sock.getsockname()[:2]
            if not ipaddress.ip_address(address).is_loopback:
                raise AssertionError(f"the emulator must not be reachable from outside, but binds {address}")
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
        # OSError includes resets and TLS failures: clients may disconnect at any time
        with contextlib.suppress(OSError, ConnectionBroken, asyncio.CancelledError):
            await self._serve_connection(reader, writer)
        writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tunnel: str | None = None
        while True:
            try:
                request = await read_request(reader, writer)
            except BadRequest as error:
                bad = Request("GET", "", {})
                await send(writer, bad, text_answer(str(error), HTTPStatus.BAD_REQUEST), None, Sending())
                return
            if request is None:
                return
            if request.method == "CONNECT" and tunnel is None:
                tunnel = await self._connect(request, writer)
                if tunnel is None:
                    return
                continue
            await self._serve(request, writer, tunnel)
            if request.headers.get("connection", "").lower() == "close":
                return

    async def _connect(self, request: Request, writer: asyncio.StreamWriter) -> str | None:
        """Open the tunnel and start TLS in it. Return None for a host that is not emulated."""
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
        answer = text_answer(f"{host} is not part of the loopback YouTube\n", HTTPStatus.FORBIDDEN)
        answer.headers["Connection"] = "close"
        entry.status, entry.done = HTTPStatus.FORBIDDEN, True
        logger.warning("refused a connection to %s", host)
        await self.log.announce()
        await send(writer, request, answer, None, Sending())

    async def _serve(self, request: Request, writer: asyncio.StreamWriter, tunnel: str | None) -> None:
        host = tunnel or request.host.rpartition(":")[0] or request.host
        if tunnel is None and host in _CONTROL_HOSTS and request.path.startswith(control.PREFIX):
            await send(writer, request, await self._control.answer(request), None, Sending())
        elif not tls.is_allowed(host) and host not in _CONTROL_HOSTS:
            await self._refuse(request, writer, host)
            raise ConnectionBroken
        else:
            await self._serve_youtube(request, writer, host)

    async def _serve_youtube(self, request: Request, writer: asyncio.StreamWriter, host: str) -> None:
        api = request.path.startswith(data_api.PREFIX)
        kind, video_id = ("data_api", None) if api else self.site.classify(request)
        entry = self.log.begin(
            kind, request.method, host, request.path, request.query, request.headers.get("range"), video_id
        )
        await self.log.announce()
        itag = request.query.get("itag", "")
        fault = self.faults.take(kind, video_id, int(itag) if itag.isdecimal() else None)
        sending = Sending()
        try:
            answer = await self._answer(request, kind, fault)
            await send(writer, request, answer, fault, sending)
        finally:
            entry.status, entry.bytes_sent, entry.done = sending.status or None, sending.sent, True
            await self.log.announce()

    async def _answer(self, request: Request, kind: str, fault: Fault | None) -> Answer:
        if fault is not None and fault.effect is Effect.DELAY:
            await asyncio.sleep(fault.seconds)
        if fault is not None and fault.effect is Effect.STATUS:
            headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            if kind == "data_api":
                answer = json_answer({"error": {"code": fault.status, "message": "Backend Error"}}, fault.status)
            else:
                answer = text_answer("", fault.status)
            answer.headers |= headers
            return answer
        if kind == "data_api":
            return self.data_api.answer(request)
        try:
            return await self.site.answer(kind, request)
        except BadRequest as error:
            return text_answer(str(error), HTTPStatus.BAD_REQUEST)
