"""Locks for one writer at a time per video, playlist or plan: between tasks and between processes."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from services.common.infra.files import LockHeld, locked

_STRIPES = 256  # lock files; two names on one stripe merely wait for each other
_RETRY_AFTER = 0.05  # seconds between two attempts at a lock of another process


class NamedLocks:
    """`async with locks.hold(root, video_id)`. No task holds two locks at once, so there is no deadlock."""

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
