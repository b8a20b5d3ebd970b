"""SQLite files as a whole: what damage is, checks, consistent copies, setting aside. All calls block: use a thread."""

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from pydantic import ValidationError

from services.common.errors import StateDamaged, StorageFull
from services.common.infra.files import sync_directory

T = TypeVar("T")
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_UNREADABLE_TEXTS = ("Could not decode to UTF-8", "malformed JSON", "user-defined function raised")  # have no code
_UNKNOWN = "of a version that is not recorded,"
_BESIDE = ("-wal", "-shm")


class UnreadableRow(sqlite3.DatabaseError):
    """A stored row does not have the content that we write."""


def parse_row(parse: Callable[[str], T], text: str) -> T:
    """Parse stored JSON. Raises UnreadableRow."""
    try:
        return parse(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UnreadableRow(f"a row is unreadable: {first['msg']}") from error


def damage_in(error: sqlite3.Error) -> str | None:
    """Return the reason when the error means that the file is damaged, else None."""
    code = getattr(error, "sqlite_errorcode", None)
    damaged = isinstance(error, UnreadableRow) or (code is not None and code & 0xFF in _DAMAGE)
    return str(error) if damaged or str(error).startswith(_UNREADABLE_TEXTS) else None


def find_damage(path: Path, row_checks: Sequence[str] = (), *, newest: int | None = None) -> str | None:
    """Check a whole file (`PRAGMA quick_check`). Return the first damage, None for an intact file.

    `row_checks` are queries for the number of rows that are not intact, for files up to the version `newest`. Raises
    FileNotFoundError, and sqlite3.Error when the file cannot be read for another reason.
    """
    if path.stat().st_size == 0:  # SQLite discards the log of transactions of such a file
        return "it is empty"
    try:
        _roll_back(path)
        with closing(read_only(path)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                return str(found)
            schema = schema_version(connection)
            for query in row_checks if schema and (newest is None or schema <= newest) else ():
                if (rows := connection.execute(query).fetchone()[0]) > 0:
                    return f"{rows} unreadable rows"
    except sqlite3.DatabaseError as error:
        if (reason := damage_in(error)) is None:
            raise
        return reason
    return None


def _roll_back(path: Path) -> None:
    """Undo a transaction that a power cut interrupted while the file was new, before its write-ahead log. Readers
    cannot."""
    if path.with_name(f"{path.name}-journal").exists() and os.access(path, os.W_OK):
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()


def copy_database(source: Path, target: Path) -> None:
    """Write a consistent copy of a database that others may be writing to; `target`, mode 0600, is replaced atomically.

    Raises StateDamaged when the source is damaged, StorageFull, OSError.
    """
    sibling = target.with_name(f".{target.name}.{uuid4().hex[:8]}.new")
    os.close(os.open(sibling, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(read_only(source)) as connection:
            connection.execute("VACUUM INTO ?", (str(sibling),))
        _sync(sibling)
        sibling.replace(target)
    except sqlite3.DatabaseError as error:
        if (reason := damage_in(error)) is not None:
            raise StateDamaged(f"{source} is damaged ({reason}): it is not copied.", path=str(source)) from error
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise StorageFull(f"no space for a copy of {source} in {target.parent}: free some") from error
        raise
    finally:
        sibling.unlink(missing_ok=True)
    sync_directory(target.parent)


def set_database_aside(path: Path) -> None:
    """Rename a damaged database, with its log of transactions, to `.unreadable`, in place of an earlier one."""
    for ending in ("", *_BESIDE):
        aside = path.with_name(f"{path.name}.unreadable{ending}")
        aside.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            path.with_name(f"{path.name}{ending}").replace(aside)


def schema_version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def note_writer(connection: sqlite3.Connection) -> None:
    """Store which version of ytarchive reads this schema, for older ones that are started later."""
    found = schema_version(connection)
    if writer_of(connection, found) == _UNKNOWN:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS written_by (schema INTEGER PRIMARY KEY, ytarchive TEXT NOT NULL)"
        )
        connection.execute("INSERT OR IGNORE INTO written_by VALUES (?, ?)", (found, version("ytarchive")))
        connection.execute("COMMIT")


def writer_of(connection: sqlite3.Connection, schema: int) -> str:
    """Return the version of ytarchive that wrote files of this schema first."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'written_by'").fetchone():
        return _UNKNOWN
    row = connection.execute("SELECT ytarchive FROM written_by WHERE schema = ?", (schema,)).fetchone()
    return str(row[0]) if row else _UNKNOWN


def read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30, isolation_level=None)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
