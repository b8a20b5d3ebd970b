"""Reading jobs and items: pages by offset and by cursor, the summary of a job, and their cost in a large job."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from pydantic import ValidationError

from services.common.domain.jobs import ItemStatus
from services.common.errors import NotFound
from services.common.models import JobOptions, JobStatus, JobType
from services.jobs.adapters.job_reader import JobReader
from services.jobs.adapters.store import Store
from services.jobs.adapters.unit_of_work import SqlRows
from services.jobs.domain.rows import ItemRow, JobRow
from services.jobs.rest_models import ItemQuery

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LARGE = 3_000  # items
T = TypeVar("T")


class MeteredStore(Store):
    """Counts the steps of SQLite's virtual machine in reads, a measure of cost that no other process disturbs."""

    steps = 0

    async def read(self, work: Callable[[SqlRows, sqlite3.Connection], T]) -> T:
        def count() -> int:
            self.steps += 1
            return 0

        def metered(rows: SqlRows, sql: sqlite3.Connection) -> T:
            sql.set_progress_handler(count, 1)
            try:
                return work(rows, sql)
            finally:
                sql.set_progress_handler(None, 0)

        return await super().read(metered)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[MeteredStore]:
    store = MeteredStore(tmp_path / "jobs.db", "jobs/test")
    yield store
    store.close()


async def add(store: Store, job_id: str, *statuses: ItemStatus, retry_at: datetime | None = None) -> None:
    """Add a job with items of these statuses, in this order; each two have the same position. `retry_at`: of those
    that wait."""

    def work(sql: sqlite3.Connection) -> None:
        rows = SqlRows(sql)
        options, total = JobOptions(), len(statuses)
        rows.add(
            JobRow(
                job_id, "t", JobType.PLAYLIST_DOWNLOAD, options, ("x",), 0, "/a", JobStatus.RUNNING, NOW, NOW,
                total=total, open=total,
            )
        )  # fmt: skip
        for number, status in enumerate(statuses):
            waits_until = retry_at if status is ItemStatus.WAITING else None
            rows.add(ItemRow(job_id, f"video{number:06d}", 0, number // 2, status, NOW, retry_at=waits_until))
        rows.save()

    await store.write(work)


def videos(count: int, first: int = 0) -> list[str]:
    return [f"video{number:06d}" for number in range(first, first + count)]


@pytest.mark.parametrize("size", [0, 1, 4, 5, 6, 11])
async def test_pages_by_cursor_are_the_pages_by_offset(store: MeteredStore, size: int) -> None:
    await add(store, "j", *[ItemStatus.WAITING] * size)
    reader = JobReader(store)
    by_offset = [(await reader.items("j", ItemQuery(limit=5, offset=at))).items for at in range(0, size, 5)]
    by_cursor = []
    query = ItemQuery(limit=5)
    while True:
        page = await reader.items("j", query)
        assert page.total == size
        by_cursor.append(page.items)
        if page.next is None:
            break
        query = ItemQuery(limit=5, after=page.next)
    assert by_cursor == (by_offset or [[]])
    assert [item.video_id for items in by_cursor for item in items] == videos(size)


async def test_an_item_that_is_added_meanwhile_moves_no_page(store: MeteredStore) -> None:
    await add(store, "j", *[ItemStatus.WAITING] * 6)
    reader = JobReader(store)
    first = await reader.items("j", ItemQuery(limit=3))

    def insert(sql: sqlite3.Connection) -> None:
        rows = SqlRows(sql)
        rows.add(ItemRow("j", "a_new_one__", 0, 0, ItemStatus.WAITING, NOW))
        rows.save()

    await store.write(insert)
    second = await reader.items("j", ItemQuery(limit=3, after=first.next))
    assert [item.video_id for item in second.items] == videos(3, first=3)


@pytest.mark.parametrize("after", ["", "1", "x/video000001", "-1/video000001", "1/video000001/2", "1/a b", "9" * 16])
def test_a_cursor_of_another_form_is_refused(after: str) -> None:
    with pytest.raises(ValidationError):
        ItemQuery(after=after)


def test_a_page_begins_at_an_offset_or_after_a_cursor() -> None:
    with pytest.raises(ValidationError, match="not both"):
        ItemQuery(offset=1, after="1/video000001")


async def test_a_page_after_a_cursor_costs_the_same_anywhere_in_the_list(store: MeteredStore) -> None:
    await add(store, "j", *[ItemStatus.WAITING] * LARGE)
    reader = JobReader(store)

    async def cost(query: ItemQuery) -> int:
        before = store.steps
        assert len((await reader.items("j", query)).items) == 10
        return store.steps - before

    near = await cost(ItemQuery(limit=10, after="4/video000009"))
    far = await cost(ItemQuery(limit=10, after=f"{(LARGE - 12) // 2}/video{LARGE - 11:06d}"))
    assert far <= near + 10
    begin, end = await cost(ItemQuery(limit=10)), await cost(ItemQuery(limit=10, offset=LARGE - 10))
    assert end - begin <= 5 * LARGE  # an offset is counted in the index, without a look-up for each item


async def test_the_summary_of_a_small_job_has_all_its_videos_in_their_order(store: MeteredStore) -> None:
    await add(store, "j", *[ItemStatus.ARCHIVED] * 60, *[ItemStatus.FAILED] * 40)
    summary = await JobReader(store).summary("j")
    assert [item.video_id for item in summary.items] == videos(100)
    assert (summary.job.job_id, summary.left_out) == ("j", 0)


async def test_the_summary_of_a_large_job_has_the_videos_that_deserve_attention(store: MeteredStore) -> None:
    """Of each kind up to 50: those that run, wait for a time, or ended without being saved."""
    plain = [ItemStatus.ARCHIVED, ItemStatus.SKIPPED, ItemStatus.LISTED]
    shown = {
        ItemStatus.RUNNING: 2, ItemStatus.CLOSING: 1, ItemStatus.FAILED: 50, ItemStatus.UNAVAILABLE: 3,
        ItemStatus.WAITING: 4, ItemStatus.CANCELLED: 50,
    }  # fmt: skip
    extra = [ItemStatus.FAILED] * 10 + [ItemStatus.CANCELLED]
    statuses = [*plain, *[status for status, number in shown.items() for _ in range(number)], *extra]
    await add(store, "j", *statuses, retry_at=NOW + timedelta(hours=1))
    summary = await JobReader(store).summary("j")
    assert [item.status for item in summary.items] == [status for status, n in shown.items() for _ in range(n)]
    assert summary.left_out == len(plain) + len(extra)


async def test_videos_that_simply_wait_for_their_turn_are_left_out(store: MeteredStore) -> None:
    await add(store, "j", *[ItemStatus.WAITING] * 101)
    summary = await JobReader(store).summary("j")
    assert (summary.items, summary.left_out) == ([], 101)


async def test_the_cost_of_a_summary_does_not_depend_on_the_size_of_the_job(store: MeteredStore) -> None:
    reader = JobReader(store)
    costs = []
    for job_id, size in (("small", 300), ("large", LARGE)):
        kinds = (ItemStatus.ARCHIVED, ItemStatus.FAILED, ItemStatus.WAITING)
        await add(store, job_id, *[kinds[number % 3] for number in range(size)])
        before = store.steps
        assert (await reader.summary(job_id)).left_out == size - 50
        costs.append(store.steps - before)
    assert costs[1] <= costs[0] + 10


async def test_there_is_no_summary_of_an_unknown_job(store: MeteredStore) -> None:
    with pytest.raises(NotFound, match="no job"):
        await JobReader(store).summary("j")
