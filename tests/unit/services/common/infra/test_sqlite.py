"""A SQLite file of ours: one writer, readers that do not wait for it."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common.infra.sqlite import Database

STEPS = ["CREATE TABLE IF NOT EXISTS numbers (n INTEGER)"]


def insert(n: int, sql: sqlite3.Connection) -> None:
    sql.execute("INSERT INTO numbers VALUES (?)", (n,))


def numbers(sql: sqlite3.Connection) -> list[int]:
    return [row["n"] for row in sql.execute("SELECT n FROM numbers ORDER BY n")]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "some.db", STEPS, readers=4)
    yield database
    database.close()


async def test_a_read_sees_what_was_committed(database: Database) -> None:
    for n in range(3):
        await database.run(lambda sql, n=n: insert(n, sql))  # type: ignore[misc]
        assert await database.read(numbers) == list(range(n + 1))


async def test_a_read_does_not_wait_for_a_write(database: Database) -> None:
    began, goes_on = threading.Event(), threading.Event()

    def write(sql: sqlite3.Connection) -> None:
        insert(1, sql)
        began.set()
        assert goes_on.wait(30)

    writing = asyncio.create_task(database.run(write))
    assert await asyncio.to_thread(began.wait, 30)
    try:
        assert await asyncio.wait_for(database.read(numbers), 10) == []
    finally:
        goes_on.set()
    await writing
    assert await database.read(numbers) == [1]


async def test_reads_run_at_the_same_time(database: Database) -> None:
    together = threading.Barrier(4, timeout=30)
    await asyncio.gather(*(database.read(lambda _sql: together.wait()) for _ in range(4)))


async def test_a_read_is_one_snapshot(database: Database) -> None:
    read_once, written = threading.Event(), threading.Event()

    def twice(sql: sqlite3.Connection) -> tuple[list[int], list[int]]:
        before = numbers(sql)
        read_once.set()
        assert written.wait(30)
        return before, numbers(sql)

    reading = asyncio.create_task(database.read(twice))
    assert await asyncio.to_thread(read_once.wait, 30)
    await database.run(lambda sql: insert(1, sql))
    written.set()
    assert await reading == ([], [])


async def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await database.read(lambda sql: insert(1, sql))
    assert await database.read(numbers) == []


async def test_a_file_that_is_open_for_reading_only(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    first = Database(path, STEPS)
    await first.run(lambda sql: insert(1, sql))
    first.close()
    again = Database(path, None, read_only=True)
    try:
        assert await again.read(numbers) == [1]
        assert await again.run(numbers) == [1]
    finally:
        again.close()
