"""Offline access to jobs.db: the same answers as over REST, without writing."""

import sqlite3
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from services.common.domain.jobs import ItemStatus
from services.common.errors import NotFound
from services.common.models import JobOptions, JobStatus, JobType
from services.common.settings.load import Config
from services.jobs.adapters.store import Store
from services.jobs.adapters.unit_of_work import SqlRows
from services.jobs.domain.rows import ItemRow, JobRow
from services.jobs.offline import OfflineJobs
from services.jobs.rest_models import ItemQuery, JobQuery

NOW = datetime.now(UTC)


async def add(config: Config, job_id: str, status: JobStatus, ended: datetime | None) -> None:
    job = JobRow(
        job_id, "t", JobType.VIDEO_DOWNLOAD, JobOptions(), ("x",), 0, "/a", status, NOW, NOW, finished_at=ended, total=1
    )
    store = Store(config.storage.jobs_dir / "jobs.db", "jobs/1")
    try:
        await store.write(partial(_save, rows=(job, ItemRow(job_id, "video000001", 0, 0, ItemStatus.ARCHIVED, NOW))))
    finally:
        store.close()


def _save(sql: sqlite3.Connection, rows: tuple[JobRow, ItemRow]) -> None:
    unit = SqlRows(sql)
    for row in rows:
        unit.add(row)
    unit.save()


async def test_without_a_database_all_answers_are_empty_and_no_file_is_created(config: Config) -> None:
    async with OfflineJobs.open(config) as jobs:
        assert (await jobs.jobs(JobQuery())).total == 0
        assert await jobs.find("a") is None
        assert await jobs.detail("a") is None
        with pytest.raises(NotFound):
            await jobs.summary("a")
        assert (await jobs.items("a", ItemQuery())).items == []
        assert (await jobs.cleanup_preview()).total == 0
    assert not (config.storage.jobs_dir / "jobs.db").exists()


async def test_jobs_items_and_the_cleanup_preview_are_read_from_the_database(config: Config) -> None:
    await add(config, "old", JobStatus.COMPLETED, NOW - timedelta(days=31))
    await add(config, "new", JobStatus.RUNNING, None)
    async with OfflineJobs.open(config) as jobs:
        assert (await jobs.jobs(JobQuery())).total == 2
        assert [job.job_id for job in (await jobs.jobs(JobQuery(status="open"))).jobs] == ["new"]
        detail = await jobs.detail("old")
        assert detail is not None
        assert [item.video_id for item in detail.items] == ["video000001"]
        assert (await jobs.summary("old")).items == detail.items
        preview = await jobs.cleanup_preview()
        assert ([job.job_id for job in preview.jobs], preview.dry_run) == (["old"], True)
        assert (await jobs.jobs(JobQuery())).total == 2
