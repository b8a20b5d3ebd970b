"""Read-only access to jobs.db while no service runs. Methods mirror the REST routes: the same query models in, the same
response models out. Listing jobs loads only what it needs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from services.common.domain.jobs import Job
from services.common.errors import NotFound
from services.common.settings.load import Config
from services.common.settings.sections import Retention
from services.jobs.adapters.follow_reader import FollowReader
from services.jobs.adapters.job_reader import JobReader
from services.jobs.adapters.store import Store
from services.jobs.rest_models import (
    Cleanup,
    FollowList,
    FollowQuery,
    FollowVideoList,
    FollowVideoQuery,
    ItemList,
    ItemQuery,
    JobDetail,
    JobList,
    JobQuery,
    JobSummary,
)

if TYPE_CHECKING:
    from services.jobs.domain.commands import Command

_FIRST_ITEMS = ItemQuery(limit=1000)


class OfflineJobs:
    """Jobs as the last run left them. Where there never was a job, lists are empty."""

    def __init__(self, store: Store | None, settings: Retention) -> None:
        self._store = store
        self._settings = settings

    @classmethod
    @asynccontextmanager
    async def open(cls, config: Config) -> AsyncIterator["OfflineJobs"]:
        """Raises ServiceUnavailable when a newer version wrote jobs.db."""
        store = await asyncio.to_thread(_open, database_path(config))
        try:
            yield cls(store, config.retention)
        finally:
            if store is not None:
                await asyncio.to_thread(store.close)

    async def jobs(self, query: JobQuery) -> JobList:
        if self._store is None:
            return JobList(jobs=[], total=0, limit=query.limit, offset=query.offset)
        return await JobReader(self._store).jobs(query)

    async def find(self, job_id: str) -> Job | None:
        return await JobReader(self._store).find(job_id) if self._store else None

    async def detail(self, job_id: str) -> JobDetail | None:
        """Return a job with its first items; None if there is none. Nothing runs."""
        job = await self.find(job_id)
        if job is None:
            return None
        items = await self.items(job_id, _FIRST_ITEMS)
        return JobDetail(job=job, items=items.items, running={})

    async def summary(self, job_id: str) -> JobSummary:
        """Raises NotFound."""
        if self._store is None:
            raise NotFound(f"There is no job {job_id}.", job_id=job_id)
        return await JobReader(self._store).summary(job_id)

    async def items(self, job_id: str, query: ItemQuery) -> ItemList:
        if self._store is None:
            return ItemList(items=[], total=0, limit=query.limit, offset=query.offset)
        return await JobReader(self._store).items(job_id, query)

    async def follows(self, query: FollowQuery) -> FollowList:
        if self._store is None:
            return FollowList(follows=[], total=0, limit=query.limit, offset=query.offset)
        return await FollowReader(self._store).follows(query)

    async def follow_videos(self, follow_id: str, query: FollowVideoQuery) -> FollowVideoList:
        if self._store is None:
            return FollowVideoList(videos=[], total=0, limit=query.limit, offset=query.offset)
        return await FollowReader(self._store).videos(follow_id, query)

    async def check(self, command: "Command") -> None:
        """Raise NotFound or InvalidRequest when the command would have no effect."""
        if self._store is None:
            raise NotFound(f"There is no job {command.job_id}.", job_id=command.job_id)
        from services.jobs.domain.commands import check

        await self._store.read(lambda rows, _sql: check(rows, command))

    async def cleanup_preview(self) -> Cleanup:
        """Return what the next cleanup would remove."""
        from services.jobs.adapters import retention

        if self._store is None:
            return retention.report([], dry_run=True)
        due = await retention.due(self._store, self._settings, datetime.now(UTC))
        return retention.report(due, dry_run=True)


def database_path(config: Config) -> Path:
    return config.storage.jobs_dir / "jobs.db"


def mark_restored(database: Path, at: datetime) -> None:
    """Mark a jobs.db that is not in use as a copy of that time: what was requested since is then found again."""
    from services.jobs.adapters import backups

    backups.mark_restored(database, at)


def _open(path: Path) -> Store | None:
    return Store(path, "offline", read_only=True) if path.exists() else None
