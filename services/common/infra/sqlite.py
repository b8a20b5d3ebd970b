"""A SQLite file with its own thread: WAL, synchronous=FULL, one transaction per call."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from services.common.errors import ServiceUnavailable, StorageFull

T = TypeVar("T")


class Database:
    """Functions of a connection go in, they run one after the other as transactions, results come out."""

    def __init__(
        self,
        path: Path,
        schema: str | Sequence[str],
        version: int = 1,
        *,
        read_only: bool = False,
        functions: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        """`schema` is SQL that makes what is missing; `version` is kept as user_version. Or it is one script per
        version: each is run once, as one transaction, on a file of the version before. With `read_only` the file must
        exist, and stays as it is. `functions` gives a connection those that the schema calls.

        Raises ServiceUnavailable when the file was written by a newer version of ours.
        """
        self._path = path
        self._read_only = read_only
        self._functions = functions
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"sqlite-{path.stem}")
        if not isinstance(schema, str):
            version = len(schema)
        try:
            self._connection: sqlite3.Connection = self._thread.submit(self._open, schema, version).result()
        except BaseException:
            self._thread.shutdown()  # else it would outlive the process's main thread
            raise

    def _open(self, schema: str | Sequence[str], version: int) -> sqlite3.Connection:
        mode = "ro" if self._read_only else "rwc"
        place = f"{self._path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(place, uri=True, isolation_level=None, timeout=30)
        connection.row_factory = sqlite3.Row
        try:
            if self._functions is not None:
                self._functions(connection)
            self._prepare(connection, schema, version)
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
        self._thread.submit(self._connection.close).result()
        self._thread.shutdown()
