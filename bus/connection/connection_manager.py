"""The connection of a bus as it comes and goes, and what must be true before anything is sent over it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Protocol

import nats.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError, BadRequestError

from bus.connection.nats_client import Callbacks, hang_up, open_client, shown
from bus.errors import BrokerUnavailable
from bus.handlers import Consumption
from bus.settings import BusSettings
from bus.streams import EVENTS, ensure_consumer, ensure_streams
from bus.tasks import end

log = structlog.get_logger("bus", logger_name="bus")

API_TIMEOUT = 3.0  # seconds for one answer of the broker
FULL = {10023, 10047, 10077}  # insufficient resources, insufficient storage, maximum bytes exceeded
_LONGEST_PAUSE = 5.0
_PATIENCE = 30.0  # seconds that a broker may be silent while a service starts: its disk is busy, or it is restarted

Hook = Callable[[], Awaitable[None]]


class Bound(Protocol):
    """What hangs on the connection: a consumer."""

    @property
    def consumption(self) -> Consumption: ...

    async def bind(self) -> None:
        """Subscribe anew: the connection is a new one."""

    def forget(self) -> None:
        """The broker has lost its store: sequences begin again."""


class Link:
    """Keeps a client connected for ever, and streams and durables in existence."""

    def __init__(self, settings: BusSettings, source: str) -> None:
        self.settings = settings
        self.source = source
        self.online = asyncio.Event()  # connected, and the streams are known to be ours
        self.closing = False
        self._client: Client | None = None
        self._js: JetStreamContext | None = None
        self.bound: list[Bound] = []
        self.rebind: list[Hook] = []  # subscribes ears and answers anew on a new connection
        self.on_reconnect: list[Hook] = []
        self.on_store_lost: list[Hook] = []
        self.created: datetime | None = None  # when the stream EVENTS was made, as last seen
        self._opening = True  # a connection is being made for the first time, or anew
        self._recovering = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Timeout] = set()

    @property
    def client(self) -> Client:
        if self._client is None:
            raise RuntimeError("open() comes first")
        return self._client

    @property
    def js(self) -> JetStreamContext:
        if self._js is None:
            raise RuntimeError("open() comes first")
        return self._js

    @asynccontextmanager
    async def impatient(self) -> AsyncIterator[None]:
        """What is asked inside is not waited for when the connection is lost: TimeoutError, at once."""
        async with asyncio.timeout(None) as limit:
            self._waiting.add(limit)
            try:
                yield
            finally:
                self._waiting.discard(limit)

    async def patiently(self, ask: Callable[[], Awaitable[None]]) -> None:
        """Ask anew while the broker does not answer; `ask` must bear that. TimeoutError after about 30 s."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return await ask()
            except TimeoutError as error:  # nats-py's own is one
                if time.monotonic() > deadline:
                    raise
                log.warning("bus_not_ready", error=reason(error))

    async def open(self) -> None:
        """Connect and make or update the streams. Raises BrokerUnavailable."""
        await self._connect()
        deadline = time.monotonic() + self.settings.connect_timeout
        while True:
            try:
                await self._ensure()
                break
            except (nats.errors.Error, TimeoutError) as error:
                if _final(error) or time.monotonic() > deadline:
                    raise self.refusal(error) from error
                await asyncio.sleep(0.1)  # a server that has just started may not have its streams ready
        self.online.set()

    async def close(self, drain: bool = True) -> None:
        """Hang up, after what is still to be sent. Never raises for a broker that is away."""
        self.closing = True
        await end(self._background)
        self.online.clear()
        if self._client is None:
            return
        try:
            if drain and self._client.is_connected:
                await self._client.drain()
        except (nats.errors.Error, OSError) as error:
            log.debug("drain_failed", error=reason(error))
        finally:
            await hang_up(self._client)

    async def settle(self) -> None:
        """Until the broker knows our subscriptions. Not `flush()`: its ping overtakes what nats-py still buffers."""
        if self.online.is_set():
            await self.js.stream_info(EVENTS)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in the background until the link is closed."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def suspect(self) -> None:
        """Something was not answered: see whether the streams and durables are still there."""
        if self.client.is_connected and not self._recovering.locked() and not self.closing:
            self.spawn(self._recover(reconnected=False))

    def refusal(self, error: Exception) -> BrokerUnavailable:
        """An answer of the broker in words that say what to do."""
        place = shown(self.settings.url)
        if isinstance(error, APIError):
            if error.err_code in FULL:
                return BrokerUnavailable(
                    f"the broker at {place} has too little room ({error.description}):"
                    " raise its max_file_store or lower our max_bytes"
                )
            if error.code is None:
                return BrokerUnavailable(f"the broker at {place} has no JetStream: switch it on (nats-server -js)")
            return BrokerUnavailable(f"the broker at {place} refuses: {error.description}")
        return BrokerUnavailable(f"the broker at {place} does not answer: {reason(error)}")

    # --- coming and going -----------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        callbacks = Callbacks(self._disconnected, self._reconnected, self._closed)
        self._opening = True
        self._client = await open_client(self.settings, source=self.source, callbacks=callbacks)
        self._js = self._client.jetstream(timeout=API_TIMEOUT)
        self._opening = False

    async def _disconnected(self) -> None:
        self.online.clear()
        for limit in list(self._waiting):
            limit.reschedule(asyncio.get_running_loop().time())
        if not self.closing and not self._opening:
            log.warning("bus_disconnected", broker=shown(self.settings.url))

    async def _reconnected(self) -> None:
        log.info("bus_reconnected", broker=shown(self.settings.url))
        self.spawn(self._recover(reconnected=True))

    async def _closed(self) -> None:
        """The client gave up: the broker hung up on us for good, say after a protocol error."""
        if not self.closing and not self._opening:
            self.spawn(self._reopen())

    async def _reopen(self) -> None:
        log.error("bus_connection_closed", broker=shown(self.settings.url))
        while True:
            try:
                await self._connect()
                break
            except BrokerUnavailable as error:
                log.error("bus_reopen_failed", error=str(error))
                await asyncio.sleep(1.0)
        try:
            for one in self.bound:
                await one.bind()
        except nats.errors.Error as error:  # gone again while we were at it: the client reconnects by itself now
            log.warning("bus_reopen_failed", error=reason(error))
        await self._call(self.rebind)
        await self._recover(reconnected=True)

    async def _recover(self, *, reconnected: bool) -> None:
        async with self._recovering:
            pause = 0.1
            while True:
                try:
                    lost = await self._ensure()
                    break
                except (nats.errors.Error, BrokerUnavailable, TimeoutError) as error:
                    if not self.client.is_connected:
                        return  # the next reconnection begins anew
                    log.warning("bus_not_ready", error=reason(error))
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
            self.online.set()
        if lost:
            await self._call(self.on_store_lost)
        if reconnected:
            await self._call(self.on_reconnect)

    async def _ensure(self) -> bool:
        """Make what is missing. Returns whether the broker has lost its store since we last looked."""
        created = await ensure_streams(self.js, self.settings)
        lost = self.created is not None and created != self.created
        if lost:
            log.error("broker_store_lost", broker=shown(self.settings.url))
            for one in self.bound:
                one.forget()
        self.created = created
        for one in self.bound:
            await ensure_consumer(self.js, one.consumption, self.settings)
        return lost

    async def _call(self, hooks: list[Hook]) -> None:
        for hook in list(hooks):
            try:
                await hook()
            except Exception:  # a hook is the service's code, and the next one must run
                log.exception("reconnect_hook_failed")


def _final(error: Exception) -> bool:
    """Whether the broker would say the same again."""
    return isinstance(error, BadRequestError) or (isinstance(error, APIError) and error.err_code in FULL)


def reason(error: Exception) -> str:
    return str(error) or type(error).__name__
