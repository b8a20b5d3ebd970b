"""Retention of ended jobs, maintenance of jobs.db, and its migrations."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bus import BusSettings, Event
from bus.tasks import cancel_and_wait
from services.common.domain.jobs import ItemStatus
from services.common.infra.deletion_clock import DeletionClock
from services.common.models import JobOptions, JobStatus, JobType
from services.common.settings.load import Config
from services.common.settings.sections import Retention
from services.jobs.adapters import retention
from services.jobs.adapters.commits import CommitNotifier
from services.jobs.adapters.job_reader import JobReader
from services.jobs.adapters.schema import STEPS
from services.jobs.adapters.store import Store
from services.jobs.adapters.unit_of_work import SqlRows
from services.jobs.domain.rows import ItemRow, JobRow
from services.jobs.rest_models import EndedJob, ItemQuery, JobQuery
from services.jobs.service import JobsService
from tests.fixtures.accelerated_loop import AcceleratedLoop

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
RETENTION = Retention()
NOTIFIER = CommitNotifier()  # without subscribers
DAYS_KEPT = {"completed": 30, "failed": 90, "cancelled": 7}  # SPEC: Data Retention
DAY = 86_400.0  # seconds


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(tmp_path / "jobs.db", "jobs/1")
    yield store
    store.close()


async def add(
    store: Store, job_id: str, status: str, finished_at: datetime | None, items: int = 2, **counts: Any
) -> None:
    def work(rows: SqlRows, _sql: sqlite3.Connection, _now: datetime) -> list[object]:
        job = JobRow(
            job_id, "t", JobType.VIDEO_DOWNLOAD, JobOptions(), ("x",), 0, "/a", JobStatus(status), NOW, NOW,
            finished_at=finished_at, total=items, **counts,
        )  # fmt: skip
        rows.add(job)
        for n in range(items):
            rows.add(ItemRow(job_id, f"video{n:06d}", 0, n, ItemStatus.ARCHIVED, NOW))
        return []

    await store.change(work)  # type: ignore[arg-type]  # it causes no event


@pytest.mark.parametrize(("status", "days"), DAYS_KEPT.items())
@pytest.mark.claim("3.1", "3.2", "3.3")
def test_an_ended_job_is_due_after_its_retention_period(status: str, days: int) -> None:
    for age, due in ((timedelta(days=days), False), (timedelta(days=days, seconds=1), True)):
        job = EndedJob(job_id="a", status=JobStatus(status), finished_at=NOW - age, items=0)
        assert retention.is_due(job, RETENTION, NOW) is due


@pytest.mark.parametrize("status", [status for status in JobStatus if not status.ended])
def test_an_open_job_is_never_due(status: JobStatus) -> None:
    job = EndedJob(job_id="a", status=status, finished_at=NOW - timedelta(days=9999), items=0)
    assert not retention.is_due(job, RETENTION, NOW)


async def test_maintenance_removes_only_jobs_that_are_due(store: Store, tmp_path: Path) -> None:
    for status, days in DAYS_KEPT.items():
        await add(store, f"old-{status}", status, NOW - timedelta(days=days + 1))
        await add(store, f"young-{status}", status, NOW - timedelta(days=days - 1))
    await add(store, "open", "running", None)
    read_only = Store(tmp_path / "jobs.db", "cli", read_only=True)  # as the CLI does without a running stack
    due = await retention.due(read_only, RETENTION, NOW)
    read_only.close()
    assert {job.job_id for job in due} == {f"old-{status}" for status in DAYS_KEPT}
    assert (await JobReader(store).jobs(JobQuery())).total == 7
    done = await retention.upkeep(store, RETENTION, NOW, NOTIFIER)
    assert (done.total, done.items, done.dry_run) == (3, 6, False)
    left = {job.job_id for job in (await JobReader(store).jobs(JobQuery())).jobs}
    assert left == {"open", *(f"young-{status}" for status in DAYS_KEPT)}
    items = await store.read(lambda _r, sql: {row[0] for row in sql.execute("SELECT DISTINCT job_id FROM items")})
    assert items == left


@pytest.mark.claim("3.1", "3.2")
async def test_a_job_that_saved_nothing_is_kept_like_a_failed_one(store: Store) -> None:
    at = NOW - timedelta(days=60)  # more than 30, less than 90
    await add(store, "saved-one", "completed", at, archived=1, failed=1)
    await add(store, "skipped-one", "completed", at, skipped=1, unavailable=1)
    await add(store, "all-failed", "completed", at, failed=1, unavailable=1)
    await add(store, "empty", "completed", at, items=0)
    await add(store, "recheck-gone", "completed", at, unavailable=2)
    due = await retention.due(store, RETENTION, NOW)
    assert {job.job_id for job in due} == {"saved-one", "skipped-one", "empty", "recheck-gone"}
    later = await retention.due(store, RETENTION, NOW + timedelta(days=31))
    assert "all-failed" in {job.job_id for job in later}


@pytest.mark.claim("3.1", "3.2", "3.3")
def test_jobs_that_become_due_while_the_service_runs_are_removed(tmp_path: Path) -> None:
    """Once a day, on an event loop whose days last a third of a second."""
    with asyncio.Runner(loop_factory=partial(AcceleratedLoop, 3 * DAY)) as runner:
        runner.run(remove_twice(tmp_path))


async def remove_twice(folder: Path) -> None:
    """Run the daily removal. Add jobs that are due before it begins, and again after it has removed them."""
    store, clock = Store(folder / "jobs.db", "jobs/1"), DeletionClock(folder)
    reader = JobReader(store)

    async def add_due(name: str) -> None:
        for status, days in DAYS_KEPT.items():
            await add(store, f"{name}-{status}", status, datetime.now(UTC) - timedelta(days=days + 1))

    async def removed() -> None:
        while (await reader.jobs(JobQuery())).total:  # noqa: ASYNC110 - the database sends no notification
            await asyncio.sleep(DAY / 10)

    async with asyncio.timeout(200 * DAY):
        await add_due("first")
        daily = asyncio.create_task(retention.daily(store, RETENTION, clock, NOTIFIER))
        await removed()
        await add_due("second")
        await removed()
        await cancel_and_wait([daily])
    store.close()


async def test_a_due_job_that_was_retried_is_not_removed(store: Store) -> None:
    await add(store, "a", "failed", NOW - timedelta(days=100))
    due = await retention.due(store, RETENTION, NOW)
    await add(store, "a", "running", None)
    assert (await retention.remove_due(store, due, NOTIFIER)).total == 0
    await add(store, "a", "failed", NOW)
    assert (await retention.remove_due(store, due, NOTIFIER)).total == 0
    assert await JobReader(store).find("a") is not None


async def test_a_large_job_is_removed_in_batches(store: Store) -> None:
    await add(store, "a", "cancelled", NOW - timedelta(days=8), items=2 * retention.BATCH + 1)
    sizes: list[int] = []

    def count(sql: sqlite3.Connection) -> int:
        return int(sql.execute("SELECT count(*) FROM items").fetchone()[0])

    for statement in ("DELETE FROM jobs", "INSERT INTO removals VALUES ('a', 1, 'x', 1)"):
        # the state of a removal that a power failure interrupted
        await store.change(partial(_execute, statement=statement))
    while await store.write(retention._delete_batch):
        sizes.append(await store.read(lambda _r, sql: count(sql)))
    assert sizes == [retention.BATCH + 1, 1, 0]


async def test_an_interrupted_removal_is_finished_by_the_next_maintenance(store: Store) -> None:
    await add(store, "a", "cancelled", NOW)
    for statement in ("DELETE FROM jobs", "INSERT INTO removals VALUES ('a', 1, 'x', 1)"):
        await store.change(partial(_execute, statement=statement))
    assert (await retention.upkeep(store, RETENTION, NOW, NOTIFIER)).total == 0
    assert (await JobReader(store).items("a", ItemQuery())).items == []


async def test_an_open_job_cannot_be_removed(store: Store) -> None:
    await add(store, "a", "retrying", None)
    assert not await retention.remove(store, "a", NOTIFIER)
    assert not await retention.remove(store, "none", NOTIFIER)
    assert len((await JobReader(store).items("a", ItemQuery())).items) == 2


async def test_a_new_job_with_the_id_of_an_interrupted_removal_has_only_its_own_rows(store: Store) -> None:
    await add(store, "a", "cancelled", NOW, items=5)
    await store.write(lambda sql: sql.execute("INSERT INTO removals VALUES ('a', 1, 'x', 1)"))
    await store.write(lambda sql: SqlRows(sql).discard_removed("a"))
    assert (await JobReader(store).items("a", ItemQuery())).items == []
    await add(store, "a", "running", None, items=1)
    await retention.delete_rows(store)  # the id belongs to the new job now
    assert len((await JobReader(store).items("a", ItemQuery())).items) == 1


async def test_old_inbox_ids_are_deleted_and_the_file_shrinks(store: Store, tmp_path: Path) -> None:
    def fill(sql: sqlite3.Connection) -> None:
        old, young = (NOW - timedelta(days=15, seconds=1)).isoformat(), (NOW - timedelta(days=14)).isoformat()
        sql.executemany("INSERT INTO inbox VALUES (?,?)", [(f"{n:036d}", old) for n in range(20_000)])
        sql.executemany("INSERT INTO inbox VALUES (?,?)", [(f"y{n}", young) for n in range(5)])

    def pages() -> int:
        with closing(sqlite3.connect(tmp_path / "jobs.db")) as sql:
            return int(sql.execute("PRAGMA page_count").fetchone()[0])

    empty = pages()
    await store.write(fill)
    full = pages()
    await retention.upkeep(store, RETENTION, NOW, NOTIFIER)
    left = await store.read(lambda _r, sql: [row["id"] for row in sql.execute("SELECT id FROM inbox ORDER BY id")])
    assert left == [f"y{n}" for n in range(5)]
    assert full > empty + 200
    assert pages() < empty + 10


async def test_due_jobs_are_removed_at_a_start_and_by_a_cleanup_request(
    config: Config, broker: BusSettings, eventually: Eventually
) -> None:
    path = config.storage.jobs_dir / "jobs.db"
    now = datetime.now(UTC)

    async def at_rest(*job_ids: str) -> set[str]:
        store = Store(path, "test")
        for job_id in job_ids:
            await add(store, job_id, "completed", now - timedelta(days=31))
        found = (await JobReader(store).jobs(JobQuery())).jobs
        store.close()
        return {job.job_id for job in found}

    assert await at_rest("before") == {"before"}
    jobs = JobsService(config, broker)
    await jobs.startup()
    async with aiohttp.ClientSession() as http:

        async def clean(dry_run: bool) -> tuple[list[str], int, int]:
            url = f"{jobs.url}/api/v1/jobs/cleanup"
            async with http.post(url, json={"dry_run": dry_run}) as response:
                data = (await response.json())["data"]
            assert data["dry_run"] is dry_run
            return [job["job_id"] for job in data["jobs"]], data["total"], data["items"]

        async def gone() -> bool:
            return await jobs.parts.reader.find("before") is None

        await eventually(gone)
        await add(jobs.parts.store, "later", "completed", now - timedelta(days=31))
        assert await clean(True) == (["later"], 1, 2)
        assert await jobs.parts.reader.find("later") is not None
        assert await clean(False) == (["later"], 1, 2)
        assert await clean(False) == ([], 0, 0)
    await jobs.shutdown(5)


# --- jobs.db of the previous version --------------------------------------------------------------------------------

VERSION_1 = """
CREATE TABLE jobs (
  job_id TEXT PRIMARY KEY, status TEXT NOT NULL, type TEXT NOT NULL, created_at TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX jobs_by_time ON jobs (created_at);
CREATE TABLE listings (
  job_id TEXT NOT NULL, target_index INTEGER NOT NULL, state TEXT NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (job_id, target_index)) WITHOUT ROWID;
CREATE TABLE items (
  job_id TEXT NOT NULL, video_id TEXT NOT NULL, status TEXT NOT NULL, position INTEGER NOT NULL,
  retry_at TEXT, since TEXT NOT NULL, revision INTEGER NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (job_id, video_id)) WITHOUT ROWID;
CREATE TABLE fetches (video_id TEXT PRIMARY KEY, state TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks (egress TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE inbox (id TEXT PRIMARY KEY, at TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT NOT NULL, envelope BLOB NOT NULL);
INSERT INTO jobs VALUES ('a', 'running', 'video_download', '2026-11-22T12:00:00+00:00', '{"job_id":"a","trace_id":"t",
 "type":"video_download","options":{},"targets":["x"],"priority":0,"root":"/a","status":"running",
 "created_at":"2026-11-22T12:00:00Z","updated_at":"2026-11-22T12:00:00Z","total":1,"open":1}');
INSERT INTO items VALUES ('a', 'video000001', 'waiting', 0, NULL, '2026-11-22T12:00:00.000000+00:00', 1,
 '{"job_id":"a","video_id":"video000001","target_index":0,"position":0,"status":"waiting",
 "since":"2026-11-22T12:00:00Z","revision":1}');
PRAGMA user_version=1;
"""


async def test_a_database_of_the_previous_version_is_migrated_with_its_jobs(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with closing(sqlite3.connect(path)) as sql:
        sql.executescript(VERSION_1)
    read_only = Store(path, "cli", read_only=True)  # a read-only store does not migrate the file
    assert await JobReader(read_only).find("a") is not None
    assert await retention.due(read_only, RETENTION, NOW) == []
    read_only.close()
    for _start in range(2):
        store = Store(path, "jobs/1")
        assert [job.job_id for job in (await JobReader(store).jobs(JobQuery(status=JobStatus.RUNNING))).jobs] == ["a"]
        assert [item.video_id for item in (await JobReader(store).items("a", ItemQuery())).items] == ["video000001"]
        await add(store, "a", "cancelled", NOW - timedelta(days=8))
        assert (await retention.upkeep(store, RETENTION, NOW, NOTIFIER)).total == 1
        await add(store, "a", "running", None, items=0)
        item = ItemRow("a", "video000001", 0, 0, ItemStatus.WAITING, NOW)
        await store.change(partial(_add_item, item=item))
        store.close()
    with closing(sqlite3.connect(path)) as sql:
        assert sql.execute("PRAGMA user_version").fetchone() == (len(STEPS),)


def test_a_failed_migration_leaves_the_database_unchanged(tmp_path: Path) -> None:
    """Run the migrations in another process, as a start would; the next start continues from the kept version."""
    code = """
import sys, sqlite3
from pathlib import Path
from services.common.infra.sqlite import Database
path = Path(sys.argv[1])
Database(path, ["CREATE TABLE a (x);"]).close()
try:
    Database(path, ["", "CREATE TABLE b (x); CREATE TABLE a (x);"])
except sqlite3.OperationalError:
    pass
database = Database(path, ["", "CREATE TABLE b (x);"])
database.close()
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.db")], check=True, timeout=30)
    with closing(sqlite3.connect(tmp_path / "x.db")) as sql:
        assert sql.execute("PRAGMA user_version").fetchone() == (2,)


def _add_item(rows: SqlRows, _sql: sqlite3.Connection, _now: datetime, item: ItemRow) -> list[tuple[Event, str]]:
    rows.add(item)
    return []


def _execute(_rows: SqlRows, sql: sqlite3.Connection, _now: datetime, statement: str) -> list[tuple[Event, str]]:
    sql.execute(statement)
    return []
