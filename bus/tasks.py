"""Ending tasks for certain."""

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN = 1.0  # seconds


async def end(tasks: Iterable["asyncio.Future[Any]"], again: float = AGAIN) -> None:
    """Cancel and wait until all have ended, however they do.

    Cancelled again every `again` seconds: before Python 3.12 `asyncio.wait_for` swallows a cancellation that comes in
    the moment in which what it waits for ends, and a loop around it would go on for ever.
    """
    ended = set(tasks)
    left = ended
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=again)
    await asyncio.gather(*ended, return_exceptions=True)  # nobody else asks for their results
