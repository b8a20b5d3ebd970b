"""Ctrl-C and SIGTERM: the first one asks for a clean stop, the second one ends at once."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """The user wants to stop."""


class Interruption:
    """While entered, signals set a flag; `unless` runs work until it ends or the flag is set."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self.on_first: Callable[[], None] = lambda: None
        self.on_second: Callable[[], None] = lambda: None  # the last thing that is done

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._hear)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    def _hear(self) -> None:
        if self._asked.is_set():
            self.on_second()
            os._exit(130)
        self._asked.set()
        self.on_first()

    async def unless(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`. Raises Interrupted when a signal came first; `work` is cancelled and waited for."""
        working = asyncio.ensure_future(work)
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
        finally:
            working.cancel()
            asked.cancel()
            await asyncio.gather(working, asked, return_exceptions=True)
        raise Interrupted
