"""GET /api/v1/live: what happens on the bus, as one stream of server-sent events for all parts of the page.

The hub reads the bus while somebody listens. It numbers what it passes on and keeps the last of it: a client that was
away for a moment goes on where it was, one that was away for longer, or that met another hub, gets a `snapshot` again
and reads anew what it shows (docs/decisions/0033).
"""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiohttp import web
from aiohttp_sse import sse_response
from cachetools import TTLCache
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from bus import BusError, Envelope
from bus.message import Delivery
from bus.tasks import cancel_and_wait, first_of
from services.common import events as e
from services.common.infra.logs import VERSION
from services.common.settings.masking import mask
from services.common.web.routing import Call, Route
from ytarchive.client.connect import connected
from ytarchive.web.services import Services

_KEPT = 4_000  # messages for clients that come back
_PROGRESS_INTERVAL = 0.5  # seconds between two values of one download
_KEEP_ALIVE = 10.0  # seconds
_AGAIN = 1.0  # seconds until the bus is read again after it was lost
_LINGER = 30.0  # seconds that the bus is read after the last client has gone
_MOST_RUNNING = 10_000  # downloads
_SILENT = 90.0  # seconds without a message of a download, which reports every 5
_LONGEST_TEXT = 300  # characters of one text in a message
_NOT_TOLD = {e.LogRecorded.subject, e.ServiceHeartbeat.subject}
_KINDS = tuple(
    kind for kind in e.catalogue() if kind.delivery is not Delivery.REQUEST and kind.subject not in _NOT_TOLD
)

_log = structlog.get_logger("ytarchive.web", service="web", version=VERSION)

_AWAY, _RESUMED = ("away", b"{}"), ("resumed", b"{}")

Told = tuple[str, str, bytes]  # the id, the name of the event, its JSON


class LiveQuery(BaseModel):
    """`topics`: the first words of the subjects to be told, separated by commas: `job,download`; unset: all. `last`: as
    the header Last-Event-ID, which a browser sends only when it reconnects by itself."""

    model_config = ConfigDict(extra="forbid")

    topics: str | None = Field(default=None, pattern=r"^[a-z_]+(,[a-z_]+)*$", max_length=200)
    last: str | None = Field(default=None, pattern=r"^[0-9a-f]{8}-\d{1,15}$")


@dataclass(eq=False)
class _Listener:
    """What one client has not been sent yet: `progress` has the newest value of each download."""

    topics: frozenset[str] | None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    progress: dict[str, bytes] = field(default_factory=dict)

    def wants(self, subject: str) -> bool:
        return self.topics is None or subject.partition(".")[0] in self.topics


class LiveHub:
    """One reader of the bus for all clients."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._epoch = ""
        self._number = 0
        self._kept: deque[tuple[int, str, bytes]] = deque(maxlen=_KEPT)  # number, subject, JSON
        # of the downloads that run, by video_id; one that has not moved for so long may have died with its worker
        self._progress: TTLCache[str, bytes] = TTLCache(_MOST_RUNNING, _SILENT)
        self._listeners: set[_Listener] = set()
        self._reading: asyncio.Task[None] | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._ready = asyncio.Event()

    async def close(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
        if self._reading is not None:
            await cancel_and_wait([self._reading])
            self._reading = None

    async def listen(self, topics: frozenset[str] | None, last: str | None) -> AsyncGenerator[Told, None]:
        """Yield what is told from now on. First `snapshot`, or `resumed` if the client knows all but what is kept
        (`last` is the id of the last message that it has seen). What is read over REST after `snapshot` is complete."""
        listener = _Listener(topics)
        self._listeners.add(listener)
        try:
            self._start()
            if not await first_of(self._ready, patience=_AGAIN):
                yield self._id(self._number), *_AWAY
                await self._ready.wait()
            epoch, seen = self._epoch, self._seen(last)
            yield self._id(self._number if seen is None else seen), *(self._snapshot() if seen is None else _RESUMED)
            if seen is None:
                seen = self._number
            elif listener.wants(e.DownloadProgress.subject):  # whose messages are not kept
                listener.progress.update(self._progress)
            while True:
                if epoch != self._epoch:  # something was missed while the bus was away
                    if not self._ready.is_set():
                        yield self._id(seen), *_AWAY
                        await self._ready.wait()
                    epoch, seen = self._epoch, self._number
                    yield self._id(seen), *self._snapshot()
                listener.news.clear()
                due, seen = self._due(listener, seen), self._number
                for told in due:
                    yield told
                if any(name == "progress" for _, name, _ in due):
                    await asyncio.sleep(_PROGRESS_INTERVAL)
                await listener.news.wait()
        finally:
            self._listeners.discard(listener)
            if not self._listeners and self._reading is not None:
                self._ending = asyncio.get_running_loop().call_later(_LINGER, self._end)

    # --- reading the bus ----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if self._reading is None or self._reading.done():
            self._ready.clear()
            self._reading = asyncio.create_task(self._read(), name="web: live")

    def _end(self) -> None:
        if self._reading is not None and not self._listeners:
            self._reading.cancel()

    async def _read(self) -> None:
        """Read the bus until the task is cancelled. Whenever it was away, messages may be missing: a new epoch."""
        while True:
            self._ready.clear()
            self._epoch, self._number = secrets.token_hex(4), 0
            self._kept.clear()
            self._progress.clear()
            self._wake()
            try:
                system = await self._services.system()
                async with connected(system) as bus, bus.tail(*_KINDS) as envelopes:
                    self._ready.set()
                    self._wake()
                    gone = asyncio.ensure_future(_until_away(bus))
                    reading = asyncio.ensure_future(self._tell_all(envelopes))
                    try:
                        await asyncio.wait({gone, reading}, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        await cancel_and_wait([gone, reading])
            except BusError as error:
                _log.warning("live_stream_waits", error_message=str(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, the page is to show that it waits
                _log.warning("live_stream_waits", error_type=type(error).__name__, error_message=str(error))
            self._services.forget()
            await asyncio.sleep(_AGAIN)

    async def _tell_all(self, envelopes: "AsyncGenerator[Envelope, None] | Any") -> None:
        async for envelope in envelopes:
            self.tell(envelope)

    def tell(self, envelope: Envelope) -> None:
        """Pass a message on to all that want it."""
        told = to_json(brief(envelope))
        video_id = str(envelope.data.get("video_id", ""))
        if envelope.type == e.DownloadProgress.subject:
            self._progress[video_id] = told
            for listener in self._listeners:
                if listener.wants(envelope.type):
                    listener.progress[video_id] = told
                    listener.news.set()
            return
        if envelope.type in _END_OF_DOWNLOAD:
            self._progress.pop(video_id, None)
            for listener in self._listeners:
                listener.progress.pop(video_id, None)
        self._number += 1
        self._kept.append((self._number, envelope.type, told))
        self._wake()

    def _wake(self) -> None:
        for listener in self._listeners:
            listener.news.set()

    # --- what is told -------------------------------------------------------------------------------------------------

    def _id(self, number: int) -> str:
        return f"{self._epoch}-{number}"

    def _seen(self, last: str | None) -> int | None:
        """Return the number in an id, if all that came after it is kept."""
        epoch, _, number = (last or "").partition("-")
        if epoch != self._epoch or not number.isdecimal() or len(number) > 15:
            return None
        oldest = self._kept[0][0] if self._kept else self._number + 1
        return int(number) if oldest - 1 <= int(number) <= self._number else None

    def _due(self, listener: _Listener, seen: int) -> list[Told]:
        """Return what a listener that has seen messages up to `seen` is to be sent now."""
        found = [
            (self._id(number), "event", body) for number, subject, body in self._after(seen) if listener.wants(subject)
        ]
        waiting, listener.progress = listener.progress, {}
        return found + [(self._id(self._number), "progress", body) for body in waiting.values()]

    def _after(self, seen: int) -> Iterable[tuple[int, str, bytes]]:
        if not self._kept or self._number == seen:
            return ()
        first = max(0, seen - self._kept[0][0] + 1)
        return [self._kept[index] for index in range(first, len(self._kept))]

    def _snapshot(self) -> tuple[str, bytes]:
        return "snapshot", b'{"running":[' + b",".join(self._progress.values()) + b"]}"


_END_OF_DOWNLOAD = frozenset(
    kind.subject
    for kind in (e.DownloadCompleted, e.DownloadFailed, e.DownloadCancelled, e.DownloadDeferred, e.VideoArchived)
)


async def _until_away(bus: Any) -> None:
    """Return when the connection to the broker is lost."""
    while bus.online.is_set():  # noqa: ASYNC110 - the bus tells when it is connected, not when it is not
        await asyncio.sleep(_AGAIN)


def brief(envelope: Envelope) -> dict[str, Any]:
    """Return what the page needs of a message: texts that are not too long, numbers, and the whole job of a message
    about one. Lists of entries and files are read over REST. Pure."""
    return {
        "type": envelope.type,
        "at": envelope.timestamp,
        "trace_id": envelope.trace_id,
        "source": envelope.source.partition("/")[0],
        "data": mask(_brief(envelope.data)),
    }


def _brief(data: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in data.items():
        match value:
            case str():
                found[name] = value if len(value) <= _LONGEST_TEXT else value[: _LONGEST_TEXT - 1] + "…"
            case None | bool() | int() | float():
                found[name] = value
            case dict() if name == "job":
                found[name] = value
            case dict() if depth < 1 and name in {"progress", "failure", "service"}:
                found[name] = _brief(value, depth + 1)
            case _:
                pass
    return found


async def follow_live(call: Call, query: LiveQuery, hub: LiveHub) -> web.StreamResponse:
    """First `snapshot`: the downloads that run. Then `event` for every message of these topics, and `progress` with the
    newest state of a download, at most twice a second; `away` while no system runs, then `snapshot` again. What is read
    over REST after `snapshot` is complete. A client that names the last message that it has seen gets `resumed` and
    what it has missed, or a `snapshot` again."""
    topics = frozenset(query.topics.split(",")) if query.topics else None
    told = hub.listen(topics, call.raw.headers.get("Last-Event-ID") or query.last)
    async with sse_response(call.raw, ping_interval=_KEEP_ALIVE) as stream, aclosing(told) as messages:
        sending = asyncio.ensure_future(_send(stream, messages))
        closing = asyncio.ensure_future(call.closing.wait())
        try:
            await asyncio.wait({sending, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait([sending, closing])
    return stream


async def _send(stream: Any, messages: AsyncGenerator[Told, None]) -> None:
    with suppress(ConnectionResetError):  # the client has disconnected
        async for number, name, body in messages:
            await stream.send(body.decode(), event=name, id=number)


ROUTES = (
    Route(
        "GET", "/api/v1/live", follow_live, "What happens on the bus, as it happens (SSE)",
        query=LiveQuery, streams=True, quiet=True,
    ),
)  # fmt: skip
