"""Rescans of whole roots: the first scan after a start, and those that a user requests."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from services.common.errors import InvalidRequest, ServiceUnavailable, code_of
from services.common.infra.sqlite import Database
from services.storage.archive.tree_walk import trees_below
from services.storage.index.damage import CatalogueDamage
from services.storage.index.indexer import Indexer
from services.storage.index.roots import ArchiveRoots
from services.storage.workplans.repository import WorkPlanRepository

_log = structlog.get_logger()

Spawn = Callable[[Callable[[], Coroutine[Any, Any, None]], str], object]  # runs a named background task


class RescanRunner:
    def __init__(
        self,
        roots: ArchiveRoots,
        indexer: Indexer,
        work_plans: WorkPlanRepository,
        database: Database,
        damage: CatalogueDamage,
        spawn: Spawn,
    ) -> None:
        self._roots = roots
        self._database = database
        self._damage = damage
        self._one_scan = asyncio.Lock()
        self._indexer = indexer
        self._work_plans = work_plans
        self._spawn = spawn
        self.scanning: str | None = None  # the root that is being read

    async def begin(self, root: str | None) -> list[Path]:
        """Start a rescan of one root, or of all, in the background. Return the roots.

        Raises InvalidRequest for a foreign root and while a rescan runs, ServiceUnavailable when a disk is not mounted.
        """
        roots = list(self._roots.all) if root is None else [self._roots.tree(root).root]
        for one in roots:
            await self._roots.expect_mounted(self._roots.tree(one))
        if self.scanning is not None:
            raise InvalidRequest(f"{self.scanning} is being scanned already. `scanning` in health shows when it ends.")
        self.scanning = str(roots[0])
        self._spawn(partial(self._rescan_all, roots), "rescan")
        return roots

    async def _rescan_all(self, roots: Sequence[Path]) -> None:
        try:
            for root in roots:
                await self.rescan(root)
            await self._work_plans.index_all()
        except (OSError, ServiceUnavailable) as error:
            _log.error("scan_failed", root=self.scanning, error_code=code_of(error), error_message=str(error))
        finally:
            self.scanning = None

    async def rescan(self, root: Path) -> None:
        """Rescan a root and the archives below it. Raises OSError, ServiceUnavailable."""
        below = await asyncio.to_thread(lambda: list(trees_below(root)))
        for path in (root, *below):
            self.scanning = str(path)
            await self._indexer.rescan(path)
        self.scanning = None

    async def scan_new_roots(self) -> None:
        """Scan the roots that the catalogue does not have yet. Answers are correct before the end, only slower: what
        the catalogue lacks is read from the tree."""
        async with self._one_scan:
            for root in self._roots.all:
                try:
                    if await self._roots.was_scanned(str(root)):
                        await self._indexer.sweep(self._roots.tree(root))
                    else:
                        await self.rescan(root)
                except (OSError, ServiceUnavailable) as error:
                    _log.error("scan_failed", root=str(root), error_code=code_of(error), error_message=str(error))

    async def rebuild_when_damaged(self) -> None:
        """Background task: check the whole file of the catalogue once, and rebuild it after each damage."""
        await self._database.check()
        while await self._damage.found.wait():
            self._damage.found.clear()
            await self._work_plans.index_all()
            await self.scan_new_roots()  # after the scan that runs, which does not count for the new file
            self._indexer.texts_missing.set()
            self._damage.reason = None

    async def run(self) -> None:
        """Background task: scan new roots, then keep the text index up to date."""
        await self.scan_new_roots()
        await self._indexer.run()
