"""Daily copies of jobs.db, and its restoration from the newest intact one. All calls block: use a thread."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import structlog

from services.common.domain.clock import is_ahead
from services.common.errors import StateDamaged
from services.common.infra.files import sync_directory
from services.common.infra.sqlite import Database
from services.common.infra.sqlite_files import copy_database, find_damage, read_only, set_database_aside
from services.jobs.adapters.schema import STEPS

KEPT = 3
EVERY = timedelta(days=1)
ROW_CHECKS = tuple(
    f"SELECT count(*) FROM {table} WHERE NOT json_valid(body)"  # noqa: S608 - constants
    for table in ("jobs", "listings", "items", "fetches", "blocks")
)
_NAME = "jobs-%Y%m%dT%H%M%SZ.db"
_MARK = "restored "  # precedes the time of the copy where else the broker's store is named

_log = structlog.get_logger("services.jobs", service="jobs")


@dataclass(frozen=True)
class Copy:
    path: Path
    at: datetime


def copies(database: Path, now: datetime) -> list[Copy]:
    """Return the copies of a jobs.db, newest first; last those of a time that has not come yet, because the clock was
    wrong. Other files are ignored."""
    found = []
    for path in (database.parent / "backups").glob("jobs-*.db"):
        try:
            found.append(Copy(path, datetime.strptime(path.name, _NAME).replace(tzinfo=UTC)))
        except ValueError:
            continue
    return sorted(found, key=lambda copy: (not is_ahead(copy.at, now), copy.at), reverse=True)


def copy_if_due(database: Path, now: datetime) -> Path | None:
    """Copy jobs.db unless it has no jobs, or a copy is younger than a day. Remove the copies beyond the newest three.

    Raises StateDamaged, StorageFull, OSError.
    """
    known = copies(database, now)
    if (known and timedelta() <= now - known[0].at < EVERY) or not _has_jobs(database):
        return None
    folder = database.parent / "backups"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / now.astimezone(UTC).strftime(_NAME)
    copy_database(database, path)
    for old in copies(database, now)[KEPT:]:
        old.path.unlink(missing_ok=True)
    return path


def restore_if_damaged(database: Path, now: datetime) -> str | None:
    """Check jobs.db. Set a damaged one aside, and put its newest intact copy in its place, or else an empty one. Return
    what was wrong, None for an intact file.

    A missing file counts as damaged when there are copies, or when a start was killed that had set it aside. The new
    file is marked (`restored_at`) until the requests since the copy are found again.
    """
    known = copies(database, now)
    known_before = bool(known) or database.with_name(f"{database.name}.unreadable").exists()
    reason = _damage(database) if database.exists() else "it is missing" if known_before else None
    if reason is None:
        return None
    source = next((copy for copy in known if _damage(copy.path) is None), None)
    ready = database.with_name(f".{database.name}.{uuid4().hex[:8]}.new")
    try:
        if source is not None:
            copy_database(source.path, ready)
        dated = source is not None and not is_ahead(source.at, now)
        mark_restored(ready, source.at if source and dated else datetime.fromtimestamp(0, UTC))
        set_database_aside(database)
        ready.replace(database)
    finally:
        ready.unlink(missing_ok=True)
    sync_directory(database.parent)
    _log.error(
        "jobs_db_damaged",
        path=str(database),
        error_code=StateDamaged.code,
        error_message=reason,
        set_aside=f"{database}.unreadable",
        restored_from=str(source.path) if source else None,
        lost=f"changes since {source.at:%Y-%m-%d %H:%M} UTC" if source else "all jobs: there is no copy of the file",
        remedy="none needed: requests since then are repeated, and nothing that is archived is downloaded again",
    )
    return reason


def mark_restored(database: Path, at: datetime) -> None:
    """Mark a file that is not open anywhere as a copy of that time; it is created if there is none."""
    Database(database, STEPS, keep_old=False).close()  # a copy may be of an older version
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT OR REPLACE INTO broker VALUES (1, ?)", (f"{_MARK}{at.isoformat()}",))


def restored_at(connection: sqlite3.Connection) -> datetime | None:
    """Return the time of the copy that this file was restored from, until `note_broker_store`."""
    row = connection.execute("SELECT created FROM broker").fetchone()
    marked = row is not None and str(row[0]).startswith(_MARK)
    return datetime.fromisoformat(str(row[0]).removeprefix(_MARK)) if marked else None


def _damage(database: Path) -> str | None:
    return find_damage(database, ROW_CHECKS, newest=len(STEPS))


def _has_jobs(database: Path) -> bool:
    with closing(read_only(database)) as connection:
        return connection.execute("SELECT 1 FROM jobs LIMIT 1").fetchone() is not None
