"""Keep one connection to the broker open, and its streams and durables in existence."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Protocol

import nats.errors
import structlog
from nats.js import JetStreamContext
from nats.js.errors import APIError, BadRequestError

from bus.connection.nats_client import BrokerClient, Callbacks, close_client, open_client, without_credentials
from bus.connection.refusals import PermissionViolation
from bus.errors import BrokerRefuses, BrokerUnavailable
from bus.handlers import Consumption
from bus.schema import BusSchema
from bus.settings import BusSettings
from bus.streams.configuration import EVENTS, ensure_consumer, ensure_streams
from bus.tasks import cancel_and_wait

log = structlog.get_logger("bus", logger_name="bus")

API_TIMEOUT = 3.0  # seconds for one request to the broker
FULL = {10023, 10047, 10077}  # insufficient resources, insufficient storage, maximum bytes exceeded
_LONGEST_PAUSE = 5.0
_PATIENCE = 30.0  # seconds that the broker may not answer while a service starts: a busy disk, a restart

Hook = Callable[[], Awaitable[None]]


class Bound(Protocol):
    """A component that depends on the connection: a consumer."""

    @property
    def consumption(self) -> Consumption: ...

    async def bind(self) -> None:
        """Subscribe again, on a new connection."""

    def invalidate(self) -> None:
        """Handle the loss of the broker's store: sequences start again."""


class ConnectionManager:
    """Reconnects without limit, and recreates streams and durables that are missing afterwards."""

    def __init__(self, settings: BusSettings, source: str, schema: BusSchema) -> None:
        self.settings = settings
        self.source = source
        self.schema = schema
        self.online = asyncio.Event()  # connected, and the streams were verified since
        self.closing = False
        self._client: BrokerClient | None = None
        self._js: JetStreamContext | None = None
        self.bound: list[Bound] = []
        self.rebind: list[Hook] = []  # subscribe core and request handlers again on a new connection
        self.on_reconnect: list[Hook] = []
        self.on_store_lost: list[Hook] = []
        self.created: datetime | None = None  # when the stream EVENTS was created, as last seen
        self._opening = True  # a connection is being established
        self._recovering = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Timeout] = set()

    @property
    def client(self) -> BrokerClient:
        if self._client is None:
            raise RuntimeError("open() was not called")
        return self._client

    @property
    def js(self) -> JetStreamContext:
        if self._js is None:
            raise RuntimeError("open() was not called")
        return self._js

    @asynccontextmanager
    async def fail_fast(self) -> AsyncIterator[None]:
        """Fail requests made in this block with TimeoutError as soon as the connection drops."""
        async with asyncio.timeout(None) as limit:
            self._waiting.add(limit)
            try:
                yield
            finally:
                self._waiting.discard(limit)

    async def retry(self, request: Callable[[], Awaitable[None]]) -> None:
        """Repeat an idempotent request while the broker does not answer. Raise TimeoutError after about 30 s."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return await request()
            except TimeoutError as error:  # nats-py's own is one
                if time.monotonic() > deadline:
                    raise
                log.warning("bus_not_ready", error=reason(error))

    async def open(self) -> None:
        """Connect, and create or update the streams. Raise BrokerUnavailable."""
        await self._connect()
        deadline = time.monotonic() + self.settings.connect_timeout
        while True:
            try:
                await self._ensure()
                break
            except (nats.errors.Error, TimeoutError) as error:
                if _final(error):
                    raise BrokerRefuses(str(self.refusal(error))) from error
                if time.monotonic() > deadline:
                    raise self.refusal(error) from error
                await asyncio.sleep(0.1)  # a server that has just started may still be loading its streams
        self.online.set()

    async def close(self, drain: bool = True) -> None:
        """Close the connection, with `drain` after sending what is buffered. Does not raise when the broker is
        unavailable."""
        self.closing = True
        await cancel_and_wait(self._background)
        self.online.clear()
        if self._client is None:
            return
        try:
            if drain and self._client.is_connected:
                await self._client.drain()
        except (nats.errors.Error, OSError) as error:
            log.debug("drain_failed", error=reason(error))
        finally:
            await close_client(self._client)

    async def flush_subscriptions(self) -> None:
        """Return once the broker has registered our subscriptions. (The ping of `flush()` overtakes what nats-py still
        buffers.)"""
        if self.online.is_set():
            await self.js.stream_info(EVENTS)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in the background until the connection is closed."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def verify_soon(self) -> None:
        """Check in the background that the streams and durables still exist. Call it when a request was not
        answered."""
        if self.client.is_connected and not self._recovering.locked() and not self.closing:
            self.spawn(self._recover(reconnected=False))

    @property
    def service(self) -> str:
        """The first part of the source."""
        return self.source.partition("/")[0]

    @property
    def owns_streams(self) -> bool:
        """Whether this program changes and purges the streams."""
        return self.schema.stream_owner in {None, self.service}

    def check_subscribed(self, *subjects: str) -> None:
        """Raise BrokerRefuses when the broker has refused one of these subscriptions. Call it after
        flush_subscriptions()."""
        for subject in subjects:
            if violation := self.client.refusals.of_subscription(subject):
                raise self.refusal(violation)

    @property
    def place(self) -> str:
        """The addresses of the broker."""
        return without_credentials(self.settings.url)

    def refusal(self, error: Exception) -> BrokerUnavailable:
        """Return an error of the broker as a BrokerUnavailable that names the remedy."""
        place = self.place
        if isinstance(error, PermissionViolation):
            user = f"the user {self.settings.user}" if self.settings.user else "this user"
            return BrokerRefuses(
                f"the broker at {place} does not permit {user} to {error.refused}: set [nats] user and password to"
                f" those of {self.service}, with the permissions of docs/nats-users.conf"
            )
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
            log.warning("bus_disconnected", broker=self.place)

    async def _reconnected(self) -> None:
        log.info("bus_reconnected", broker=self.place)
        self.spawn(self._recover(reconnected=True))

    async def _closed(self) -> None:
        """Reconnect after the broker closed the connection permanently, for example because of a protocol error."""
        if not self.closing and not self._opening:
            self.spawn(self._reopen())

    async def _reopen(self) -> None:
        log.error("bus_connection_closed", broker=self.place)
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
        except nats.errors.Error as error:  # lost again meanwhile: the client reconnects by itself now
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
                        return  # the next reconnection starts over
                    log.warning("bus_not_ready", error=reason(error))
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
            self.online.set()
        if lost:
            await self._call(self.on_store_lost)
        if reconnected:
            await self._call(self.on_reconnect)

    async def _ensure(self) -> bool:
        """Create missing streams and durables. Return whether the broker has lost its store since the last check."""
        created = await ensure_streams(self.js, self.settings, self.schema.events, change=self.owns_streams)
        lost = self.created is not None and created != self.created
        if lost:
            log.error("broker_store_lost", broker=self.place)
            for one in self.bound:
                one.invalidate()
        self.created = created
        for one in self.bound:
            await ensure_consumer(self.js, one.consumption, self.settings)
        return lost

    async def _call(self, hooks: list[Hook]) -> None:
        for hook in list(hooks):
            try:
                await hook()
            except Exception:  # a hook is code of the service, and the remaining ones must run
                log.exception("reconnect_hook_failed")


def _final(error: Exception) -> bool:
    """Return whether a repetition would fail in the same way."""
    if isinstance(error, BadRequestError | PermissionViolation):
        return True
    return isinstance(error, APIError) and error.err_code in FULL


def reason(error: Exception) -> str:
    return str(error) or type(error).__name__
