"""The lock of a broker's store. Without it two brokers could start on the same directory and corrupt it."""

import asyncio
import errno
import fcntl
import os
import signal
import time
from pathlib import Path
from typing import IO

from bus.embedded.probe import process_exists
from bus.errors import BrokerUnavailable

_ORPHAN_TIMEOUT = 10.0  # seconds for a server whose parent has died to end


class StoreLock:
    """A flock that the child process inherits, so that it is held as long as either process lives.

    The file contains the ids of both: `parent child`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    async def take(self) -> None:
        """Acquire the lock. Raise BrokerUnavailable, which names the processes, when another broker holds it;
        OSError."""
        file = self._path.open("a+")
        try:
            await self._lock(file)
        except BaseException:
            file.close()
            raise
        self._file = file
        self.write()

    async def _lock(self, file: IO[str]) -> None:
        deadline = time.monotonic() + _ORPHAN_TIMEOUT
        while not _locked(file):
            parent, child = _holders(file)
            if parent is None or process_exists(parent) or time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"another broker runs on {self._path.parent} (started by process {parent}, nats-server is"
                    f" {child}): use that one, or end it first"
                )
            if child is not None and process_exists(child):  # an orphan: only it can hold the lock of a dead parent
                os.kill(child, signal.SIGTERM)
            await asyncio.sleep(0.05)

    def fileno(self) -> int:
        """Return the file descriptor for the child to inherit."""
        if self._file is None:
            raise RuntimeError("the lock is not held")
        return self._file.fileno()

    def write(self, child: int | None = None) -> None:
        """Write the ids of this process and its child."""
        if self._file is None:
            raise RuntimeError("the lock is not held")
        self._file.seek(0)
        self._file.truncate()
        self._file.write(f"{os.getpid()} {child or ''}")
        self._file.flush()

    def release(self) -> None:
        """Release the lock, if held. A child that is still alive keeps holding it."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            return False
        raise
    return True


def _holders(file: IO[str]) -> tuple[int | None, int | None]:
    file.seek(0)
    pids = [int(word) for word in file.read().split() if word.isdigit()]
    return pids[0] if pids else None, pids[1] if len(pids) > 1 else None
