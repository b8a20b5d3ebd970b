"""What every service is: SPEC's start-up and shut-down order ("Service Lifecycle"), registration, heartbeat, health.

Lifecycle only: what a service does is in its handlers, its routes and the modules named for what they own.
Signals are the business of the composition root.
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import structlog
from structlog.contextvars import bound_contextvars

from bus import Bus, BusError, BusSettings, Handlers
from bus.tasks import end
from services.common.errors import ConfigError, code_of
from services.common.events import ServiceHeartbeat, ServiceRegistered, ServiceStopped
from services.common.infra.files import writable
from services.common.infra.logs import Shipper
from services.common.models import ServiceInfo
from services.common.settings.load import Config, Endpoint
from services.common.settings.retry_policy import BreakerState
from services.common.web.bound_socket import Listener
from services.common.web.health import DeadLetterWatch
from services.common.web.routing import Rest, Route
from services.common.web.standard_routes import Surface

VERSION = version("ytarchive")
HEARTBEAT = 5.0  # seconds
SHUTDOWN_TIMEOUT = 30.0  # SPEC: Graceful Shutdown
FAREWELL = 2.0  # seconds that a broker which is away is waited for at the end
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds until a background task that failed is begun again
_LOST_AFTER = 3  # failures in a row
_WELL_AFTER = 120.0  # seconds without a failure; longer than the longest pause


@dataclass(frozen=True)
class _Failing:
    at: float  # monotonic seconds
    words: str
    lost: bool


class ServiceBase:
    """Subclasses set `name` and `handlers` and fill the hooks in; handlers get the service as their context.

    `bus` and `url` are set from start-up on.
    """

    name: ClassVar[str]
    handlers: ClassVar[Handlers]
    route_table: ClassVar[Sequence[Route]] = ()
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
        self.closing = asyncio.Event()
        self.started_at = datetime.now(UTC)
        self.rest: Rest | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.background_failures = 0  # of background tasks, since the start
        self._failed: dict[str, _Failing] = {}  # by task
        self.dead_letters = DeadLetterWatch(self.name)
        self._listener: Listener | None = None
        self._bus: Bus | None = None
        self._initialized = False
        self._parts: Sequence[object] = ()

    # --- hooks ----------------------------------------------------------------------------------------------------

    async def initialize_resources(self) -> Sequence[object] | None:
        """Open what the service owns and return the objects that its handlers and routes take, each by its type. The
        bus is connected, nothing is served yet."""
        return None

    async def after_start(self) -> None:
        """Everything serves: spawn background tasks."""

    async def cleanup_resources(self) -> None:
        """Close what initialize_resources opened, also when that failed half-way. Nothing is served any more."""

    def routes(self) -> Sequence[Route]:
        """Interim: becomes `route_table`."""
        return self.route_table

    def surface(self) -> Surface:
        """All routes of this service, the standard ones included. The service need not be started."""
        return Surface(self, self.routes())

    def disk_paths(self) -> Sequence[Path]:
        """Where this service writes: created and checked at start, and watched by health."""
        return ()

    def metrics(self) -> dict[str, Any]:
        """Numbers for the health answer; in the metrics each is a gauge, and a map of numbers one with a label."""
        return {}

    def breakers(self) -> Mapping[str, BreakerState]:
        """The circuit breakers of what leaves the system from here, by host or egress."""
        return {}

    async def dependencies_available(self) -> bool:
        return self.bus.connected and await self.bus.reachable()

    def info(self) -> ServiceInfo:
        """This instance's entry in the registry."""
        return ServiceInfo(
            name=self.name,
            instance=self.instance,
            url=self.url,
            version=VERSION,
            pid=os.getpid(),
            started_at=self.started_at,
        )

    # --- life -----------------------------------------------------------------------------------------------------

    async def startup(self) -> None:
        """SPEC: Startup Process. Configuration was loaded (step 1). On an error all that was begun is undone.

        Consumers, requests and background tasks inherit the context of this call, and with it the service's name in
        the log records of all modules.
        """
        with self._named():
            await self._start()
        self.logger.info("service_started", port=self.port, url=self.url, instance=self.instance)

    async def _start(self) -> None:
        try:
            self.validate_environment()
            self._bus = await Bus.connect(self.bus_settings, source=f"{self.name}/{self.instance}")
            self._initialized = True
            self._parts = await self.initialize_resources() or (self,)
            if self.name != "jobs":
                registration = ServiceRegistered(instance=self.instance, service=self.info())
                await self.bus.publish(registration, trace_id=str(uuid4()))
            await self._serve()
        except BaseException:
            await self._wind_down(0.0)
            if self._bus is not None:
                await self._bus.close()
            raise

    def _named(self) -> AbstractContextManager[None]:
        return bound_contextvars(service=self.name, version=VERSION)

    async def _serve(self) -> None:
        surface = self.surface()
        self.rest = Rest(self, [route.bind(self._parts) for route in surface.routes], surface.metrics.observe)
        self.accepting = True
        await self.rest.start(self._bound)
        self.spawn(Shipper(self.bus).run, "log shipper")
        self.spawn(partial(self.dead_letters.run, self.bus), "dead letter watch")
        self.spawn(self._beat, "heartbeat")
        await self.bus.serve(self.handlers, *self._parts)
        await self.after_start()

    async def shutdown(self, within: float = SHUTDOWN_TIMEOUT) -> None:
        """SPEC: Graceful Shutdown. What is in hand gets up to `within` seconds in all; then it is cut off."""
        with self._named():
            await self._wind_down(within)
        self.logger.info("service_stopped")
        await Shipper(self.bus).flush()
        await self.bus.close()

    async def _wind_down(self, within: float) -> None:
        """As far as start-up came: finish, stop, clean up. The bus stays open when the end is still to be told."""
        begun = self._bus is not None
        self.accepting = False
        if begun:
            await self.bus.stop_pulling()
        self.closing.set()
        if begun:
            await self.announce()  # before what is in hand is given back: nothing new shall come here
            await asyncio.gather(self._requests_done(within), self.bus.stop_serving(within))
            stopped = ServiceStopped(instance=self.instance, name=self.name)
            with suppress(BusError):  # the broker went first: jobs notices by the missing heartbeat
                await self.bus.publish(stopped, trace_id=str(uuid4()), patience=FAREWELL)
        if self.rest is not None:
            await self.rest.stop()
        if self._listener is not None:
            self._listener.socket.close()
        await end(self._tasks)
        if self._initialized:
            await self.cleanup_resources()

    async def _requests_done(self, within: float) -> None:
        if self.rest is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.rest.idle(), within)

    def validate_environment(self) -> None:
        """The port is free, the folders can be written to. Raises ConfigError, naming the key."""
        for path in self.disk_paths():
            if not writable(path):
                raise ConfigError(f"The {self.name} service cannot write to {path}. Grant it, or set another path.")
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"The {self.name} service cannot make the folder {path} ({error.strerror}). Set another path."
                ) from error
        self._listener = Listener.bind(self.name, self.endpoint)
        self.url = self._listener.url

    @property
    def bus(self) -> Bus:
        if self._bus is None:
            raise RuntimeError(f"{self.name} is not connected yet")
        return self._bus

    @property
    def _bound(self) -> Listener:
        if self._listener is None:
            raise RuntimeError(f"{self.name} has no port yet")
        return self._listener

    @property
    def endpoint(self) -> Endpoint:
        endpoint: Endpoint = getattr(self.config.services, self.name)
        return endpoint

    @property
    def port(self) -> int:
        """The port that is served: the configured one, or what 0 became."""
        return int(self.url.rpartition(":")[2])

    @property
    def uptime(self) -> float:
        return (datetime.now(UTC) - self.started_at).total_seconds()

    @property
    def bus_connected(self) -> bool:
        return self.bus.connected

    async def settled(self) -> bool:
        """Is there nothing left that it has to say, or to do, and that nobody waits for?"""
        return True

    # --- background work ------------------------------------------------------------------------------------------

    def spawn(
        self, work: Callable[[], Coroutine[Any, Any, None]], name: str, *, essential: bool = False
    ) -> asyncio.Task[None]:
        """Run in the background until it ends or the service does. One that fails is logged, makes the service
        unhealthy, and is begun again after 1, 2, 4 … 60 s: what it failed at, a disk say, may be well again.
        `essential`: no job gets on without it."""
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
            except Exception as error:  # the boundary of background work: whatever it raises
                if time.monotonic() - begun > _WELL_AFTER:
                    pause, in_a_row = _FIRST_PAUSE, 0
                in_a_row += 1
                self.background_failures += 1
                words = f"{name}: {type(error).__name__}: {error}"
                self._failed[name] = _Failing(time.monotonic(), words, lost=essential and in_a_row >= _LOST_AFTER)
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
        """What makes this service unhealthy: background tasks that failed within the last two minutes, dead letters of
        the last ten."""
        lately = time.monotonic() - _WELL_AFTER
        failed = [one.words for one in self._failed.values() if one.at > lately]
        return failed + self.dead_letters.recent()

    def lost_causes(self) -> list[str]:
        """What keeps jobs from getting on and does not mend itself: essential background tasks that failed again and
        again."""
        return [one.words for one in self._failed.values() if one.lost]

    async def announce(self) -> None:
        """A heartbeat now, because slots changed. Silent while the broker is away."""
        with suppress(BusError):
            await self.bus.publish(ServiceHeartbeat(service=self.info()), trace_id=str(uuid4()))

    async def _beat(self) -> None:
        while True:
            await self.announce()
            await asyncio.sleep(HEARTBEAT)
