"""Waiting for a full disk: space may be freed, and downloaded files must not be lost meanwhile."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import structlog

from services.common.errors import StorageFull
from services.common.infra.disk_full import report_waiting, retry_while_full
from services.common.infra.files import free_space

_log = structlog.get_logger()
T = TypeVar("T")


@dataclass(frozen=True)
class DiskSpace:
    """`min_free` bytes are kept free on every disk. `patience` and `recheck` in seconds: the total time to wait, and
    the time between two checks.

    Waiting ends with CancelledError once `closing` is set; the bus then delivers the message again later.
    """

    min_free: int = 0
    patience: float = 300.0
    recheck: float = 5.0
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_for(self, path: Path, needed: int) -> None:
        """Wait until `needed` bytes more than min_free are free on the disk of `path`. Raises StorageFull after
        `patience`."""
        end = time.monotonic() + self.patience
        logged = False
        while (free := await asyncio.to_thread(free_space, path)) < self.min_free + needed:
            if time.monotonic() >= end:
                raise StorageFull(
                    f"{free} bytes are free on the disk of {path}, {needed} and a reserve of {self.min_free}"
                    " are needed: free some, or lower [storage] min_free",
                    path=str(path),
                    free=free,
                )
            if not logged:
                _log.warning("waiting_for_space", path=str(path), free=free, needed=needed, min_free=self.min_free)
                logged = True
            await self.pause()

    async def write(self, work: Callable[[], T], path: Path) -> T:
        """Run a small write below `path` in a thread. Repeat it for as long as the disk is full."""
        return await retry_while_full(
            lambda: asyncio.to_thread(work), self.pause, report=lambda error: report_waiting(error, path)
        )

    async def pause(self) -> None:
        """Wait until the next check. Raises CancelledError when the service closes."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.closing.wait(), self.recheck)
            raise asyncio.CancelledError("the service closes, and the disk is still full")
