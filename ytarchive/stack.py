"""The composition root of services: one or all of them in one event loop, with or without the embedded broker.

await run_services(["jobs", ...], config)          # until SIGTERM or SIGINT
async with Stack(config, ports="free_if_taken") as stack: ...   # a one-shot command
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import structlog
from pydantic import SecretStr

from bus import BusSettings
from bus.embedded.server import EmbeddedServer
from bus.tasks import unless
from services.common.errors import InvalidRequest, ServiceUnavailable
from services.common.infra.files import acquire, write_atomically
from services.common.infra.private_files import protect
from services.common.names import SERVICES
from services.common.service import ServiceBase
from services.common.settings.load import Config, Endpoint
from services.common.web.bound_socket import is_free
from ytarchive.heap import collect_as_usual, share_one_heap
from ytarchive.running_stack import StackInfo, bus_settings, find_running, info_path, lock_path

# jobs receives the last messages of the workers, and logging those of all services
STOP_ORDER = ("download", "metadata", "storage", "jobs", "logging")
# Seconds after the signal until which running work may finish (SPEC: Graceful Shutdown), and services may clean up; the
# broker ends after that. Every service gets at least MIN_SHARE seconds.
WORK_UNTIL, CLEANUP_UNTIL, MIN_SHARE = 30.0, 36.0, 0.5

PATIENCE = 30.0  # seconds that a one-shot command waits for an external broker

Ports = Literal["fixed", "free_if_taken"]
log = structlog.get_logger("ytarchive.stack", service="stack")


class Stack:
    """Services in this process, as an async context manager that starts them in SPEC's order.

    `embedded`: run an embedded broker; None: for several services without `[nats] url`. A single service without either
    uses the broker of the running stack. `ports`: "free_if_taken" replaces a taken port by a free one. `extra_roots`:
    archive roots in addition to the configured ones. `options`: further arguments of a service, by name
    (`{"jobs": {"park_open": True}}`). `wait_for_broker`: for as long as the broker of `[nats] url` is away, instead of
    up to 30 s.

    Raise LockHeld when another stack runs on this data directory, ConfigError, BrokerUnavailable.
    """

    def __init__(
        self,
        config: Config,
        names: Sequence[str] = SERVICES,
        *,
        embedded: bool | None = None,
        ports: Ports = "fixed",
        extra_roots: Sequence[Path] = (),
        options: Mapping[str, Mapping[str, Any]] | None = None,
        wait_for_broker: bool = False,
    ) -> None:
        unknown = [name for name in names if name not in SERVICES]
        if unknown:
            raise InvalidRequest(f"There is no service {unknown[0]!r}. Services: {', '.join(SERVICES)}.")
        self.names = tuple(name for name in SERVICES if name in names)
        self.config = _with_roots(config, extra_roots)
        if ports == "free_if_taken":
            self.config = _with_free_ports(self.config, self.names)
        self.embedded = config.nats.url is None and len(self.names) > 1 if embedded is None else embedded
        self.services: dict[str, ServiceBase] = {}
        self._options = options or {}
        self._wait_for_broker = wait_for_broker
        self._settings: BusSettings | None = None
        self.info: StackInfo | None = None
        self._server: EmbeddedServer | None = None
        self._held = ExitStack()

    @property
    def settings(self) -> BusSettings:
        """Return the connection settings of the broker of this stack."""
        if self._settings is None:
            raise RuntimeError("the stack is not started")
        return self._settings

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _start(self) -> None:
        share_one_heap()
        for name in self.names:
            load_service(name).check_settings(self.config)
        await asyncio.to_thread(protect, self.config.storage)
        locked = self.embedded or len(self.names) > 1
        if locked:
            self._held.enter_context(await acquire(lock_path(self.config)))
            info_path(self.config).unlink(missing_ok=True)  # of a killed stack
        self._settings = await self._broker()
        await self._start_services(self._settings)
        if locked:
            self.info = self._describe(self._settings)
            await self._write_info(self.info)
        log.info("stack_started", services=list(self.names), embedded=self.embedded)
        collect_as_usual()

    async def publish_page(self, url: str) -> None:
        """Let other programs know where the page is served."""
        if self.info is not None:
            self.info = self.info.model_copy(update={"web": url})
            await self._write_info(self.info)

    async def _write_info(self, info: StackInfo) -> None:
        await asyncio.to_thread(write_atomically, info_path(self.config), info.model_dump_json(indent=2))

    async def _start_services(self, broker: BusSettings) -> None:
        """Start the first service, which creates the streams, then the others at once."""
        services: dict[str, ServiceBase] = {
            name: load_service(name)(self.config, broker, **self._options.get(name, {})) for name in self.names
        }

        async def start(name: str) -> None:
            await services[name].startup(wait_for_broker=self._wait_for_broker)
            self.services[name] = services[name]

        first, *others = services
        await start(first)
        try:
            async with asyncio.TaskGroup() as starting:
                for name in others:
                    starting.create_task(start(name), name=f"start of {name}")
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        self.services = {name: services[name] for name in self.names}

    async def _broker(self) -> BusSettings:
        if self.embedded:
            limits = bus_settings(self.config, url="nats://127.0.0.1", token=SecretStr(""))
            self._server = EmbeddedServer(self.config.storage.jobs_dir / "nats", like=limits)
            return await self._server.start()
        if self.config.nats.url is not None:
            settings = bus_settings(self.config)
            return settings if self._wait_for_broker else settings.model_copy(update={"connect_timeout": PATIENCE})
        running = find_running(self.config)
        if running is None:
            raise ServiceUnavailable(
                f"No broker for the {self.names[0]} service: no stack runs on {self.config.storage.base_data_dir}. "
                "Start `ytarchive up`, or set [nats] url (YTARCHIVE_NATS__URL)."
            )
        return running.bus_settings(self.config)

    def _describe(self, settings: BusSettings) -> StackInfo:
        return StackInfo(
            pid=os.getpid(),
            started_at=datetime.now(UTC),
            nats_url=settings.url,
            nats_token=settings.token if self.embedded else None,
            services={name: service.url for name, service in self.services.items()},
            passing=bool(self._options.get("jobs", {}).get("park_open")),
        )

    async def _stop(self) -> None:
        """Stop: running work gets SPEC's 30 s, each service what is left of them. All at once if the broker is away."""
        if self.info is not None:
            info_path(self.config).unlink(missing_ok=True)
            self.info = None
        begun = time.monotonic()
        stopping = [self.services[name] for name in STOP_ORDER if name in self.services]
        for service in stopping:
            service.accepting_work = False
        self.services.clear()
        if stopping and not await stopping[0].bus.reachable():  # they can send each other nothing
            await asyncio.gather(*(_shut_down(service, time.monotonic() - begun) for service in stopping))
        else:
            for service in stopping:
                await _shut_down(service, time.monotonic() - begun)
        if self._server is not None:
            await self._server.stop()
        self._held.close()

    async def drain(self, within: float = 5.0) -> None:
        """Before an orderly end, let services finish work that no job waits for, such as a playlist's own file."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            if all([await service.settled() for service in self.services.values()]):
                return
            await asyncio.sleep(0.05)

    def abandon(self) -> None:
        """Kill the broker, if it runs. Its children end because their pipes close."""
        if self._server is not None:
            self._server.kill()


async def _shut_down(service: ServiceBase, passed: float) -> None:
    """Stop a service; log an error or a timeout, so that the others are stopped too. `passed`: seconds since the
    signal."""
    work, whole = (max(MIN_SHARE, until - passed) for until in (WORK_UNTIL, CLEANUP_UNTIL))
    ending = asyncio.wait_for(service.shutdown(work), whole)
    (failure,) = await asyncio.gather(ending, return_exceptions=True)
    if failure is not None:
        log.error("shutdown_failed", stopped=service.name, error_message=repr(failure), exc_info=failure)


def _jobs() -> type[ServiceBase]:
    from services.jobs.service import JobsService

    return JobsService


def _metadata() -> type[ServiceBase]:
    from services.metadata.service import MetadataService

    return MetadataService


def _download() -> type[ServiceBase]:
    from services.download.service import DownloadService

    return DownloadService


def _storage() -> type[ServiceBase]:
    from services.storage.service import StorageService

    return StorageService


def _logging() -> type[ServiceBase]:
    from services.logging.service import LoggingService

    return LoggingService


_LOADERS: Mapping[str, Callable[[], type[ServiceBase]]] = {
    "jobs": _jobs,
    "metadata": _metadata,
    "download": _download,
    "storage": _storage,
    "logging": _logging,
}


def load_service(name: str) -> type[ServiceBase]:
    """Import the class of a service only now: a single service does not load the others."""
    return _LOADERS[name]()


def _with_roots(config: Config, extra: Sequence[Path]) -> Config:
    new = tuple(root for root in extra if root not in config.storage.all_roots)
    storage = config.storage.model_copy(update={"roots": (*config.storage.roots, *new)})
    return config.model_copy(update={"storage": storage})


def _with_free_ports(config: Config, names: Sequence[str]) -> Config:
    endpoints: Mapping[str, Endpoint] = {name: getattr(config.services, name) for name in names}
    freed = {
        name: endpoint.model_copy(update={"port": 0}) for name, endpoint in endpoints.items() if not is_free(endpoint)
    }
    return config.model_copy(update={"services": config.services.model_copy(update=freed)})


async def run_services(
    names: Sequence[str],
    config: Config,
    *,
    embedded: bool | None = None,
    ports: Ports = "fixed",
    on_ready: Callable[[Stack], Awaitable[None] | None] | None = None,
    beside: Callable[[Stack], AbstractAsyncContextManager[object]] | None = None,
) -> None:
    """Run until SIGTERM or SIGINT, then stop cleanly; a second signal ends the process at once.

    `on_ready` is called with the started stack. `beside`: what runs while it does, and is stopped before it.
    """
    stack = Stack(config, names, embedded=embedded, ports=ports, wait_for_broker=True)
    stop = asyncio.Event()

    def stop_on(number: signal.Signals) -> None:
        log.info("shutdown_signal_received", signal=number.name)
        if stop.is_set():
            stack.abandon()
            os._exit(128 + number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_on, number)
    try:
        async with AsyncExitStack() as running:
            if await unless(stack.__aenter__(), stop) is None:
                return
            running.push_async_exit(stack)
            if beside is not None:
                await running.enter_async_context(beside(stack))
            if on_ready is not None:
                waiting = on_ready(stack)
                if waiting is not None:
                    await waiting
            await stop.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
