"""Where the parts of the jobs service meet: adapters, domain objects, handlers and routes."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from bus import Bus
from services.common.infra.files import remove_abandoned
from services.common.settings.load import Config
from services.jobs.adapters import backups, queries
from services.jobs.adapters.broker_lease import BrokerLease
from services.jobs.adapters.commits import CommitNotifier
from services.jobs.adapters.job_reader import JobReader
from services.jobs.adapters.registry import Registry
from services.jobs.adapters.store import Store
from services.jobs.dispatcher import Dispatcher
from services.jobs.domain.rhythm import Pace
from services.jobs.entrypoints.api import ROUTES
from services.jobs.entrypoints.handlers import HANDLERS
from services.jobs.follow_desk import FollowDesk
from services.jobs.job_queue import JobQueue
from services.jobs.job_validator import JobValidator
from services.jobs.publishers import OutboxPublisher, ProgressPublisher
from services.jobs.restoration import Restoration
from services.jobs.subscribers import Subscribers

__all__ = ["HANDLERS", "ROUTES", "Parts", "bootstrap"]


@dataclass(frozen=True)
class Parts:
    """All objects of a running jobs service. Handlers and routes get theirs by type."""

    store: Store
    reader: JobReader
    registry: Registry
    notifier: CommitNotifier
    subscribers: Subscribers
    dispatcher: Dispatcher
    queue: JobQueue
    follows: FollowDesk
    outbox: OutboxPublisher
    progress: ProgressPublisher
    restoration: Restoration
    lease: BrokerLease

    def all(self) -> list[object]:
        return [getattr(self, field.name) for field in fields(self)]


async def bootstrap(
    config: Config, bus: Bus, instance: str, url: str, resources: AsyncExitStack, *, park_open: bool
) -> Parts:
    """Build the service, which answers at `url`. `resources` closes what is opened. `park_open`: do not dispatch the
    jobs that are open now.

    Raises ServiceUnavailable when a newer version wrote jobs.db.
    """
    storage = config.storage
    path = storage.jobs_dir / "jobs.db"
    await asyncio.to_thread(backups.restore_if_damaged, path, datetime.now(UTC))
    store = await asyncio.to_thread(Store, path, f"jobs/{instance}")
    resources.push_async_callback(asyncio.to_thread, store.close)
    resources.push_async_callback(store.remove_published)
    await asyncio.to_thread(remove_abandoned, storage.registry_dir)
    registry = await asyncio.to_thread(Registry, storage.registry_dir / "services.json")
    resources.push_async_callback(registry.close)
    reader = JobReader(store)
    parked = await store.read(lambda _rows, sql: queries.open_jobs(sql)) if park_open else []
    notifier = CommitNotifier()
    subscribers = Subscribers()
    pace = Pace(config.follow.shortest, config.follow.longest, config.follow.requests_per_hour)
    held = lambda: bus.room.waiting_for()  # noqa: E731 - the room is known once the bus is connected
    dispatcher = Dispatcher(store, registry, parked, notifier, held, pace=pace, only_wanted_looks=park_open)
    validator = JobValidator(config)
    queue = JobQueue(config, bus, store, reader, validator, registry, dispatcher, subscribers, notifier, pace)
    follow_desk = FollowDesk(bus, store, validator, queue)
    outbox = OutboxPublisher(store, bus, notifier)
    progress = ProgressPublisher(reader, bus)
    notifier.add(outbox, progress, subscribers)
    restoration = Restoration(store, reader, queue, bus, storage.logs_dir)
    lease = BrokerLease(bus, await store.identity(), instance, url)
    return Parts(
        store,
        reader,
        registry,
        notifier,
        subscribers,
        dispatcher,
        queue,
        follow_desk,
        outbox,
        progress,
        restoration,
        lease,
    )
