"""Cancellation of tasks."""

import asyncio
from contextlib import suppress

import pytest

from bus.tasks import cancel_and_wait, unless, until_next


@pytest.mark.parametrize("turns", range(5))
async def test_a_loop_is_cancelled_even_if_its_awaited_item_arrives_at_the_same_time(turns: int) -> None:
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


async def test_cancel_and_wait_waits_for_tasks_that_clean_up_or_fail() -> None:
    ended = []

    async def cleans_up() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.02)
            ended.append("cleans_up")

    async def fails() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        raise ValueError

    tasks = [asyncio.create_task(cleans_up()), asyncio.create_task(fails())]
    await asyncio.sleep(0)
    await cancel_and_wait(tasks)
    await cancel_and_wait([])
    assert ended == ["cleans_up"]
    assert all(task.done() for task in tasks)


async def test_work_that_ends_in_spite_of_its_cancellation_is_not_lost() -> None:
    """A stack that has started although it was to stop must be stopped in order: before Python 3.12 `asyncio.wait_for`
    swallows a cancellation that comes too late."""
    stop = asyncio.Event()

    async def work() -> str:
        stop.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return "opened"

    assert await unless(work(), stop) == "opened"


async def test_work_that_fails_while_it_is_cancelled_has_no_result() -> None:
    stop = asyncio.Event()

    async def work() -> str:
        stop.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise OSError from None
        return "opened"

    assert await unless(work(), stop) is None


@pytest.mark.parametrize(
    ("now", "wait"), [(100.0, 5.0), (101.0, 4.0), (103.5, 1.5), (104.9, 5.1)], ids=["at", "after", "between", "near"]
)
def test_periodic_work_meets_at_multiples_of_its_period(now: float, wait: float) -> None:
    assert until_next(now, 5.0) == pytest.approx(wait)
