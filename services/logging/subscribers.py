"""Live delivery of log records. A subscriber that is too slow loses records and is given the number of lost ones."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from services.logging.queries import LogFilter

MAX_QUEUED = 1_000  # records queued for one subscriber


class LogSubscriber:
    def __init__(self, wanted: LogFilter) -> None:
        self.wanted = wanted
        self._queue: deque[Mapping[str, Any]] = deque()
        self._dropped = 0
        self._available = asyncio.Event()

    def put(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Queue records. Those beyond KEPT are dropped and counted."""
        for record in records:
            if len(self._queue) >= MAX_QUEUED:
                self._dropped += 1
            else:
                self._queue.append(record)
            self._available.set()

    async def take(self, patience: float) -> tuple[list[Mapping[str, Any]], int]:
        """Wait up to `patience` seconds. Return the records since the last call, and how many were dropped after
        them."""
        try:
            await asyncio.wait_for(self._available.wait(), patience)
        except TimeoutError:
            return [], 0
        self._available.clear()
        found, dropped = list(self._queue), self._dropped
        self._queue.clear()
        self._dropped = 0
        return found, dropped


class LogSubscribers:
    def __init__(self) -> None:
        self._subscribers: set[LogSubscriber] = set()

    @contextmanager
    def subscribe(self, wanted: LogFilter) -> Iterator[LogSubscriber]:
        """Inside the context, the subscriber receives all new records that `wanted` accepts."""
        subscriber = LogSubscriber(wanted)
        self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)

    def publish(self, records: Iterable[Mapping[str, Any]]) -> None:
        new = list(records) if self._subscribers else []
        for subscriber in self._subscribers:
            subscriber.put(record for record in new if subscriber.wanted.matches(record))
