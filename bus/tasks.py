"""Cancel tasks reliably, and run a coroutine until it is done or something else happens first."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

AGAIN = 1.0  # seconds


async def cancel_and_wait(tasks: Iterable["asyncio.Future[Any]"], again: float = AGAIN) -> None:
    """Cancel tasks and wait until all have ended, whatever their result.

    The cancellation is repeated every `again` seconds: before Python 3.12 `asyncio.wait_for` swallows one that arrives
    at the moment when what it waits for ends, and a loop around it would not end.
    """
    ended = set(tasks)
    left = ended
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=again)
    await asyncio.gather(*ended, return_exceptions=True)  # retrieve their results: nobody else does


async def unless(
    work: Awaitable[T], *ends: asyncio.Event | Awaitable[object], patience: float | None = None
) -> T | None:
    """Run `work`. Return its result, or None when one of the events is set, one of the other `ends` returns, or
    `patience` seconds pass first; `work` is then cancelled and has ended on return. Work that ends all the same,
    because the cancellation came too late or was swallowed, has its result returned: what it has opened must be closed.
    """
    task = asyncio.ensure_future(work)
    waits = [asyncio.ensure_future(end.wait() if isinstance(end, asyncio.Event) else end) for end in ends]
    in_time = False
    try:
        await asyncio.wait({task, *waits}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        in_time = task.done()
    finally:
        await cancel_and_wait([part for part in (task, *waits) if not part.done()])
    if not in_time and (task.cancelled() or task.exception() is not None):
        return None
    return task.result()


async def first_of(*events: asyncio.Event, patience: float | None = None) -> bool:
    """Wait until one of the events is set, at most `patience` seconds. Return whether one is."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waits, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        await cancel_and_wait(waits)


async def sleep_to_next(period: float) -> None:
    """Sleep to the next multiple of `period` seconds on the clock of the event loop, or to the one after it if that is
    very near. The periodic work of a process then wakes it at the same moments."""
    await asyncio.sleep(until_next(asyncio.get_running_loop().time(), period))


def until_next(now: float, period: float) -> float:
    wait = period - now % period
    return wait if wait > period / 10 else wait + period
