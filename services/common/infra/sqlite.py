"""An SQLite file: WAL, synchronous=FULL, numbered migrations, one writer thread and a pool of reader threads."""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from services.common.errors import ServiceUnavailable, StateDamaged, StorageFull
from services.common.infra.disk_full import report_waiting, retry_while_full
from services.common.infra.private_files import create_private
from services.common.infra.sqlite_files import (
    copy_database,
    damage_in,
    find_damage,
    note_writer,
    schema_version,
    set_database_aside,
    writer_of,
)

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
        report_full: Callable[[Exception], None] | None = None,
        readers: int = 4,
        remedy: str = "",
        keep_old: bool = True,
        on_recreated: Callable[[str], None] | None = None,
    ) -> None:
        """Open the file and migrate it.

        `steps` are SQL scripts: step n migrates a file of version n to version n + 1 (`user_version`), each as one
        transaction. With `read_only` the file must exist and is not migrated; `steps` None accepts any version of it.
        `functions` registers the SQL functions that the schema calls, on each connection. With `pause_while_full` a
        transaction that found the disk full is repeated after that pause, else `run` raises StorageFull.

        A file that is no intact database raises StateDamaged, whose message ends with `remedy`. With `on_recreated` it
        is set aside instead, now and in `run` and `read`, and an empty one takes its place; the function is called with
        the reason, on any thread.

        With `keep_old` an existing file is copied to `{name}.v{version}` before it is migrated. Raises
        ServiceUnavailable when a newer version of ours wrote the file.
        """
        self._path = path
        self._steps = steps
        self._remedy = remedy
        self._keep_old = keep_old
        self._on_recreated = on_recreated
        self.generation = 0  # of the file; a transaction may compare it
        self._gate = threading.Condition()  # held while the file is exchanged
        self._exchanging = False
        self._reading = 0  # reads that use a connection now
        self._read_only = read_only
        self._functions = functions
        self._pause_while_full = pause_while_full
        self._report_full = report_full or partial(report_waiting, where=path)
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()  # reader connections that are not in use
        self._readers = ThreadPoolExecutor(max_workers=readers, thread_name_prefix=f"sqlite-{path.stem}-read")
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
            create_private(path)  # SQLite gives -wal and -shm the same mode
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"sqlite-{path.stem}")
        try:
            self._connection: sqlite3.Connection = self._writer.submit(self._open_or_recreate).result()
        except BaseException:
            self._writer.shutdown()  # else the thread would outlive the main thread of the process
            self._readers.shutdown()
            raise

    # --- opening --------------------------------------------------------------------------------------------------

    def _open_or_recreate(self) -> sqlite3.Connection:
        try:
            return self._open()
        except sqlite3.DatabaseError as error:
            if (reason := damage_in(error)) is None:
                raise
            if self._on_recreated is None:
                raise self._damaged(reason) from error
        return self._recreate(reason)

    def _open(self) -> sqlite3.Connection:
        connection = self._connect("ro" if self._read_only else "rwc")
        try:
            self._check_version(connection)
            if not self._read_only:
                self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _recreate(self, reason: str) -> sqlite3.Connection:
        """Set the file aside and create an empty one. Runs on the writer's thread, its connection is closed.

        No read may use the old file meanwhile: SQLite finds the log of transactions by its name.
        """
        assert self._on_recreated is not None, "only where the file can be derived"  # noqa: S101 - for the type checker
        with self._gate:
            self._exchanging = True
            self._gate.wait_for(lambda: self._reading == 0)
            try:
                self._close_idle()
                set_database_aside(self._path)
                self._connection = self._open()
                self.generation += 1
            finally:
                self._exchanging = False
                self._gate.notify_all()
        self._on_recreated(reason)
        return self._connection

    def _recreate_unless_done(self, generation: int, reason: str) -> None:
        if self.generation == generation:
            self._connection.close()
            self._recreate(reason)

    def _damage_in(self, error: sqlite3.Error) -> str | None:
        """As `damage_in`; an emptied file looks like a new database without tables."""
        if (reason := damage_in(error)) is not None:
            return reason
        with self._unexchanged():
            return "it is empty" if self._path.exists() and self._path.stat().st_size == 0 else None

    @contextmanager
    def _unexchanged(self) -> Iterator[None]:
        """Keep the file from being exchanged."""
        with self._gate:
            self._gate.wait_for(lambda: not self._exchanging)
            self._reading += 1
        try:
            yield
        finally:
            with self._gate:
                self._reading -= 1
                self._gate.notify_all()

    def _damaged(self, reason: str) -> StateDamaged:
        return StateDamaged(f"{self._path} is damaged ({reason}). {self._remedy}".rstrip(), path=str(self._path))

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

    def _check_version(self, connection: sqlite3.Connection) -> None:
        found = schema_version(connection)
        if self._steps is not None and found > len(self._steps):
            raise ServiceUnavailable(
                f"{self._path} was written by a newer version of ytarchive (schema {found}, this one reads"
                f" {len(self._steps)}): install ytarchive {writer_of(connection, found)} or newer.",
                path=str(self._path),
            )
        if self._read_only and found == 0:
            raise self._damaged("it is empty")

    def _migrate(self, connection: sqlite3.Connection) -> None:
        steps = self._steps or ()
        found = schema_version(connection)
        if self._keep_old and 0 < found < len(steps):
            copy_database(self._path, self._path.with_name(f"{self._path.name}.v{found}"))
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # takes effect on an empty file only, and before WAL
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        for number in range(found, len(steps)):
            connection.executescript(f"BEGIN IMMEDIATE; {steps[number]}; PRAGMA user_version={number + 1:d}; COMMIT;")
        if steps:
            note_writer(connection)

    # --- transactions ---------------------------------------------------------------------------------------------

    async def check(self, row_checks: Sequence[str] = ()) -> None:
        """Check the whole file, which takes about a second per gigabyte, as `find_damage`. Raises StateDamaged, unless
        a damaged file is recreated."""
        generation = self.generation
        reason = await asyncio.to_thread(self._find_damage, row_checks)
        if reason is None:
            return
        if self._on_recreated is None:
            raise self._damaged(reason)
        await asyncio.get_running_loop().run_in_executor(self._writer, self._recreate_unless_done, generation, reason)

    def _find_damage(self, row_checks: Sequence[str]) -> str | None:
        with self._unexchanged():
            return find_damage(self._path, row_checks)

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
        generation = self.generation
        try:
            return self._transact(work)
        except sqlite3.DatabaseError as error:
            if (reason := self._damage_in(error)) is None:
                raise
            if self._on_recreated is None:
                raise self._damaged(reason) from error
        # outside of the handler, whose traceback has cursors: they would keep the renamed file open
        self._recreate_unless_done(generation, reason)
        return self._transact(work)

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        try:
            connection.execute("BEGIN" if self._read_only else "BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
                if isinstance(result, sqlite3.Cursor):
                    result.close()  # one that waits for the garbage collector keeps the file open beyond close()
            except BaseException:
                if connection.in_transaction:  # SQLite itself rolls back when the disk is full
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:  # sqlite3's own errors have no code
                raise StorageFull(f"no space for {self._path}: free some and it goes on by itself") from error
            raise
        return result

    def _snapshot(self, work: Callable[[sqlite3.Connection], T]) -> T:
        generation = self.generation
        try:
            return self._read_once(work)
        except sqlite3.DatabaseError as error:
            reason = self._damage_in(error)
            if reason is None and self.generation == generation:
                raise
            if reason is not None and self._on_recreated is None:
                raise self._damaged(reason) from error
        if reason is not None:  # else the file was exchanged meanwhile
            self._writer.submit(self._recreate_unless_done, generation, reason).result()
        return self._read_once(work)

    def _read_once(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._reader() as connection:
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        with self._unexchanged():
            try:
                connection = self._idle.get_nowait()
            except Empty:
                connection = self._connect("ro", shared=True)
            try:
                yield connection
            finally:
                self._idle.put(connection)

    def _close_idle(self) -> None:
        while not self._idle.empty():
            self._idle.get().close()

    def close(self) -> None:
        self._readers.shutdown()
        self._close_idle()
        self._writer.submit(lambda: self._connection.close()).result()
        self._writer.shutdown()


def utc_text(at: datetime) -> str:
    """`at` as text in one notation, in UTC: texts sort in the order of time."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")
