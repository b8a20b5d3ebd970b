"""The part of HTTP/1.1 that the emulator needs: read a request, send a response, apply faults to the response."""

import asyncio
import contextlib
import json
import re
import socket
import struct
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from ytarchive.emulator.transport.blob import Blob
from ytarchive.emulator.transport.fault_injection import Effect, Fault

MAX_BODY = 16 * 1024 * 1024
CHUNK = 64 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


class BadRequest(ValueError):
    """The request is malformed or not supported."""


class ConnectionBroken(Exception):  # not an error: a fault was injected
    """The connection was closed by a fault or a refusal and must not be used again."""


@dataclass(slots=True)
class Request:
    """One request. Header names are in lower case; `target` is the unmodified request target."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    path: str = ""
    query: dict[str, str] = field(default_factory=dict)
    host: str = ""

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object, {} when it is empty. Raise BadRequest for anything else."""
        if not self.body:
            return {}
        try:
            data = json.loads(self.body)
        except ValueError as error:
            raise BadRequest(f"the body is not JSON: {error}") from error
        if not isinstance(data, dict):
            raise BadRequest("the body is not a JSON object")
        return data


@dataclass(slots=True)
class Response:
    """One response. If `ranges` is set, Range requests are supported."""

    body: Blob
    content_type: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = False


def text_response(text: str, status: int = 200, content_type: str = "text/html; charset=utf-8") -> Response:
    return Response(Blob(text.encode()), content_type, status)


def json_response(data: Any, status: int = 200) -> Response:
    return Response(Blob(json.dumps(data).encode()), "application/json; charset=UTF-8", status)


def quick_ack(writer: asyncio.StreamWriter) -> None:
    """Disable delayed TCP acks: urllib3 keeps Nagle's algorithm on for proxied sockets, which costs 40 ms per POST."""
    sock = writer.get_extra_info("socket")
    if sock is not None and hasattr(socket, "TCP_QUICKACK"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """Return the next request, or None when the client closed the connection. Raise BadRequest."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except asyncio.LimitOverrunError as error:
        raise BadRequest("the header is too long") from error
    quick_ack(writer)
    request = _parse_head(head)
    length = request.headers.get("content-length", "0")
    if "transfer-encoding" in request.headers or not length.isdecimal() or int(length) > MAX_BODY:
        raise BadRequest(f"unsupported body: it needs a Content-Length of at most {MAX_BODY} bytes")
    if int(length):
        if request.headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            request.body = await reader.readexactly(int(length))
        except asyncio.IncompleteReadError:
            return None
        quick_ack(writer)
    return request


def _parse_head(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, _ = first.split(" ")
    except ValueError as error:
        raise BadRequest("the request line is invalid") from error
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    request = Request(method, target, headers, host=headers.get("host", ""))
    if method != "CONNECT":
        try:
            parts = urlsplit(target)
        except ValueError as error:
            raise BadRequest("the URL is invalid") from error
        request.path = unquote(parts.path)
        request.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        request.host = parts.netloc or request.host
    return request


def _byte_range(request: Request, response: Response) -> tuple[int, int, int]:
    """Return the status, and the start and stop of the bytes to send."""
    size = response.body.size
    header = request.headers.get("range", "")
    if not response.ranges or not header or response.status != HTTPStatus.OK:
        return response.status, 0, size
    found = _RANGE.match(header)
    if not found or found.groups() == ("", ""):
        return response.status, 0, size
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(int(last) + 1, size) if first and last else size
    if start >= stop:
        return HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, 0
    return HTTPStatus.PARTIAL_CONTENT, start, stop


@dataclass(slots=True)
class SendProgress:
    """Status and number of body bytes sent so far; updated while the response is sent."""

    status: int = 0
    sent: int = 0


async def send(
    writer: asyncio.StreamWriter, request: Request, response: Response, fault: Fault | None, progress: SendProgress
) -> None:
    """Send a response and apply the fault to it. Raise ConnectionBroken when the connection cannot be used again."""
    status, start, stop = _byte_range(request, response)
    progress.status = status
    size = response.body.size
    headers = {"Content-Type": response.content_type, "Content-Length": str(stop - start), **response.headers}
    if response.ranges:
        headers["Accept-Ranges"] = "bytes"
    if status == HTTPStatus.PARTIAL_CONTENT:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    elif status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        headers["Content-Range"] = f"bytes */{size}"
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    if request.method != "HEAD":
        await _send_body(writer, response.body, start, stop, fault, progress)
    await writer.drain()


async def _send_body(
    writer: asyncio.StreamWriter, body: Blob, start: int, stop: int, fault: Fault | None, progress: SendProgress
) -> None:
    breaks = fault is not None and fault.effect in (Effect.RESET, Effect.TRUNCATE, Effect.STALL)
    end = stop
    if fault is not None and breaks:
        end = min(stop, start + ((stop - start) // 2 if fault.after is None else fault.after))
    rate = fault.rate if fault is not None and fault.effect is Effect.THROTTLE else None
    chunk = min(CHUNK, max(1, rate // 10)) if rate else CHUNK
    for offset in range(start, end, chunk):
        data = body.read(offset, min(offset + chunk, end))
        writer.write(data)
        await writer.drain()
        progress.sent += len(data)
        if rate:
            await asyncio.sleep(len(data) / rate)
    if fault is not None and breaks:
        await _break_connection(writer, fault)


async def _break_connection(writer: asyncio.StreamWriter, fault: Fault) -> None:
    if fault.effect is Effect.STALL:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(fault.seconds):
                await asyncio.shield(writer.wait_closed())  # the client may disconnect first
    elif fault.effect is Effect.RESET:
        sock = writer.get_extra_info("socket")
        if sock is not None:  # SO_LINGER with 0 seconds: close with RST instead of FIN
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    raise ConnectionBroken
