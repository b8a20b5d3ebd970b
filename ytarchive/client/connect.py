"""Reaching the services: attach to the running stack, or run one in this process for a while."""

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

# A stack of our own only works on its own job.
ONE_SHOT = {"jobs": {"park_open": True}, "storage": {"rechecks": False}}
_READY_WITHIN = 45.0  # seconds for another stack to become ready, or to end: SPEC allows 30 s for each
_LOCK_INTERVAL = 0.2  # seconds between two attempts to get the lock


async def reach(
    config: Config, resources: AsyncExitStack, *, extra_roots: Sequence[Path], on_own_stack: Callable[[Stack], None]
) -> System:
    """Return the running system, else a stack of our own, which `resources` stops. In such a stack the open jobs of
    earlier runs stay parked.

    `extra_roots` and `on_own_stack` apply only to a stack of our own. Raise LockHeld when another stack neither becomes
    ready nor ends.
    """
    deadline = time.monotonic() + _READY_WITHIN
    while True:
        running = await find_system(config)
        if running is not None:
            return running
        try:
            stack = Stack(config, ports="free_if_taken", extra_roots=extra_roots, options=ONE_SHOT)
            await resources.enter_async_context(stack)
        except LockHeld:  # another stack is starting or stopping
            if time.monotonic() > deadline:
                raise
        else:
            on_own_stack(stack)
            return System.of_own(stack)
        await asyncio.sleep(_LOCK_INTERVAL)


async def still_there(system: System, config: Config) -> bool:
    """Return whether the stack that we are attached to is alive. True for our own, and for separate services, whose
    state is unknown."""
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
