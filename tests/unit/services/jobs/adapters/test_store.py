"""jobs.db: results and query plans of the dispatcher's queries; reads during a write."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.common.domain.jobs import ItemStatus
from services.common.domain.videos import Target, TargetKind
from services.common.events import JobPauseRequested
from services.common.infra.sqlite import Database
from services.common.models import JobOptions, JobStatus, JobType
from services.jobs.adapters import queries
from services.jobs.adapters.schema import SCHEMA, STEPS
from services.jobs.adapters.store import Store
from services.jobs.adapters.unit_of_work import LISTING, SqlRows, as_json
from services.jobs.domain.accounting import Out
from services.jobs.domain.rows import FetchRow, FetchState, ItemRow, JobRow, ListingRow, ListingState, Streak
from services.jobs.domain.scheduler import Block

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER, BLOCKED = NOW + timedelta(minutes=5), NOW + timedelta(minutes=9)


@pytest.fixture
def sql() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.executescript(SCHEMA)
        yield connection


def fill(sql: sqlite3.Connection, *items: tuple[ItemStatus, datetime | None]) -> JobRow:
    """Insert a job with these items (status, retry_at) in the order of their positions."""
    rows = SqlRows(sql)
    job = JobRow(
        "j", "t", JobType.PLAYLIST_DOWNLOAD, JobOptions(), ("x",), 0, "/archive", JobStatus.RUNNING, NOW, NOW,
        total=len(items), open=sum(status.open for status, _retry_at in items),
    )  # fmt: skip
    rows.add(job)
    for position, (status, retry_at) in enumerate(items):
        video = f"video{position:06d}"
        rows.add(ItemRow("j", video, 0, position, status, NOW, retry_at=retry_at))
        state = FetchState.CLAIMED if status is ItemStatus.RUNNING else FetchState.IDLE
        rows.add(FetchRow(video, f"f{position}", state, NOW))
    rows.save()
    return job


WAITING, RUNNING, LISTED = ItemStatus.WAITING, ItemStatus.RUNNING, ItemStatus.LISTED


def test_a_paused_job_is_not_a_candidate(sql: sqlite3.Connection) -> None:
    """Otherwise it would be chosen at every turn and starve the jobs after it."""
    fill(sql, (WAITING, None))
    rows = SqlRows(sql)
    assert [one.job_id for one in queries.candidates(rows, sql, {"j": 0}, NOW)] == ["j"]
    job = rows.job("j")
    assert job is not None
    job.paused = True
    assert queries.candidates(rows, sql, {"j": 0}, NOW) == []


@pytest.mark.parametrize(
    ("items", "ready"),
    [
        ([], None),
        ([(LISTED, None)], None),
        ([(RUNNING, None), (WAITING, None), (WAITING, None)], 1),
        ([(WAITING, LATER)], None),
        ([(WAITING, LATER), (WAITING, None)], 1),
        ([(WAITING, NOW), (WAITING, None)], 0),
        ([(WAITING, None), (WAITING, NOW)], 0),
        ([(WAITING, NOW), (WAITING, NOW - timedelta(minutes=1))], 1),
    ],
)
def test_the_next_ready_video_depends_on_status_retry_time_and_position(
    sql: sqlite3.Connection, items: list[tuple[ItemStatus, datetime | None]], ready: int | None
) -> None:
    fill(sql, *items)
    expected = None if ready is None else queries.ReadyVideo(False, ready, f"video{ready:06d}")
    assert queries.ready_video(sql, "j", NOW) == expected


def test_refused_videos_come_after_videos_that_were_not_tried_yet(sql: sqlite3.Connection) -> None:
    """Otherwise the first video of a playlist would be the probe after every block."""
    fill(sql, (WAITING, NOW), (WAITING, None))
    rows = SqlRows(sql)
    refused = rows.item("j", "video000000")
    assert refused is not None
    refused.refused = 1
    rows.save()
    assert queries.ready_video(sql, "j", NOW) == queries.ReadyVideo(False, 1, "video000001")
    other = rows.item("j", "video000001")
    assert other is not None
    other.status = RUNNING
    rows.save()
    assert queries.ready_video(sql, "j", NOW) == queries.ReadyVideo(True, 0, "video000000")
    assert [one.refused for one in queries.candidates(rows, sql, {"j": 0}, NOW)] == [True]


def test_served_since_is_true_if_a_dispatch_begun_since_was_archived(sql: sqlite3.Connection) -> None:
    fill(sql, (WAITING, None), (ItemStatus.ARCHIVED, None))
    rows = SqlRows(sql)
    before = NOW - timedelta(seconds=1)
    assert not rows.served_since(before), "archived without a dispatch: its metadata came from the Data API"
    item = rows.item("j", "video000001")
    assert item is not None
    item.begun = before
    assert not rows.served_since(before), "its dispatch began earlier"
    item.begun = NOW
    assert rows.served_since(before)
    assert not rows.served_since(NOW)


@pytest.mark.parametrize(
    ("items", "blocked", "expected"),
    [
        ([], None, (0, None)),
        ([(WAITING, None)], None, (0, None)),
        ([(WAITING, NOW)], None, (0, None)),
        ([(WAITING, LATER), (WAITING, BLOCKED), (WAITING, None)], None, (0, LATER)),
        ([(WAITING, LATER), (WAITING, BLOCKED), (WAITING, NOW)], None, (0, LATER)),
        ([(WAITING, LATER), (RUNNING, None)], None, (0, LATER)),
        ([(WAITING, BLOCKED), (WAITING, LATER), (ItemStatus.ARCHIVED, None)], None, (2, LATER)),
        ([], BLOCKED, (0, None)),
        ([(WAITING, None), (WAITING, LATER)], BLOCKED, (2, BLOCKED)),
        ([(WAITING, BLOCKED + timedelta(1))], BLOCKED, (1, BLOCKED + timedelta(1))),
        ([(WAITING, None), (RUNNING, None)], BLOCKED, (0, BLOCKED)),
    ],
)
def test_timers_count_waiting_items_and_the_earliest_retry_time(
    sql: sqlite3.Connection,
    items: list[tuple[ItemStatus, datetime | None]],
    blocked: datetime | None,
    expected: tuple[int, datetime | None],
) -> None:
    assert queries.timers(sql, fill(sql, *items), NOW, blocked) == expected


def test_unanswered_items_are_sorted_by_the_longest_wait(sql: sqlite3.Connection) -> None:
    fill(sql, (LISTED, None), (WAITING, None), (LISTED, None), (LISTED, None))
    rows = SqlRows(sql)
    for position, minutes in ((0, 1), (2, 3), (3, -1)):
        item = rows.item("j", f"video{position:06d}")
        assert item is not None
        item.since = NOW - timedelta(minutes=minutes)
    rows.save()
    found = [item.position for item in queries.unanswered_items(SqlRows(sql), sql, NOW)]
    assert found == [2, 0]


QUERIES: dict[str, Callable[[SqlRows, sqlite3.Connection, JobRow], object]] = {
    "open jobs": lambda _rows, sql, _job: queries.open_jobs(sql),
    "busy fetches": lambda _rows, sql, _job: queries.busy_fetches(sql),
    "ready video": lambda _rows, sql, _job: queries.ready_video(sql, "j", NOW),
    "candidates": lambda rows, sql, _job: queries.candidates(rows, sql, {"j": 0}, NOW),
    "open listings": lambda rows, sql, _job: queries.open_listings(rows, sql),
    "open listing": lambda rows, sql, _job: queries.open_listing(rows, sql, "j", 1),
    "unanswered": lambda rows, sql, _job: queries.unanswered_items(rows, sql, NOW),
    "timers": lambda _rows, sql, job: queries.timers(sql, job, NOW, None),
    "timers, blocked": lambda _rows, sql, job: queries.timers(sql, job, NOW, BLOCKED),
    "waiters": lambda rows, _sql, _job: rows.waiters("video000000"),
    "open items": lambda rows, _sql, _job: rows.open_items("j", 1),
}


@pytest.mark.parametrize("name", QUERIES)
def test_no_query_of_the_scheduler_scans_a_table(sql: sqlite3.Connection, name: str) -> None:
    """Every query uses an index; a scan of the small index of the busy fetches is allowed."""
    job = fill(sql, (WAITING, None), (WAITING, LATER), (RUNNING, None), (LISTED, None))
    executed: list[str] = []
    sql.set_trace_callback(executed.append)
    QUERIES[name](SqlRows(sql), sql, job)
    sql.set_trace_callback(None)
    selects = [query for query in executed if query.lstrip().startswith("SELECT")]
    assert selects
    for query in selects:
        for row in sql.execute(f"EXPLAIN QUERY PLAN {query}"):
            step = row["detail"]
            assert "TEMP B-TREE" not in step, (query, step)
            assert not step.startswith("SCAN") or "fetches_busy" in step, (query, step)


def steps(sql: sqlite3.Connection, work: Callable[[], object]) -> int:
    """Return the steps of SQLite's virtual machine in `work`, a measure of cost that no other process disturbs."""
    taken = 0

    def step() -> int:
        nonlocal taken
        taken += 1
        return 0

    sql.set_progress_handler(step, 1)
    work()
    sql.set_progress_handler(None, 0)
    return taken


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("filler", [(WAITING, None), (WAITING, LATER), (ItemStatus.ARCHIVED, None)])
def test_the_cost_of_a_query_of_the_scheduler_does_not_depend_on_the_size_of_a_job(
    sql: sqlite3.Connection, name: str, filler: tuple[ItemStatus, datetime | None]
) -> None:
    costs = []
    for size in (20, 600):
        sql.executescript("DELETE FROM items; DELETE FROM fetches; DELETE FROM jobs; DELETE FROM listings")
        job = fill(sql, *[filler] * size)
        rows = SqlRows(sql)
        target = Target(kind=TargetKind.PLAYLIST, id="PLx")
        for index in range(size):
            state = ListingState.LISTED if index else ListingState.QUEUED
            rows.add(ListingRow("j", index, target, index + 1, state, NOW))
        rows.save()
        costs.append(steps(sql, lambda job=job: QUERIES[name](SqlRows(sql), sql, job)))  # type: ignore[misc]  # a lambda with a default
    assert costs[1] <= costs[0] + 10


async def test_a_claim_finds_its_listing_in_a_database_of_the_previous_version(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    Database(path, STEPS[:4]).close()
    target = Target(kind=TargetKind.PLAYLIST, id="PLx")
    listing = ListingRow("j", 3, target, 7, ListingState.QUEUED, NOW)
    with closing(sqlite3.connect(path)) as old:
        old.execute("INSERT INTO listings VALUES ('j', 3, 'queued', ?)", (as_json(LISTING, listing),))
        old.commit()
    store = Store(path, "jobs/test")
    try:
        found = await store.read(lambda rows, sql: [queries.open_listing(rows, sql, "j", n) for n in (7, 3)])
        assert found == [listing, None]
    finally:
        store.close()


def test_the_cost_of_cancelling_does_not_depend_on_already_cancelled_items(sql: sqlite3.Connection) -> None:
    def cost(ended: int) -> int:
        sql.executescript("DELETE FROM items; DELETE FROM fetches; DELETE FROM jobs")
        fill(sql, *[(ItemStatus.CANCELLED, None)] * ended, (WAITING, None), (LISTED, None))
        rows = SqlRows(sql)
        return steps(sql, lambda: rows.open_items("j", 5))

    assert cost(400) < 2 * cost(1)


async def test_a_read_does_not_wait_for_a_transaction_and_cannot_write(tmp_path: Path) -> None:
    store = Store(tmp_path / "jobs.db", "jobs/test")
    began, proceed = threading.Event(), threading.Event()

    def slow(_sql: sqlite3.Connection) -> None:
        began.set()
        assert proceed.wait(30)

    writing = asyncio.create_task(store.write(slow))
    try:
        assert await asyncio.to_thread(began.wait, 30)
        async with asyncio.timeout(10):
            assert await store.read(lambda rows, _sql: rows.job("none")) is None
            assert await store.pending() == []
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await store.read(lambda _rows, sql: sql.execute("DELETE FROM items"))
    finally:
        proceed.set()
        await writing
        store.close()


def test_streaks_and_blocks_are_stored_per_egress(sql: sqlite3.Connection) -> None:
    rows = SqlRows(sql)
    assert (rows.block("a"), rows.streak("a")) == (None, None)
    block = Block(LATER, "same_failure", message="why", about="words", canaries=("video000000",))
    streak = Streak("words", NOW, (("j", "video000001"),))
    rows.set_block("a", block)
    rows.set_streak("a", streak)
    rows.set_streak("b", streak)
    again = SqlRows(sql)
    assert (again.block("a"), again.streak("a"), again.block("b")) == (block, streak, None)
    again.set_streak("a", None)
    assert (again.streak("a"), again.streak("b")) == (None, streak)


def test_what_was_archived_last_is_found_by_an_index(sql: sqlite3.Connection) -> None:
    executed: list[str] = []
    sql.set_trace_callback(executed.append)
    rows = SqlRows(sql)
    rows.canary(("video000000",))
    rows.served_since(NOW)
    sql.set_trace_callback(None)
    queries = [query for query in executed if query.startswith("SELECT")]
    assert len(queries) == 2
    for query in queries:
        (step,) = [row["detail"] for row in sql.execute(f"EXPLAIN QUERY PLAN {query}")]
        assert "items_archived" in step, (query, step)


def test_the_canary_is_the_video_that_was_archived_last(sql: sqlite3.Connection) -> None:
    fill(sql, (ItemStatus.ARCHIVED, None), (ItemStatus.ARCHIVED, None), (WAITING, None))
    rows = SqlRows(sql)
    late = rows.item("j", "video000001")
    assert late is not None
    late.since = LATER
    assert rows.canary(()) == "video000001"
    assert rows.canary(("video000001",)) == "video000000"
    assert rows.canary(("video000000", "video000001")) is None


async def test_a_published_event_is_not_read_again_and_leaves_the_outbox_with_the_next_transaction(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "jobs.db", "jobs/test")

    def queue(*job_ids: str) -> Callable[[SqlRows, sqlite3.Connection, datetime], list[Out]]:
        return lambda _rows, _sql, _now: [(JobPauseRequested(job_id=job_id), "t") for job_id in job_ids]

    async def stored() -> int:
        count = "SELECT count(*) n FROM outbox"
        return await store.read(lambda _rows, sql: int(sql.execute(count).fetchone()["n"]))

    try:
        await store.change(queue("a", "b", "c"))
        pending = await store.pending()
        store.published(pending[1])
        assert [row.envelope.data["job_id"] for row in await store.pending()] == ["c"]
        assert await stored() == 3
        await store.change(queue("d"))
        assert await stored() == 2
        store.published((await store.pending())[-1])
        await store.remove_published()
        assert (await store.pending(), await stored()) == ([], 0)
        await store.change(queue("e"))
        assert [row.envelope.data["job_id"] for row in await store.pending()] == ["e"]
    finally:
        store.close()
