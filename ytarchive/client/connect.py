"""Reaching the services: attach to the running system, or run a stack in this process for a while."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bus import Bus
from services.common.errors import ServiceUnavailable
from services.common.infra.files import LockHeld
from services.common.messaging import connect_bus
from services.common.settings.load import Config
from services.common.settings.masking import mask_text
from services.common.youtube.fork_server import AVAILABLE, SHARED
from services.common.youtube.settings import ChildSettings
from ytarchive.client.endpoints import System, configured_urls, find_system
from ytarchive.running_stack import find_running

if TYPE_CHECKING:
    from ytarchive.stack import Stack

# A stack of our own only works on its own job.
ONE_SHOT = {"jobs": {"park_open": True}, "storage": {"rechecks": False}}
_READY_WITHIN = 45.0  # seconds for another stack to become ready, or to end: SPEC allows 30 s for each
_SYSTEM_INTERVAL = 0.5  # seconds between two looks for the system on `[nats] url`
_LOCK_INTERVAL = 0.2  # seconds between two attempts to get the lock


async def reach(
    config: Config,
    resources: AsyncExitStack,
    *,
    extra_roots: Sequence[Path],
    on_own_stack: "Callable[[Stack], None]",
    notify: Callable[[str], None],
    downloads: bool = False,
) -> System:
    """Return the running system, else a stack of our own, which `resources` stops. In such a stack the open jobs of
    earlier runs stay parked. With `[nats] url` there is no stack of our own: the system on that broker is waited for.

    `extra_roots` and `on_own_stack` apply only to a stack of our own, and `downloads`: yt-dlp is going to be needed.
    `notify` gets what is waited for. Raise LockHeld
    when another stack neither becomes ready nor ends, ServiceUnavailable when no system on `[nats] url` answers.
    """
    deadline = time.monotonic() + _READY_WITHIN
    noted = False
    while True:
        running = await find_system(config)
        if running is not None:
            return running
        if config.nats.url is not None:
            if time.monotonic() > deadline:
                raise _no_system(config)
            if not noted:
                notify(f"Waiting for the jobs service at {configured_urls(config)['jobs']}.")
                noted = True
            await asyncio.sleep(_SYSTEM_INTERVAL)
            continue
        if downloads:
            await preload_yt_dlp(config, resources)
            downloads = False
        from ytarchive.stack import Stack  # while yt-dlp is being loaded

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


async def preload_yt_dlp(config: Config, resources: AsyncExitStack) -> None:
    """Let the process that forks yt-dlp children load while the stack starts. Raise ConfigError."""
    if AVAILABLE:
        resources.push_async_callback(SHARED.acquire().release)
        settings = ChildSettings.of(config)
        SHARED.start(settings.environment_with(await asyncio.to_thread(settings.ytdlp_folder)), settings.ffmpeg)


def _no_system(config: Config) -> ServiceUnavailable:
    """Two systems on one broker would take each other's messages: hence no stack of our own with `[nats] url`."""
    return ServiceUnavailable(
        f"No jobs service answers at {configured_urls(config)['jobs']} ([services.jobs]) within {_READY_WITHIN:.0f} s, "
        f"and a command starts no services on the broker {mask_text(config.nats.url or '')}. Start `ytarchive up` or "
        "`ytarchive service jobs`, correct [services.jobs], or unset [nats] url to run all in this command."
    )


async def still_there(system: System, config: Config) -> bool:
    """Return whether the system that we are attached to is alive; of separate services the jobs service counts. True
    for our own."""
    if system.own:
        return True
    if system.pid is None:
        return await find_system(config) is not None
    running = await asyncio.to_thread(find_running, config)
    return running is not None and running.pid == system.pid


@asynccontextmanager
async def connected(system: System) -> AsyncIterator[Bus]:
    bus = await connect_bus(system.bus, source=f"cli/{os.getpid()}")
    try:
        yield bus
    finally:
        await bus.close()
