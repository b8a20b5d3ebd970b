"""Ctrl-C and SIGTERM: the first signal requests a clean stop, the second one ends the process at once."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from bus.tasks import unless

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """The user requested a stop."""


class Interruption:
    """Inside the context, a signal interrupts `unless`. `on_second` is called just before the process ends."""

    def __init__(self) -> None:
        self._requested = asyncio.Event()
        self.on_first: Callable[[], None] = lambda: None
        self.on_second: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._handle)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    def _handle(self) -> None:
        if self._requested.is_set():
            self.on_second()
            os._exit(130)
        self._requested.set()
        self.on_first()

    async def unless(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`. Raise Interrupted when a signal comes first; `work` has then ended."""
        results: list[T] = []

        async def run() -> None:
            results.append(await work)

        await unless(run(), self._requested)
        if not results:
            raise Interrupted
        return results[0]
