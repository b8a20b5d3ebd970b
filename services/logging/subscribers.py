"""Records as they are written, for those who listen. Who does not keep up is told how many it missed."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from services.logging.queries import LogFilter

KEPT = 1_000  # records that wait for one listener


class Listener:
    def __init__(self, wanted: LogFilter) -> None:
        self.wanted = wanted
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._dropped = 0
        self._news = asyncio.Event()

    def hear(self, records: Iterable[Mapping[str, Any]]) -> None:
        for record in records:
            if len(self._waiting) >= KEPT:
                self._dropped += 1
            else:
                self._waiting.append(record)
            self._news.set()

    async def news(self, patience: float) -> tuple[list[Mapping[str, Any]], int]:
        """The records since the last call, and how many were dropped after them; nothing after `patience` seconds."""
        try:
            await asyncio.wait_for(self._news.wait(), patience)
        except TimeoutError:
            return [], 0
        self._news.clear()
        found, dropped = list(self._waiting), self._dropped
        self._waiting.clear()
        self._dropped = 0
        return found, dropped


class Live:
    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    @contextmanager
    def listening(self, wanted: LogFilter) -> Iterator[Listener]:
        listener = Listener(wanted)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def tell(self, records: Iterable[Mapping[str, Any]]) -> None:
        told = list(records) if self._listeners else []
        for listener in self._listeners:
            listener.hear(record for record in told if listener.wanted.fits(record))
