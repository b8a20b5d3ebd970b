"""The download slots: each has a persistent yt-dlp child, started when first needed and replaced when it dies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.common.youtube.fork_server import ForkServer
from services.common.youtube.process import IDLE, YtDlpChild
from services.common.youtube.settings import ChildSettings


class Slot:
    """A child, and when its last download ended (monotonic seconds; None: never)."""

    def __init__(self, settings: ChildSettings, server: ForkServer | None, idle: float) -> None:
        self.child = YtDlpChild(settings, server, idle=idle)
        self.finished_at: float | None = None

    async def rest(self, interval: float) -> None:
        """Wait until `interval` seconds have passed since the last download ([youtube] sleep_interval)."""
        if self.finished_at is not None:
            await asyncio.sleep(self.finished_at + interval - asyncio.get_running_loop().time())


class Slots:
    def __init__(self, count: int, settings: ChildSettings, server: ForkServer, *, rest: float) -> None:
        """`rest`: seconds between two downloads of a slot."""
        self.count = count
        self._all = [Slot(settings, server, IDLE + rest) for _ in range(count)]
        self._idle = list(reversed(self._all))
        self._freed = asyncio.Condition()

    @property
    def free(self) -> int:
        return len(self._idle)

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Slot]:
        """Wait for a free slot and hold it. The slot used last comes first: its child is running."""
        async with self._freed:
            await self._freed.wait_for(lambda: self._idle)
            slot = self._idle.pop()
        try:
            yield slot
        finally:
            slot.finished_at = asyncio.get_running_loop().time()
            self._idle.append(slot)
            async with self._freed:
                self._freed.notify()

    async def close(self) -> None:
        """Kill every child; running downloads end with ChildCrashed."""
        await asyncio.gather(*(slot.child.kill() for slot in self._all))
