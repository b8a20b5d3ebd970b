"""Databases: migrations, read connections, a full disk."""

import asyncio
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest

from services.common.errors import ServiceUnavailable, StateDamaged, StorageFull
from services.common.infra.sqlite import Database
from services.common.infra.sqlite_files import find_damage
from tests.fixtures.damage import WAYS, empty

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
    with pytest.raises(
        ServiceUnavailable, match=rf"newer version.*install ytarchive {re.escape(version('ytarchive'))}"
    ):
        Database(path, STEPS[:1])


async def test_a_file_is_copied_before_it_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    old = Database(path, STEPS[:1])
    await old.run(lambda db: db.execute("INSERT INTO a VALUES (7)"))
    old.close()
    Database(path, STEPS).close()
    copy = tmp_path / "test.db.v1"
    assert copy.stat().st_mode & 0o777 == 0o600
    before = Database(copy, STEPS[:1])  # the older code reads it
    assert await count(before, "a") == 1
    before.close()
    copy.unlink()
    Database(path, STEPS).close()
    assert not copy.exists()  # nothing to migrate


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


# --- damage -----------------------------------------------------------------------------------------------------------


async def filled(path: Path) -> Database:
    database = Database(path, STEPS, on_recreated=lambda _reason: None)
    await database.run(lambda db: db.executemany("INSERT INTO a VALUES (?)", [("x" * 3000,)] * 100))
    return database


@pytest.mark.parametrize("damage", WAYS)
async def test_a_damaged_file_is_named_with_its_remedy(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "test.db"
    (await filled(path)).close()
    assert find_damage(path) is None
    path.write_bytes(damage(path.read_bytes()))
    assert find_damage(path)
    with (
        pytest.raises(StateDamaged, match=rf"{path} is damaged .*\. Do this\."),  # at the latest when it is read
        closing(Database(path, STEPS, read_only=True, remedy="Do this.")) as database,
    ):
        await count(database, "a")


_ABANDON_A_TRANSACTION = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size=1")
db.execute("BEGIN")
db.execute("UPDATE a SET x = zeroblob(5000)")
db.execute("INSERT INTO a SELECT zeroblob(9000) FROM a, a")
os._exit(0)
"""


def test_a_transaction_that_was_cut_off_before_the_write_ahead_log_is_rolled_back(tmp_path: Path) -> None:
    """A new file has a rollback journal until its first steps have run. Only a writer may use what a power cut left."""
    path = tmp_path / "test.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE a (x)")
        connection.executemany("INSERT INTO a VALUES (?)", [(b"x" * 2000,) for _ in range(50)])
        connection.commit()
    subprocess.run([sys.executable, "-c", _ABANDON_A_TRANSACTION, str(path)], check=True)
    assert path.with_name("test.db-journal").stat().st_size > 0
    assert find_damage(path) is None
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*), max(length(x)) FROM a").fetchone() == (50, 2000)


@pytest.mark.parametrize("damage", [way for way in WAYS if way is not empty])  # an empty file is a new one
@pytest.mark.parametrize("by", ["open", "read", "write", "check"])
async def test_a_derived_file_is_set_aside_and_created_again(
    tmp_path: Path, damage: Callable[[bytes], bytes], by: str
) -> None:
    path, told = tmp_path / "test.db", list[str]()
    if by == "open":
        (await filled(path)).close()
        damaged = damage(path.read_bytes())
        path.write_bytes(damaged)
        database = Database(path, STEPS, on_recreated=told.append)
        await database.check()  # the part that was read may have been intact
    else:
        (await filled(path)).close()  # the log of transactions is folded in
        database = Database(path, STEPS, on_recreated=told.append)
        damaged = damage(path.read_bytes())
        path.write_bytes(damaged)
        if by == "check":
            await database.check()
        elif by == "read":
            await asyncio.gather(*(count(database, "a") for _ in range(8)))
        else:
            await database.run(lambda db: db.execute("DELETE FROM a"))
    try:
        assert len(told) == 1
        assert await count(database, "a") == 0
        await database.run(lambda db: db.execute("INSERT INTO a VALUES (1)"))
        assert await count(database, "a") == 1
        assert (tmp_path / "test.db.unreadable").read_bytes()[-500:] == damaged[-500:]
    finally:
        database.close()
    assert find_damage(path) is None


async def test_a_file_is_created_again_under_readers(tmp_path: Path) -> None:
    """An emptied file looks like a new database, whose log SQLite discards: by its name, which the new file has too."""
    for number in range(8):
        path, told, stop = tmp_path / f"{number}.db", list[str](), asyncio.Event()
        (await filled(path)).close()
        database = Database(path, STEPS, on_recreated=told.append)

        async def read_on(database: Database, stop: asyncio.Event) -> None:
            while not stop.is_set():
                await count(database, "a")

        readers = [asyncio.create_task(read_on(database, stop)) for _ in range(6)]
        await count(database, "a")
        path.write_bytes(b"")
        await database.check()  # what readers have in memory is intact
        assert len(told) == 1
        for row in range(10):
            await database.run(partial(_insert, row=row))
        assert await count(database, "a") == 10
        stop.set()
        await asyncio.gather(*readers)
        database.close()
        assert find_damage(path) is None


def _insert(db: sqlite3.Connection, row: int) -> None:
    db.execute("INSERT INTO a VALUES (?)", (row,))
