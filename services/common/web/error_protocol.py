"""Answer invalid HTTP requests with a ServiceResponse, limit connections, and end streams with their connection. Uses
private parts of aiohttp, as services.common.web.archived_file does."""

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from services.common.web.limits import Limits

ENDS_WITH_CONNECTION = web.RequestKey("ends_with_connection", bool)
Refuse = Callable[[int, str], web.Response]  # status and reason -> the answer


class _Protocol(web.RequestHandler):
    """aiohttp answers in plain text when it cannot parse a request; this answers with `refuse`. A connection beyond the
    limit is refused with 503, one that sends no complete headers is closed after `limits.head`."""

    __slots__ = ("_limits", "_refuse")

    def __init__(self, manager: web.Server, refuse: Refuse, limits: Limits, **words: Any) -> None:
        super().__init__(manager, keepalive_timeout=limits.idle, **words)
        self._refuse = refuse
        self._limits = limits

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._manager is not None and len(self._manager.connections) > self._limits.connections:
            if isinstance(transport, asyncio.WriteTransport):
                transport.write(_head_and_body(self._refuse(503, "Too many connections. Try again in a moment.")))
            self.force_close()
            return
        self._loop.call_later(self._limits.head, self._close_without_request)

    def _close_without_request(self) -> None:
        if self._request_count == 0:
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        task, request = self._task_handler, self._current_request
        super().connection_lost(exc)
        if task is not None and request is not None and ENDS_WITH_CONNECTION in request:
            task.cancel()  # aiohttp lets it run on until it writes

    def log_exception(self, *args: Any, **words: Any) -> None:
        """Leave out the rest of a body that cannot be decoded: it is the client's error, and the answer is sent."""
        if not isinstance(words.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **words)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        super().handle_error(request, status, exc, message)  # logs the error; raises when the answer has started
        answer = self._refuse(status, message or "The request cannot be parsed.")
        answer.force_close()
        return answer


class _Server(web.Server):
    def __init__(self, plain: web.Server, refuse: Refuse, limits: Limits, words: dict[str, Any]) -> None:
        super().__init__(plain.request_handler, request_factory=plain.request_factory, **words)
        self._words = words
        self._refuse = refuse
        self._limits = limits

    def __call__(self) -> web.RequestHandler:
        return _Protocol(self, self._refuse, self._limits, loop=self._loop, **self._words)


class Runner(web.AppRunner):
    """An AppRunner that answers unparseable requests, and connections beyond the limit, with `refuse`."""

    __slots__ = ("_limits", "_refuse", "_words")

    def __init__(self, app: web.Application, refuse: Refuse, limits: Limits, *, shutdown_timeout: float) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=shutdown_timeout)
        self._refuse = refuse
        self._limits = limits

    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server(), self._refuse, self._limits, {"access_log": None})


def _head_and_body(answer: web.Response) -> bytes:
    body = answer.body if isinstance(answer.body, bytes) else b""
    head = f"HTTP/1.1 {answer.status} {answer.reason}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
