"""The storage service: owns the archive tree, its catalogue and the work plans."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

from bus import BusSettings, Handlers
from services.common.infra.deletion_clock import DeletionClock
from services.common.infra.writable_folders import expect_writable
from services.common.service import ServiceBase
from services.common.settings.load import Config
from services.common.web.routing import Route
from services.storage.archive.disk_space import DiskSpace
from services.storage.bootstrap import HANDLERS, ROUTES, StorageParts, bootstrap
from services.storage.index.catalogue import WORK_PLANS, CatalogueTotals

_LOST_AFTER = 30.0  # seconds that a disk may be unavailable: an automounter is given time
_COUNT_EVERY = 30.0  # seconds between two counts for the metrics


class StorageService(ServiceBase):
    """Start-up, shut-down, health and background tasks; `parts` do the work."""

    name: ClassVar[str] = "storage"
    handlers: ClassVar[Handlers] = HANDLERS
    routes: Sequence[Route] = ROUTES

    parts: StorageParts

    def __init__(
        self,
        config: Config,
        bus: BusSettings,
        disk_space: DiskSpace | None = None,
        *,
        quiet: float = 300.0,
        rechecks: bool = True,
    ) -> None:
        """`disk_space`: how to wait for a full disk; by default with `[storage] min_free`, for five minutes. `quiet`:
        seconds after the start in which the schedule verifies nothing. `rechecks` False creates no jobs that look again
        for what is missing or might get better: a one-shot command runs its own job only."""
        super().__init__(config, bus)
        self._quiet = quiet
        self._rechecks = rechecks
        self._disk_space = replace(disk_space or DiskSpace(config.storage.min_free), closing=self.closing)
        self._resources = AsyncExitStack()
        self._totals: CatalogueTotals | None = None
        self._recovered = 0

    @classmethod
    def check_settings(cls, config: Config) -> None:
        """Folders of the archive are not created here: their disk may not be mounted."""
        for folder in (config.storage.metadata_dir, config.storage.videos_dir):
            expect_writable(folder, config.storage, "storage service")

    def disk_paths(self) -> Sequence[Path]:
        storage = self.config.storage
        return (*storage.all_roots, storage.base_data_dir, storage.work_plans_dir)

    # --- start and stop -----------------------------------------------------------------------------------------------

    async def initialize_resources(self) -> Sequence[object]:
        """Open the catalogue and recover what a killed process left. A new catalogue indexes the work plans at once."""
        self.parts = parts = bootstrap(
            self.config, self.bus, self._disk_space, self.closing, self.spawn, self._resources, quiet=self._quiet
        )
        for root in parts.roots.all:
            await parts.roots.expect_mounted(parts.roots.tree(root))
        self._recovered = await parts.archive.recover_unfinished()
        if not await parts.catalogue.is_scanned(WORK_PLANS):
            generation = parts.catalogue.generation
            await parts.work_plans.index_all()
            await parts.catalogue.mark_scanned(WORK_PLANS, generation)
        await parts.work_plans.clear()
        clock = DeletionClock(self.config.storage.run_dir)
        await parts.pages.remove_old(await asyncio.to_thread(clock.now))
        return parts.all()

    async def after_start(self) -> None:
        if self._rechecks:
            self.spawn(self.parts.rechecks.run, "re-checks")
            self.spawn(self.parts.revisits.run, "revisits")
            self.bus.on_store_lost.append(self._store_lost)
        self.spawn(self.parts.rescans.run, "first scan")
        self.spawn(self.parts.rescans.rebuild_when_damaged, "catalogue")
        self.spawn(self._count, "totals")
        self.spawn(self.parts.verifier.run, "verification")

    async def _store_lost(self) -> None:
        self.spawn(self.parts.rechecks.publish_again, "re-checks, again")

    async def _count(self) -> None:
        while True:
            self._totals = await self.parts.catalogue.totals()
            await self.parts.roots.recheck_unavailable()
            await asyncio.sleep(_COUNT_EVERY)

    async def cleanup_resources(self) -> None:
        await self._resources.aclose()

    # --- health -------------------------------------------------------------------------------------------------------

    async def settled(self) -> bool:
        return await self.bus.caught_up(self.handlers)

    def critical_errors(self) -> list[str]:
        return [*super().critical_errors(), *(one.reason for one in self.parts.roots.unavailable.values())]

    def lost_causes(self) -> list[str]:
        horizon = time.monotonic() - _LOST_AFTER
        lost = [one.reason for one in self.parts.roots.unavailable.values() if one.since < horizon]
        return [*super().lost_causes(), *lost]

    def metrics(self) -> dict[str, Any]:
        totals = asdict(self._totals) if self._totals else {}
        work = {
            "scanning": self.parts.rescans.scanning,
            "rebuilding": self.parts.damage.reason,
            "unindexed": self.parts.indexer.unindexed,
        }
        return {**totals, "take_ins_recovered": self._recovered, **work, **self.parts.verifier.metrics()}
