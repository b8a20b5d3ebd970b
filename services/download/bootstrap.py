"""Where the parts of the download service meet: slots, breaker, worker, handlers and routes."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, fields

from bus import Bus
from services.common.settings.load import Config
from services.common.youtube.egress import egress_of
from services.common.youtube.fork_server import SHARED
from services.common.youtube.process import YtDlpChild
from services.common.youtube.settings import ChildSettings
from services.download.api import ROUTES
from services.download.blocks.breaker import Breaker
from services.download.context import WorkerContext
from services.download.handlers import HANDLERS
from services.download.offers import Offers
from services.download.slots import Slots
from services.download.tasks import Tasks
from services.download.worker import Worker

__all__ = ["HANDLERS", "ROUTES", "Parts", "bootstrap"]


@dataclass(frozen=True)
class Parts:
    """All objects of a running download service. Handlers and routes get theirs by type."""

    context: WorkerContext
    breaker: Breaker
    slots: Slots
    tasks: Tasks
    worker: Worker
    offers: Offers

    def all(self) -> list[object]:
        return [getattr(self, field.name) for field in fields(self)]


def bootstrap(
    config: Config,
    bus: Bus,
    instance: str,
    closing: asyncio.Event,
    announce: Callable[[], Awaitable[None]],
    resources: AsyncExitStack,
) -> Parts:
    """Build the service. `resources` ends the yt-dlp children, which are started when they are needed."""
    egress = egress_of(config.youtube.proxy, name=config.youtube.egress)
    context = WorkerContext(config, bus, instance, egress, closing, announce)
    breaker = Breaker()
    tasks = Tasks()
    settings = ChildSettings.of(config)
    server = SHARED.acquire()
    resources.push_async_callback(server.release)
    slots = Slots(config.download.slots, settings, server, rest=config.youtube.sleep_interval)
    resources.push_async_callback(slots.close)
    offers = Offers(context, breaker, YtDlpChild(settings, server))
    resources.push_async_callback(offers.close)
    return Parts(context, breaker, slots, tasks, Worker(context, breaker, slots, tasks), offers)
