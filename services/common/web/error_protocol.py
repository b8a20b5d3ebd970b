"""Answer invalid HTTP requests with a ServiceResponse. The only module that uses private parts of aiohttp."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

Refuse = Callable[[int, str], web.Response]  # status and reason -> the answer


class _Protocol(web.RequestHandler):
    """aiohttp answers in plain text when it cannot parse a request; this answers with `refuse`."""

    __slots__ = ("_refuse",)

    def __init__(self, manager: web.Server, refuse: Refuse, **words: Any) -> None:
        super().__init__(manager, **words)
        self._refuse = refuse

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
    def __init__(self, plain: web.Server, refuse: Refuse, words: dict[str, Any]) -> None:
        super().__init__(plain.request_handler, request_factory=plain.request_factory, **words)
        self._words = words
        self._refuse = refuse

    def __call__(self) -> web.RequestHandler:
        return _Protocol(self, self._refuse, loop=self._loop, **self._words)


class Runner(web.AppRunner):
    """An AppRunner that answers unparseable requests with `refuse`."""

    __slots__ = ("_refuse", "_words")

    def __init__(self, app: web.Application, refuse: Refuse, *, shutdown_timeout: float) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=shutdown_timeout)
        self._refuse = refuse

    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server(), self._refuse, {"access_log": None})
