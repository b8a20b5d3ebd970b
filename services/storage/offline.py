"""Read-only access to the archive while no service runs. Methods mirror the REST routes: the same query models in, the
same response models out."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

from services.common.infra.sqlite import Database
from services.common.settings.load import Config, Storage
from services.common.web.paging import PageQuery
from services.storage.fixity.offline import OfflineVerification
from services.storage.formats.work_plan import WorkPlan
from services.storage.index.catalogue import WORK_PLANS
from services.storage.index.queries import ArchiveStats, CatalogueQueries, Existence, VideoPage, VideoQuery
from services.storage.index.schema import open_read_only
from services.storage.index.search import ArchiveSearch, SearchPage, SearchQuery
from services.storage.reporting.history import HistoryPage, HistoryReader
from services.storage.workplans.queries import PlanPage, WorkPlanQueries


def forget_scans(catalogue: Path, settings: Storage) -> None:
    """Let the next start read all roots into a catalogue that is not in use."""
    with closing(sqlite3.connect(catalogue)) as db, db:
        db.executemany("DELETE FROM scanned WHERE root = ?", [(str(root),) for root in settings.all_roots])
        db.execute("DELETE FROM scanned WHERE root = ?", (WORK_PLANS,))


class OfflineStorage:
    """Where nothing was archived yet, and so no catalogue exists, lists are empty."""

    def __init__(self, config: Config) -> None:
        self._settings = config.storage
        self._rate_limit = config.fixity.rate_limit
        self._revisit_after = config.revisit.delays
        self._plans = WorkPlanQueries(config.storage.work_plans_dir)

    async def videos(self, query: VideoQuery) -> VideoPage:
        async with self._catalogue() as database:
            if database is not None:
                return await CatalogueQueries(database, self._settings, self._revisit_after).videos(query)
        return VideoPage(videos=[], total=0, limit=query.limit, offset=query.offset)

    async def search(self, query: SearchQuery) -> SearchPage:
        """Raises ServiceUnavailable while there is no text index."""
        async with self._catalogue() as database:
            if database is not None:
                return await ArchiveSearch(database, self._settings).find(query)
        return SearchPage(hits=[], total=0, limit=query.limit, offset=query.offset)

    async def exists(self, video_id: str) -> Existence:
        async with self._catalogue() as database:
            if database is not None:
                return await CatalogueQueries(database, self._settings, self._revisit_after).existence(video_id)
        return Existence(video_id=video_id, exists=False, copies=[])

    async def stats(self) -> ArchiveStats:
        async with self._catalogue() as database:
            if database is not None:
                return await CatalogueQueries(database, self._settings, self._revisit_after).stats(
                    self._settings.all_roots
                )
        return ArchiveStats(
            videos=0, bytes=0, duration_seconds=0, roots=[], channels=[], known_gone=0, open_plan_entries=0,
            oldest=None, newest=None,
        )  # fmt: skip

    async def history(self, id: str, query: PageQuery) -> HistoryPage:
        """Raises NotFound."""
        return await asyncio.to_thread(
            HistoryReader(self._settings, self._revisit_after).read, id, query.limit, query.offset
        )

    async def work_plans(self, query: PageQuery) -> PlanPage:
        return await self._plans.page(query)

    async def work_plan(self, plan_id: str) -> WorkPlan:
        """Raises NotFound."""
        return await self._plans.plan(plan_id)

    def verification(self, root: str | None, video_ids: Sequence[str] | None) -> OfflineVerification:
        """Return a verification that has not begun. It never repairs."""
        return OfflineVerification(self._settings, self._rate_limit, root, video_ids)

    @asynccontextmanager
    async def _catalogue(self) -> AsyncIterator[Database | None]:
        try:
            database = await asyncio.to_thread(open_read_only, self._settings.base_data_dir)
        except FileNotFoundError:
            yield None
            return
        try:
            yield database
        finally:
            database.close()
