"""The jobs service: the queue, its dispatcher and the service registry."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from bus import BusSettings, Handlers
from services.common.errors import ServiceUnavailable, StorageFull, code_of
from services.common.infra.deletion_clock import DeletionClock
from services.common.infra.writable_folders import expect_writable
from services.common.service import ServiceBase
from services.common.settings.load import Config
from services.common.web.routing import Route
from services.jobs.adapters import backups, queries, retention
from services.jobs.adapters.broker_lease import BUCKET
from services.jobs.bootstrap import HANDLERS, ROUTES, Parts, bootstrap

_COPY_INTERVAL = 3600.0  # seconds between two checks whether a copy is due


class JobsService(ServiceBase):
    """Start-up, shut-down, health and background tasks; `parts` do the work."""

    name: ClassVar[str] = "jobs"
    handlers: ClassVar[Handlers] = HANDLERS
    routes: Sequence[Route] = ROUTES
    buckets: ClassVar[tuple[str, ...]] = (BUCKET,)

    parts: Parts

    def __init__(self, config: Config, bus: BusSettings, *, park_open: bool = False) -> None:
        """`park_open` leaves jobs of earlier runs alone until they are created again or resumed: a one-shot command
        runs only its own job."""
        super().__init__(config, bus)
        self._park_open = park_open
        self._resources = AsyncExitStack()

    @classmethod
    def check_settings(cls, config: Config) -> None:
        """The broker's store is below jobs_dir, and is opened before any service."""
        for folder in (config.storage.jobs_dir, config.storage.registry_dir):
            expect_writable(folder, config.storage, "jobs service")

    async def initialize_resources(self) -> Sequence[object]:
        self.parts = await bootstrap(
            self.config, self.bus, self.instance, self.url, self._resources, park_open=self._park_open
        )
        await self.parts.lease.acquire()
        self._resources.push_async_callback(self.parts.lease.release)
        if await self.parts.restoration.complete():
            await self._after_restoration()
        await self._check_broker_store()
        self.bus.on_store_lost.append(self._check_broker_store)
        return self.parts.all()

    async def _after_restoration(self) -> None:
        """What was requested since the copy, and its answers, count as lost."""
        parts = self.parts
        if self._park_open:
            parts.dispatcher.parked.update(await parts.store.read(lambda _rows, sql: queries.open_jobs(sql)))
        await parts.store.note_broker_store(str(self.bus.store_created))
        parts.dispatcher.store_lost()

    async def _check_broker_store(self) -> None:
        """Repeat the unanswered requests if the broker has another store than before, or than in the last run."""
        if await self.parts.store.note_broker_store(str(self.bus.store_created)):
            self.logger.warning("broker_store_is_new", remedy="unanswered requests are repeated")
            self.parts.dispatcher.store_lost()

    async def after_start(self) -> None:
        parts = self.parts
        parts.registry.seen(self.info())
        self.spawn(parts.lease.keep, "broker lease", essential=True)
        self.spawn(parts.dispatcher.run, "dispatcher", essential=True)
        self.spawn(parts.outbox.run, "outbox", essential=True)
        self.spawn(parts.progress.run, "progress")
        self.spawn(parts.registry.save_changes, "registry file")
        clock = DeletionClock(self.config.storage.jobs_dir)
        self.spawn(partial(retention.daily, parts.store, self.config.retention, clock, parts.notifier), "retention")
        self.spawn(self._copy_daily, "copies of jobs.db")

    async def _copy_daily(self) -> None:
        while True:
            try:
                await asyncio.to_thread(
                    backups.copy_if_due, self.config.storage.jobs_dir / "jobs.db", datetime.now(UTC)
                )
            except (OSError, ServiceUnavailable, StorageFull) as error:
                self.logger.warning("jobs_db_not_copied", error_code=code_of(error), error_message=str(error))
            await asyncio.sleep(_COPY_INTERVAL)

    async def cleanup_resources(self) -> None:
        await self._resources.aclose()

    async def settled(self) -> bool:
        return await self.parts.outbox.empty()

    def disk_paths(self) -> Sequence[Path]:
        return [self.config.storage.jobs_dir]

    def metrics(self) -> dict[str, Any]:
        return {"services": len(self.parts.registry.everyone()), "parked_jobs": len(self.parts.dispatcher.parked)}
