"""Just enough HTTP/1.1 for a proxy that also ends TLS: read a request, send an answer, break it on purpose."""

from __future__ import annotations

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
    """The client sent what this server does not understand."""


class ConnectionBroken(Exception):  # not an error: the emulator was told to break the connection
    """The connection was broken on purpose, and must not be used again."""


@dataclass(slots=True)
class Request:
    """One request; header names are lower case, `target` is as it was sent."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    path: str = ""
    query: dict[str, str] = field(default_factory=dict)
    host: str = ""

    def json(self) -> dict[str, Any]:
        """The body as a JSON object (empty: {}). Raises BadRequest."""
        if not self.body:
            return {}
        try:
            data = json.loads(self.body)
        except ValueError as error:
            raise BadRequest(f"the body is no JSON: {error}") from error
        if not isinstance(data, dict):
            raise BadRequest("the body is no JSON object")
        return data


@dataclass(slots=True)
class Answer:
    """What to send. With `ranges`, a Range header of the request is honoured."""

    body: Blob
    content_type: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = False


def text_answer(text: str, status: int = 200, content_type: str = "text/html; charset=utf-8") -> Answer:
    return Answer(Blob(text.encode()), content_type, status)


def json_answer(data: Any, status: int = 200) -> Answer:
    return Answer(Blob(json.dumps(data).encode()), "application/json; charset=UTF-8", status)


def quick_ack(writer: asyncio.StreamWriter) -> None:
    """Acknowledge at once: urllib3 leaves Nagle on for proxied sockets, which else costs 40 ms per POST."""
    sock = writer.get_extra_info("socket")
    if sock is not None and hasattr(socket, "TCP_QUICKACK"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """The next request, or None when the client is done. Raises BadRequest."""
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
        raise BadRequest("only bodies with a moderate Content-Length are understood")
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
        raise BadRequest("no request line") from error
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    request = Request(method, target, headers, host=headers.get("host", ""))
    if method != "CONNECT":
        try:
            parts = urlsplit(target)
        except ValueError as error:
            raise BadRequest("no URL") from error
        request.path = unquote(parts.path)
        request.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        request.host = parts.netloc or request.host
    return request


def _span(request: Request, answer: Answer) -> tuple[int, int, int]:
    """The status and the range of bytes to send."""
    size = answer.body.size
    header = request.headers.get("range", "")
    if not answer.ranges or not header or answer.status != HTTPStatus.OK:
        return answer.status, 0, size
    found = _RANGE.match(header)
    if not found or found.groups() == ("", ""):
        return answer.status, 0, size
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(int(last) + 1, size) if first and last else size
    if start >= stop:
        return HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, 0
    return HTTPStatus.PARTIAL_CONTENT, start, stop


@dataclass(slots=True)
class Sending:
    """How far an answer got; kept up to date while it is sent."""

    status: int = 0
    sent: int = 0


async def send(
    writer: asyncio.StreamWriter, request: Request, answer: Answer, fault: Fault | None, sending: Sending
) -> None:
    """Send an answer, broken as the fault says. Raises ConnectionBroken when the connection is of no more use."""
    status, start, stop = _span(request, answer)
    sending.status = status
    size = answer.body.size
    headers = {"Content-Type": answer.content_type, "Content-Length": str(stop - start), **answer.headers}
    if answer.ranges:
        headers["Accept-Ranges"] = "bytes"
    if status == HTTPStatus.PARTIAL_CONTENT:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    elif status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        headers["Content-Range"] = f"bytes */{size}"
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    if request.method != "HEAD":
        await _send_body(writer, answer.body, start, stop, fault, sending)
    await writer.drain()


async def _send_body(
    writer: asyncio.StreamWriter, body: Blob, start: int, stop: int, fault: Fault | None, sending: Sending
) -> None:
    breaks = fault is not None and fault.effect in (Effect.RESET, Effect.TRUNCATE, Effect.STALL)
    end = stop
    if fault is not None and breaks:
        end = min(stop, start + ((stop - start) // 2 if fault.after is None else fault.after))
    rate = fault.rate if fault is not None and fault.effect is Effect.THROTTLE else None
    chunk = min(CHUNK, max(1, rate // 10)) if rate else CHUNK
    for offset in range(start, end, chunk):
        piece = body.read(offset, min(offset + chunk, end))
        writer.write(piece)
        await writer.drain()
        sending.sent += len(piece)
        if rate:
            await asyncio.sleep(len(piece) / rate)
    if fault is not None and breaks:
        await _break(writer, fault)


async def _break(writer: asyncio.StreamWriter, fault: Fault) -> None:
    if fault.effect is Effect.STALL:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(fault.seconds):
                await asyncio.shield(writer.wait_closed())  # the client may well give up first
    elif fault.effect is Effect.RESET:
        sock = writer.get_extra_info("socket")
        if sock is not None:  # closing then sends RST instead of FIN
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    raise ConnectionBroken
