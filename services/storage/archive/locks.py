"""One writer at a time per video, playlist or plan: between the tasks of this process, and between processes."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from services.common.infra.files import LockHeld, locked

_STRIPES = 256  # lock files in all; two names on one stripe only wait for each other
_RETRY_AFTER = 0.05  # seconds between two tries for a lock that another process holds


class NamedLocks:
    """`async with locks.hold(root, video_id)`. Nobody holds two at once, so nobody waits in a circle."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._here = [asyncio.Lock() for _ in range(_STRIPES)]

    @asynccontextmanager
    async def hold(self, *names: str) -> AsyncIterator[None]:
        stripe = hashlib.sha256("\0".join(names).encode()).digest()[0] % _STRIPES
        async with self._here[stripe], AsyncExitStack() as stack:
            await self._take(stack, self._directory / f"{stripe:02x}.lock")
            yield

    @staticmethod
    async def _take(stack: AsyncExitStack, path: Path) -> None:
        while True:
            try:
                stack.enter_context(locked(path))
            except LockHeld:
                await asyncio.sleep(_RETRY_AFTER)
            else:
                return
