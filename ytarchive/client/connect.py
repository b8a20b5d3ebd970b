"""Reaching the services: attach to the stack that runs, or become it for a while (DESIGN §7)."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bus import Bus
from services.common.infra.files import LockHeld
from services.common.messaging import connect_bus
from services.common.settings.load import Config
from ytarchive.client.endpoints import System, find_system
from ytarchive.stack import Stack, find_running

# a stack of our own is there for its own job
ALONE = {"jobs": {"park_open": True}, "storage": {"rechecks": False}}
_PATIENCE = 45.0  # seconds for another stack to be ready, or to be gone: SPEC's 30 s and some


async def reach(
    config: Config, held: AsyncExitStack, *, extra_roots: Sequence[Path], became: Callable[[Stack], None]
) -> System:
    """The system that runs; else a stack of our own, which `held` stops. Open jobs of earlier runs stay parked in it.

    `extra_roots` and `became` matter only for a stack of our own. Raises LockHeld when another one neither gets ready
    nor goes.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        running = await find_system(config)
        if running is not None:
            return running
        try:
            stack = Stack(config, ports="free_if_taken", extra_roots=extra_roots, options=ALONE)
            await held.enter_async_context(stack)
        except LockHeld:  # another one is just starting, or just stopping
            if time.monotonic() > deadline:
                raise
        else:
            became(stack)
            return System.of_own(stack)
        await asyncio.sleep(0.2)


async def still_there(system: System, config: Config) -> bool:
    """Is the stack that we are attached to alive? Our own is; of services on their own nobody knows."""
    if system.pid is None:
        return True
    running = await asyncio.to_thread(find_running, config)
    return running is not None and running.pid == system.pid


@asynccontextmanager
async def connected(system: System) -> AsyncIterator[Bus]:
    bus = await connect_bus(system.bus, source=f"cli/{os.getpid()}")
    try:
        yield bus
    finally:
        await bus.close()
