"""Running blocking work that must not be abandoned: its caller holds a lock until it has ended."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


async def run_to_end(work: Callable[[], T], stop: threading.Event | None = None, executor: Executor | None = None) -> T:
    """Run `work` in a thread (of the default executor, or of `executor`) and wait for its end, also when cancelled:
    then `stop` is set, and CancelledError is raised after `work` has returned."""
    context = contextvars.copy_context()
    task = asyncio.get_running_loop().run_in_executor(executor, lambda: context.run(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if stop is not None:
            stop.set()
        await asyncio.wait({task})
        raise
