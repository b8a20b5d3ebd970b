"""The web server of the page: a port of its own, with the access rules of the services."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from services.common.infra.logs import VERSION
from services.common.settings.load import Config
from services.common.web.access import AccessRules
from services.common.web.bound_socket import BoundSocket
from services.common.web.routing import RestApplication, Route
from ytarchive.client.endpoints import System
from ytarchive.web import assets, attention, diagnosis, forwarding, live, local_files, login, media, overview, plan
from ytarchive.web.assets import Assets
from ytarchive.web.attention import AttentionReader
from ytarchive.web.diagnosis import Examinations
from ytarchive.web.forwarding import Forwarder
from ytarchive.web.live import LiveHub
from ytarchive.web.local_files import LocalFiles
from ytarchive.web.login import LoginDesk
from ytarchive.web.media import Signatures
from ytarchive.web.services import Services
from ytarchive.web.sessions import Password, Sessions


def own_routes() -> tuple[Route, ...]:
    """Return the routes that are answered here."""
    return (
        *login.ROUTES,
        *overview.ROUTES,
        *attention.ROUTES,
        *plan.ROUTES,
        *diagnosis.ROUTES,
        *media.ROUTES,
        *live.ROUTES,
    )


def routes() -> tuple[Route, ...]:
    """Return all routes. The first one that fits answers: forwarded paths and the page come last."""
    return (*own_routes(), *media.SIGNED, *local_files.ROUTES, *forwarding.routes(), *assets.ROUTES)


class WebServer:
    """What the routes need to know about the program that they are part of."""

    def __init__(self) -> None:
        self.logger: structlog.typing.FilteringBoundLogger = structlog.get_logger("ytarchive.web").bind(
            service="web", version=VERSION
        )
        self.accepting = True
        self.accepting_work = True
        self.closing = asyncio.Event()
        self.url = ""

    @property
    def bus_away(self) -> str | None:
        return None  # the services know, and answer with it

    async def bus_problem(self, *, new_work: bool = True) -> str | None:
        return None


@asynccontextmanager
async def serving(config: Config, own: System | None = None) -> AsyncIterator[WebServer]:
    """Serve the page while the context lasts. `own`: the system of this process; None: the one that runs, now or later.
    Raise ConfigError when the port of `[web]` is taken."""
    bound = BoundSocket.bind("web", config.web, section="web")
    server = WebServer()
    server.url = bound.url
    async with AsyncExitStack() as resources:
        resources.callback(bound.socket.close)
        services = Services(config, own)
        hub = LiveHub(services)
        resources.push_async_callback(hub.close)
        forwarder = await resources.enter_async_context(Forwarder.open(services))
        sessions = Sessions(config)
        rules = AccessRules.of(config, config.web.host, bound.url, sessions)
        parts: Sequence[object] = (
            config,
            services,
            hub,
            forwarder,
            Assets(),
            AttentionReader(config, services),
            Examinations(config),
            LocalFiles(config, services, forwarder),
            LoginDesk(rules, sessions, Password(config)),
            Signatures(config),
        )
        rest = RestApplication(server, [route.bind(parts) for route in routes()], rules)
        await rest.start(bound)
        server.logger.info("page_served", url=bound.url)
        try:
            yield server
        finally:
            server.accepting = False
            server.closing.set()
            await rest.stop()


async def run(config: Config, on_ready: Callable[[str], None]) -> None:
    """Serve the page until SIGTERM or SIGINT. `on_ready` gets its address."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with serving(config) as server:
            on_ready(server.url)
            await stop.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
