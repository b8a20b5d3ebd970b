"""A SQLite file: one thread that writes, a few read-only connections beside it (WAL, synchronous=FULL)."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from services.common.errors import ServiceUnavailable, StorageFull

T = TypeVar("T")
READERS = 4  # connections that read at the same time


class Database:
    """Runs functions of a connection as transactions: `run` one after the other, `read` beside them.

    A read sees all that was committed before it began, and never waits for a write transaction.
    """

    def __init__(
        self,
        path: Path,
        schema: str | Sequence[str],
        version: int = 1,
        *,
        read_only: bool = False,
        functions: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        """Open or create the file at `path`.

        `schema` is SQL that creates what is missing; `version` is kept as user_version. Or it is one script per
        version: each is run once, as one transaction, on a file of the version before. With `read_only` the file must
        exist and is not changed. `functions` registers the SQL functions that the schema calls with a connection.

        Raises ServiceUnavailable when the file was written by a newer version of ytarchive.
        """
        self._path = path
        self._read_only = read_only
        self._functions = functions
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"sqlite-{path.stem}")
        self._readers = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix=f"sqlite-{path.stem}-read")
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()  # read-only connections that nothing uses now
        if not isinstance(schema, str):
            version = len(schema)
        try:
            self._connection: sqlite3.Connection = self._thread.submit(self._open, schema, version).result()
        except BaseException:
            self._thread.shutdown()  # else it would outlive the process's main thread
            self._readers.shutdown()
            raise

    def _open(self, schema: str | Sequence[str], version: int) -> sqlite3.Connection:
        connection = self._connect("ro" if self._read_only else "rwc")
        try:
            self._prepare(connection, schema, version)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"{self._path.absolute().as_uri()}?mode={mode}"
        # a read-only connection is used by one thread at a time, but not always by the same
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        try:
            if self._functions is not None:
                self._functions(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection, schema: str | Sequence[str], version: int) -> None:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found > version:
            raise ServiceUnavailable(
                f"{self._path} was written by a newer version (schema {found}, this one knows {version}): upgrade"
            )
        if self._read_only:
            return
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # of a new file, while it is empty: before WAL
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        if isinstance(schema, str):
            connection.executescript(schema)
            connection.execute(f"PRAGMA user_version={version:d}")
            return
        for number in range(found, version):
            connection.executescript(f"BEGIN IMMEDIATE; {schema[number]}; PRAGMA user_version={number + 1:d}; COMMIT;")

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` as one transaction: committed when it returns, undone when it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a read-only connection, in one snapshot. Raises sqlite3.OperationalError when it writes."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._snapshot, work)

    def _snapshot(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._reader() as connection:
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = self._connect("ro")
        try:
            yield connection
        finally:
            self._idle.put(connection)

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        try:
            connection.execute("BEGIN" if self._read_only else "BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk has undone it already
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise StorageFull(f"no space for {self._path}: free some and it goes on by itself") from error
            raise
        return result

    def close(self) -> None:
        """Close all connections, after the calls that are under way."""
        self._readers.shutdown()
        while not self._idle.empty():
            self._idle.get().close()
        self._thread.submit(self._connection.close).result()
        self._thread.shutdown()
