"""An SQLite file: WAL, synchronous=FULL, numbered migrations, one writer thread and a pool of reader threads."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from services.common.errors import ServiceUnavailable, StorageFull
from services.common.infra.disk_full import report_waiting, retry_while_full
from services.common.infra.private_files import create_private

T = TypeVar("T")
Functions = Callable[[sqlite3.Connection], None]

_BUSY_TIMEOUT = 30.0  # seconds that a connection waits for the lock of another process


class Database:
    """Takes functions of a connection, runs each as one transaction and returns its result.

    `run` writes: its transactions run one after the other, on one thread. `read` has connections of its own: a reader
    sees the last committed state and waits neither for a writer nor for other readers (up to `readers` at once).
    """

    def __init__(
        self,
        path: Path,
        steps: Sequence[str] | None,
        *,
        read_only: bool = False,
        functions: Functions | None = None,
        pause_while_full: Callable[[], Awaitable[None]] | None = None,
        report_full: Callable[[Exception], None] = report_waiting,
        readers: int = 4,
    ) -> None:
        """Open the file and migrate it.

        `steps` are SQL scripts: step n migrates a file of version n to version n + 1 (`user_version`), each as one
        transaction. With `read_only` the file must exist and is not migrated; `steps` None accepts any version of it.
        `functions` registers the SQL functions that the schema calls, on each connection. With `pause_while_full` a
        transaction that found the disk full is repeated after that pause, else `run` raises StorageFull.

        Raises ServiceUnavailable when a newer version of ours wrote the file.
        """
        self._path = path
        self._read_only = read_only
        self._functions = functions
        self._pause_while_full = pause_while_full
        self._report_full = report_full
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()  # reader connections that are not in use
        self._readers = ThreadPoolExecutor(max_workers=readers, thread_name_prefix=f"sqlite-{path.stem}-read")
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
            create_private(path)  # SQLite gives -wal and -shm the same mode
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"sqlite-{path.stem}")
        try:
            self._connection: sqlite3.Connection = self._writer.submit(self._open, steps).result()
        except BaseException:
            self._writer.shutdown()  # else the thread would outlive the main thread of the process
            self._readers.shutdown()
            raise

    # --- opening --------------------------------------------------------------------------------------------------

    def _open(self, steps: Sequence[str] | None) -> sqlite3.Connection:
        connection = self._connect("ro" if self._read_only else "rwc")
        try:
            self._check_version(connection, steps)
            if not self._read_only:
                self._migrate(connection, steps or ())
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self, mode: str, *, shared: bool = False) -> sqlite3.Connection:
        """`shared`: more than one thread uses the connection, one after the other."""
        uri = f"{self._path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=_BUSY_TIMEOUT, check_same_thread=not shared
        )
        try:
            connection.row_factory = sqlite3.Row
            if self._functions is not None:
                self._functions(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_version(self, connection: sqlite3.Connection, steps: Sequence[str] | None) -> None:
        found = _version(connection)
        if steps is not None and found > len(steps):
            raise ServiceUnavailable(
                f"{self._path} was written by a newer version (schema {found}, this one knows {len(steps)}): upgrade"
            )

    @staticmethod
    def _migrate(connection: sqlite3.Connection, steps: Sequence[str]) -> None:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # takes effect on an empty file only, and before WAL
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        for number in range(_version(connection), len(steps)):
            connection.executescript(f"BEGIN IMMEDIATE; {steps[number]}; PRAGMA user_version={number + 1:d}; COMMIT;")

    # --- transactions ---------------------------------------------------------------------------------------------

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` as one write transaction: committed when it returns, rolled back when it raises.

        Raises StorageFull when the disk is full, unless `pause_while_full` is set: then it is tried again.
        """
        if self._pause_while_full is None:
            return await self._write(work)
        return await retry_while_full(lambda: self._write(work), self._pause_while_full, report=self._report_full)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a read-only connection, as one snapshot of the last committed state."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._snapshot, work)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._transaction, work)

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        try:
            connection.execute("BEGIN" if self._read_only else "BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite itself rolls back when the disk is full
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise StorageFull(f"no space for {self._path}: free some and it goes on by itself") from error
            raise
        return result

    def _snapshot(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = self._connect("ro", shared=True)
        try:
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.execute("ROLLBACK")
        finally:
            self._idle.put(connection)

    def close(self) -> None:
        self._readers.shutdown()
        while not self._idle.empty():
            self._idle.get().close()
        self._writer.submit(self._connection.close).result()
        self._writer.shutdown()


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def utc_text(at: datetime) -> str:
    """`at` as text in one notation, in UTC: texts sort in the order of time."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")
