"""One broker to a store: two would start happily on the same directory and ruin it."""

import asyncio
import errno
import fcntl
import os
import signal
import time
from pathlib import Path
from typing import IO

from bus.errors import BrokerUnavailable

_ORPHAN_TIMEOUT = 10.0  # seconds that a server whose parent has died gets to end


class StoreLock:
    """A flock that the child server inherits: it is held as long as either of the two processes lives.

    The file names both, `parent child`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    async def take(self) -> None:
        """Raises BrokerUnavailable, naming the processes, when another broker holds it, and OSError."""
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
            if parent is None or _alive(parent) or time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"another broker runs on {self._path.parent} (started by process {parent}, nats-server is"
                    f" {child}): use that one, or end it first"
                )
            if child is not None and _alive(child):  # an orphan: nobody else can hold the lock of a dead parent
                os.kill(child, signal.SIGTERM)
            await asyncio.sleep(0.05)

    def fileno(self) -> int:
        """What the child shall inherit."""
        if self._file is None:
            raise RuntimeError("the lock is not held")
        return self._file.fileno()

    def write(self, child: int | None = None) -> None:
        """Note who holds it: this process, and its child."""
        if self._file is None:
            raise RuntimeError("the lock is not held")
        self._file.seek(0)
        self._file.truncate()
        self._file.write(f"{os.getpid()} {child or ''}")
        self._file.flush()

    def release(self) -> None:
        """Does nothing when it is not held. A child that still lives goes on holding it."""
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


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
