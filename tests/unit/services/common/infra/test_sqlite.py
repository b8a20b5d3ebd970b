"""Databases: migrations, read connections, a full disk."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.common.errors import ServiceUnavailable, StorageFull
from services.common.infra.sqlite import Database

STEPS = ("CREATE TABLE a (x);", "CREATE TABLE b (x); INSERT INTO b SELECT x FROM a;")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "test.db", STEPS)
    yield database
    database.close()


async def count(database: Database, table: str) -> int:
    return int(await database.read(lambda db: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]))  # noqa: S608 - a constant of this file


async def test_each_migration_runs_once(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    old = Database(path, STEPS[:1])
    await old.run(lambda db: db.execute("INSERT INTO a VALUES (1)"))
    old.close()
    for _ in range(2):
        new = Database(path, STEPS)
        assert (await count(new, "a"), await count(new, "b")) == (1, 1)
        new.close()
    with pytest.raises(ServiceUnavailable, match="newer version"):
        Database(path, STEPS[:1])


async def test_a_failed_migration_is_rolled_back(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    with pytest.raises(sqlite3.OperationalError):
        Database(path, (STEPS[0], "CREATE TABLE b (x); CREATE TABLE a (x);"))
    again = Database(path, STEPS)
    assert await count(again, "b") == 0
    again.close()


async def test_a_reader_does_not_wait_for_a_writer(database: Database) -> None:
    await database.run(lambda db: db.execute("INSERT INTO a VALUES (1)"))
    begun, finish = threading.Event(), threading.Event()

    def write(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO a VALUES (2)")
        begun.set()
        assert finish.wait(60)

    writing = asyncio.create_task(database.run(write))
    try:
        assert await asyncio.to_thread(begun.wait, 60)
        assert await asyncio.wait_for(count(database, "a"), 30) == 1  # sees the committed rows only
    finally:
        finish.set()
    await writing
    assert await count(database, "a") == 2


async def test_readers_run_in_parallel_and_cannot_write(database: Database) -> None:
    together = threading.Barrier(3, timeout=60)
    await asyncio.gather(*(database.read(lambda _db: together.wait()) for _ in range(3)))
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await database.read(lambda db: db.execute("INSERT INTO a VALUES (1)"))
    assert await count(database, "a") == 0


async def test_a_read_connection_stays_usable_after_an_error(database: Database) -> None:
    for _ in range(10):
        with pytest.raises(ZeroDivisionError):
            await database.read(lambda _db: 1 // 0)
    assert await count(database, "a") == 0


async def test_a_read_only_database_is_not_migrated(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    Database(path, STEPS[:1]).close()
    reader = Database(path, None, read_only=True)
    assert await count(reader, "a") == 0
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await count(reader, "b")
    reader.close()


@pytest.mark.parametrize("waits", [False, True])
async def test_a_write_on_a_full_disk_fails_or_waits_as_configured(tmp_path: Path, waits: bool) -> None:
    limit, pauses = [20], 0
    reported: list[Exception] = []

    async def pause() -> None:
        nonlocal pauses
        pauses += 1
        limit[0] += 1000

    database = Database(
        tmp_path / "test.db", STEPS, pause_while_full=pause if waits else None, report_full=reported.append
    )

    def write(db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA max_page_count={limit[0]}")
        db.executemany("INSERT INTO a VALUES (?)", [("x" * 1000,)] * 200)

    try:
        if waits:
            await database.run(write)
            assert (pauses, [type(error) for error in reported]) == (1, [StorageFull])
        else:
            with pytest.raises(StorageFull):
                await database.run(write)
        assert await count(database, "a") == (200 if waits else 0)
    finally:
        database.close()


async def test_a_read_is_a_consistent_snapshot(database: Database) -> None:
    read_once, written = threading.Event(), threading.Event()

    def twice(db: sqlite3.Connection) -> list[int]:
        query = "SELECT count(*) FROM a"
        before = db.execute(query).fetchone()[0]
        read_once.set()
        assert written.wait(30)
        return [before, db.execute(query).fetchone()[0]]

    reading = asyncio.create_task(database.read(twice))
    assert await asyncio.to_thread(read_once.wait, 30)
    await database.run(lambda db: db.execute("INSERT INTO a VALUES (1)"))
    written.set()
    assert await reading == [0, 0]


async def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await database.read(lambda db: db.execute("INSERT INTO a VALUES (1)"))
    assert await count(database, "a") == 0
