"""Tasks are ended whatever the moment."""

import asyncio
from contextlib import suppress

import pytest

from bus.tasks import cancel_and_wait


@pytest.mark.parametrize("turns", range(5))
async def test_a_loop_ends_even_if_what_it_waits_for_comes_in_that_moment(turns: int) -> None:
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def loop() -> None:
        while True:
            await asyncio.wait_for(queue.get(), 60)

    task = asyncio.create_task(loop())
    await asyncio.sleep(0.01)
    queue.put_nowait("something")
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await cancel_and_wait([task], again=0.05)
    assert task.cancelled()


async def test_all_are_waited_for_however_they_end() -> None:
    ended = []

    async def tidy() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.02)
            ended.append("tidy")

    async def fails() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        raise ValueError

    tasks = [asyncio.create_task(tidy()), asyncio.create_task(fails())]
    await asyncio.sleep(0)
    await cancel_and_wait(tasks)
    await cancel_and_wait([])
    assert ended == ["tidy"]
    assert all(task.done() for task in tasks)
