"""Copies of jobs.db, and the restoration from them."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.common.infra.sqlite import Database
from services.jobs.adapters import backups
from services.jobs.adapters.schema import STEPS
from tests.fixtures.damage import WAYS

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
LATER = NOW + 9 * DAY
YEARS = 3650 * DAY


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A jobs.db with a job and enough items that every part of the file is in use."""
    path = tmp_path / "jobs" / "jobs.db"
    Database(path, STEPS).close()
    add(path, "a")
    return path


def add(path: Path, job_id: str) -> None:
    with closing(sqlite3.connect(path)) as sql, sql:
        sql.execute("INSERT INTO jobs VALUES (?, 'running', 't', 'x', '{}', 0)", (job_id,))
        for n in range(500):
            sql.execute("INSERT INTO items VALUES (?, ?, 'waiting', ?, NULL, 'x', 0, '{}')", (job_id, f"v{n}", n))


def jobs(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as sql:
        return [row[0] for row in sql.execute("SELECT job_id FROM jobs ORDER BY job_id")]


def test_a_copy_each_day_and_three_are_kept(database: Path) -> None:
    assert [backups.copy_if_due(database, NOW + n * DAY / 2) is not None for n in range(9)] == [True, False] * 4 + [
        True
    ]
    assert [copy.at for copy in backups.copies(database, LATER)] == [
        NOW + 4 * DAY,
        NOW + 3 * DAY,
        NOW + 2 * DAY,
    ]
    assert jobs(backups.copies(database, LATER)[0].path) == ["a"]
    assert [path.name for path in database.parent.iterdir() if path.name.startswith(".")] == []


def test_without_jobs_nothing_is_copied(tmp_path: Path) -> None:
    Database(tmp_path / "jobs.db", STEPS).close()
    assert backups.copy_if_due(tmp_path / "jobs.db", NOW) is None


def test_an_intact_file_stays(database: Path) -> None:
    before = database.read_bytes()
    assert backups.restore_if_damaged(database, LATER) is None
    assert database.read_bytes() == before


@pytest.mark.parametrize("damage", WAYS)
@pytest.mark.parametrize("newest", ["intact", "damaged", "none"])
def test_a_damaged_file_is_replaced_by_its_newest_intact_copy(
    database: Path, damage: Callable[[bytes], bytes], newest: str
) -> None:
    if newest != "none":
        backups.copy_if_due(database, NOW)
        add(database, "b")
        copy = backups.copy_if_due(database, NOW + DAY)
        assert copy is not None
        if newest == "damaged":
            copy.write_bytes(damage(copy.read_bytes()))
    damaged = damage(database.read_bytes())
    database.write_bytes(damaged)
    assert backups.restore_if_damaged(database, LATER)
    assert jobs(database) == {"intact": ["a", "b"], "damaged": ["a"], "none": []}[newest]
    assert database.with_name("jobs.db.unreadable").read_bytes() == damaged
    since = {"intact": NOW + DAY, "damaged": NOW, "none": datetime.fromtimestamp(0, UTC)}[newest]
    with closing(sqlite3.connect(database)) as sql:
        assert backups.restored_at(sql) == since
    assert backups.restore_if_damaged(database, LATER) is None


def test_unreadable_rows_are_damage_although_the_file_is_a_database(database: Path) -> None:
    with closing(sqlite3.connect(database)) as sql, sql:
        sql.execute("""UPDATE items SET body = '{"job' WHERE position < 3""")
    assert backups.restore_if_damaged(database, LATER) == "3 unreadable rows"


def test_a_file_of_a_newer_version_is_not_damaged(database: Path) -> None:
    Database(database, (*STEPS, "DROP TABLE blocks; UPDATE items SET body = 'another format';")).close()
    assert backups.restore_if_damaged(database, LATER) is None


def test_a_start_that_was_killed_before_the_copy_was_in_place_is_repeated(database: Path) -> None:
    backups.copy_if_due(database, NOW)
    database.rename(database.with_name("jobs.db.unreadable"))
    assert backups.restore_if_damaged(database, LATER) == "it is missing"
    assert jobs(database) == ["a"]


def test_a_copy_of_an_older_version_is_migrated(database: Path) -> None:
    database.unlink()
    Database(database, STEPS[:1]).close()
    with closing(sqlite3.connect(database)) as sql, sql:
        sql.execute("INSERT INTO jobs VALUES ('old', 'running', 't', 'x', '{}')")
    backups.copy_if_due(database, NOW)
    database.write_bytes(b"")
    assert backups.restore_if_damaged(database, LATER) == "it is empty"
    assert jobs(database) == ["old"]
    assert list(database.parent.glob("*.v*")) + list(database.parent.glob(".*")) == []


def test_copies_of_a_clock_that_was_ahead_are_older_than_all_others(database: Path) -> None:
    for n in range(3):
        assert backups.copy_if_due(database, NOW + YEARS + n * DAY) is not None
    add(database, "b")
    right = backups.copy_if_due(database, NOW)
    assert right is not None
    assert backups.copies(database, NOW)[0].path == right
    assert backups.copy_if_due(database, NOW + DAY / 2) is None
    database.write_bytes(b"")
    assert backups.restore_if_damaged(database, NOW + DAY / 2) is not None
    assert jobs(database) == ["a", "b"]
    with closing(sqlite3.connect(database)) as sql:
        assert backups.restored_at(sql) == NOW


def test_after_the_restoration_of_a_copy_with_a_wrong_time_all_requests_are_found_again(database: Path) -> None:
    backups.copy_if_due(database, NOW + YEARS)
    database.write_bytes(b"")
    assert backups.restore_if_damaged(database, NOW) is not None
    with closing(sqlite3.connect(database)) as sql:
        assert backups.restored_at(sql) == datetime.fromtimestamp(0, UTC)
