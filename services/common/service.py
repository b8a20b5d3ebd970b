"""The base class of all services: start-up and shut-down (SPEC: Service Lifecycle), registration, heartbeat, health,
background tasks.

It contains no domain logic: that is in the handlers, the routes and the modules behind them. Signals are handled by
ytarchive.stack.
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import structlog
from structlog.contextvars import bound_contextvars

from bus import Bus, BusError, BusSettings, Handlers
from bus.tasks import cancel_and_wait, sleep_to_next
from services.common.domain.registry import ServiceInfo
from services.common.errors import code_of
from services.common.events import ServiceHeartbeat, ServiceRegistered, ServiceStopped
from services.common.infra.logs import VERSION, Shipper
from services.common.infra.writable_folders import expect_writable, unwritable
from services.common.messaging import connect_bus
from services.common.settings.load import Config, Endpoint
from services.common.settings.retry_policy import BreakerState
from services.common.web.access import AccessRules
from services.common.web.bound_socket import BoundSocket
from services.common.web.health import DeadLetterWatch
from services.common.web.routing import RestApplication, Route
from services.common.web.standard_routes import Surface

HEARTBEAT = 5.0  # seconds
SHUTDOWN_TIMEOUT = 30.0  # SPEC: Graceful Shutdown
FAREWELL = 2.0  # seconds to wait for an unavailable broker with the registration and its end
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds until a failed background task is restarted
_LOST_AFTER = 3  # failures in a row
_HEALTHY_AFTER = 120.0  # seconds without a failure; longer than the longest pause


@dataclass(frozen=True)
class _Failing:
    at: float  # monotonic seconds
    text: str
    lost: bool


class ServiceBase:
    """Subclasses set `name`, `handlers` and `routes` and implement the hooks.

    `bus` and `url` are available from start-up on.
    """

    name: ClassVar[str]
    handlers: ClassVar[Handlers]
    routes: Sequence[Route] = ()  # beside those of every service
    buckets: ClassVar[tuple[str, ...]] = ()  # the key-value buckets of the broker that it uses
    version: ClassVar[str] = VERSION

    url: str

    def __init__(self, config: Config, bus: BusSettings) -> None:
        self.config = config
        self.bus_settings = bus
        self.instance = uuid4().hex[:12]
        self.logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(f"services.{self.name}").bind(
            service=self.name, version=VERSION
        )
        self.accepting = False
        self.accepting_work = True  # False: the system that this service belongs to is about to stop
        self.closing = asyncio.Event()
        self.started_at = datetime.now(UTC)
        self._begun = time.monotonic()
        self.rest: RestApplication | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.background_failures = 0  # of background tasks, since the start
        self._failed: dict[str, _Failing] = {}  # by task
        self.dead_letters = DeadLetterWatch(self.name)
        self._socket: BoundSocket | None = None
        self._bus: Bus | None = None
        self._initialized = False
        self._parts: Sequence[object] = ()

    @classmethod
    def check_settings(cls, config: Config) -> None:
        """Raise ConfigError for settings with which this service cannot work, before anything is started."""

    # --- hooks ----------------------------------------------------------------------------------------------------

    async def initialize_resources(self) -> Sequence[object]:
        """Build the parts of the service and return those that its handlers and routes take, each by its type. The bus
        is connected, nothing is served yet."""
        return ()

    async def after_start(self) -> None:
        """Spawn background tasks. Handlers and routes are served."""

    async def cleanup_resources(self) -> None:
        """Close what initialize_resources has opened, also when it failed half-way. Nothing is served any more."""

    def surface(self) -> Surface:
        """All routes of this service, the standard ones included. The service need not be started."""
        return Surface(self, self.routes)

    def disk_paths(self) -> Sequence[Path]:
        """Return the folders that this service writes to. They are created and checked at start-up and monitored by
        health."""
        return ()

    def metrics(self) -> dict[str, Any]:
        """Return values for the health answer. In the Prometheus metrics each number is a gauge, and a map of numbers a
        gauge with a label."""
        return {}

    def breakers(self) -> Mapping[str, BreakerState]:
        """Return the circuit breakers of outgoing calls, by host or egress."""
        return {}

    async def bus_problem(self, *, new_work: bool = True) -> str | None:
        """Return why the broker stores no events, or none that begin new work, with the remedy; None when it does."""
        return await self.bus.problem(new_work=new_work)

    @property
    def bus_away(self) -> str | None:
        return self.bus.away

    @property
    def undeclared_durables(self) -> Mapping[str, int]:
        return self.bus.undeclared_durables

    async def dependencies_available(self) -> bool:
        return await self.bus.reachable()

    def info(self) -> ServiceInfo:
        """Return this instance's entry in the service registry."""
        return ServiceInfo(
            name=self.name,
            instance=self.instance,
            url=self.url,
            version=VERSION,
            pid=os.getpid(),
            started_at=self.started_at,
        )

    # --- life -----------------------------------------------------------------------------------------------------

    async def startup(self, *, wait_for_broker: bool = False) -> None:
        """Start the service (SPEC: Startup Process; step 1, loading the configuration, is done). On an error everything
        is undone. `wait_for_broker`: as long as the broker is away.

        Consumers, requests and background tasks inherit the context of this call, and with it the name of the service
        in the log records of all modules.
        """
        with self._named():
            await self._start(wait_for_broker)
        self.logger.info("service_started", port=self.port, url=self.url, instance=self.instance)

    async def _start(self, wait_for_broker: bool) -> None:
        try:
            self.validate_environment()
            source = f"{self.name}/{self.instance}"
            self._bus = await connect_bus(self.bus_settings, source=source, wait=wait_for_broker)
            self._initialized = True
            self._parts = await self.initialize_resources()
            if self.name != "jobs":
                await self._register()
            await self._serve()
        except BaseException:
            await self._wind_down(0.0)
            if self._bus is not None:
                await self._bus.close()
            raise

    async def _register(self) -> None:
        """Announce this instance. A broker that stores nothing must not keep the service from starting, which may be
        the one that makes room; jobs adds the instance at its first heartbeat then."""
        registration = ServiceRegistered(instance=self.instance, service=self.info())
        try:
            await self.bus.publish(registration, trace_id=str(uuid4()), patience=FAREWELL)
        except BusError as error:
            self.logger.warning("registration_not_stored", error_message=str(error))

    def _named(self) -> AbstractContextManager[None]:
        return bound_contextvars(service=self.name, version=VERSION)

    async def _serve(self) -> None:
        surface = self.surface()
        self.rest = RestApplication(
            self,
            [route.bind(self._parts) for route in surface.routes],
            AccessRules.of(self.config, self.endpoint.host, self.url),
            surface.metrics.observe,
        )
        self.accepting = True
        await self.rest.start(self._bound)
        self.spawn(Shipper(self.bus).run, "log shipper")
        self.spawn(partial(self.dead_letters.run, self.bus), "dead letter watch")
        self.spawn(self._beat, "heartbeat")
        await self.bus.serve(self.handlers, *self._parts)
        await self.after_start()

    async def shutdown(self, within: float = SHUTDOWN_TIMEOUT) -> None:
        """Stop the service (SPEC: Graceful Shutdown). Running handlers and requests get up to `within` seconds."""
        with self._named():
            answered = await self._wind_down(within)
        self.logger.info("service_stopped")
        if self.bus.away is None:  # also when the stream is full: that of the log records may have room
            await Shipper(self.bus).flush()
        await self.bus.close(drain=answered)

    async def _wind_down(self, within: float) -> bool:
        """Undo start-up as far as it went. The bus stays open for the last log records. Return whether the broker
        answers."""
        answered = False
        begun = self._bus is not None
        self.accepting = False
        if begun:
            await self.bus.stop_pulling()
        self.closing.set()
        if begun:
            await self.announce()  # before messages are given back, so that no new work is sent here
            _, answered = await asyncio.gather(self._requests_done(within), self._stop_serving(within))
        if self.rest is not None:
            await self.rest.stop()
        if self._socket is not None:
            self._socket.socket.close()
        await cancel_and_wait(self._tasks)
        if self._initialized:
            await self.cleanup_resources()
        return answered

    async def _stop_serving(self, within: float) -> bool:
        """Wait for handlers and report the end. Handlers that wait for a broker that is away would never end. Return
        whether the broker answers."""
        if not await self.bus.reachable():
            await self.bus.stop_serving(min(within, FAREWELL))
            return False
        await self.bus.stop_serving(within)
        stopped = ServiceStopped(instance=self.instance, name=self.name)
        with suppress(BusError):  # the broker is gone: jobs notices the missing heartbeat
            await self.bus.publish(stopped, trace_id=str(uuid4()), patience=FAREWELL)
        return True

    async def _requests_done(self, within: float) -> None:
        if self.rest is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.rest.idle(), within)

    def validate_environment(self) -> None:
        """Check that the folders are writable and bind the port. Raise ConfigError, which names the key."""
        for path in self.disk_paths():
            user = f"{self.name} service"
            expect_writable(path, self.config.storage, user)
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise unwritable(path, self.config.storage, user, str(error.strerror)) from error
        self._socket = BoundSocket.bind(self.name, self.endpoint)
        self.url = self._socket.url

    @property
    def bus(self) -> Bus:
        if self._bus is None:
            raise RuntimeError(f"{self.name} is not connected yet")
        return self._bus

    @property
    def _bound(self) -> BoundSocket:
        if self._socket is None:
            raise RuntimeError(f"{self.name} has no port yet")
        return self._socket

    @property
    def endpoint(self) -> Endpoint:
        endpoint: Endpoint = getattr(self.config.services, self.name)
        return endpoint

    @property
    def port(self) -> int:
        """The port in use: the configured one, or the one chosen for 0."""
        return int(self.url.rpartition(":")[2])

    @property
    def uptime(self) -> float:
        return time.monotonic() - self._begun

    @property
    def bus_connected(self) -> bool:
        return self.bus.connected

    async def settled(self) -> bool:
        """Return whether the service is idle: no unpublished events, no running work, no pending messages."""
        return True

    # --- background work ------------------------------------------------------------------------------------------

    def spawn(
        self, work: Callable[[], Coroutine[Any, Any, None]], name: str, *, essential: bool = False
    ) -> asyncio.Task[None]:
        """Run a coroutine function until it returns or the service stops. A failure is logged and makes the service
        unhealthy; the function is restarted after 1, 2, 4 … 60 s. `essential`: no job makes progress without it."""
        name = f"{self.name}: {name}"
        task = asyncio.create_task(self._keep_going(work, name, essential), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _keep_going(self, work: Callable[[], Coroutine[Any, Any, None]], name: str, essential: bool) -> None:
        pause = _FIRST_PAUSE
        in_a_row = 0
        while True:
            begun = time.monotonic()
            try:
                await work()
            except Exception as error:  # the boundary of background tasks: whatever they raise
                if time.monotonic() - begun > _HEALTHY_AFTER:
                    pause, in_a_row = _FIRST_PAUSE, 0
                in_a_row += 1
                self.background_failures += 1
                text = f"{name}: {type(error).__name__}: {error}"
                self._failed[name] = _Failing(time.monotonic(), text, lost=essential and in_a_row >= _LOST_AFTER)
                self.logger.exception(
                    "background_task_failed",
                    task=name,
                    error_code=code_of(error),
                    error_message=str(error),
                    begun_again_in=pause,
                )
            else:
                self._failed.pop(name, None)
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def critical_errors(self) -> list[str]:
        """Return what makes this service unhealthy: background tasks that failed within the last two minutes, dead
        letters of the last ten."""
        lately = time.monotonic() - _HEALTHY_AFTER
        failed = [one.text for one in self._failed.values() if one.at > lately]
        return failed + self.dead_letters.recent()

    def lost_causes(self) -> list[str]:
        """Return permanent failures that stop all jobs: essential background tasks that failed repeatedly."""
        return [one.text for one in self._failed.values() if one.lost]

    async def announce(self) -> None:
        """Send a heartbeat now, because slots have changed. Does nothing while the broker is unavailable."""
        with suppress(BusError):
            await self.bus.publish(ServiceHeartbeat(service=self.info()), trace_id=str(uuid4()))

    async def _beat(self) -> None:
        while True:
            await self.announce()
            await sleep_to_next(HEARTBEAT)
