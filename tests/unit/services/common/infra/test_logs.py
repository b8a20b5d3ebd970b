"""The queue of log records: filled by any thread, without polling for what comes."""

import asyncio
import threading
from typing import Any

from services.common.infra.logs import BATCH, RecordQueue


def record(number: int) -> dict[str, Any]:
    return {"number": number}


async def test_a_record_of_another_thread_ends_the_waiting() -> None:
    queue = RecordQueue(10)
    waiting = [asyncio.create_task(queue.filled()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    threading.Thread(target=queue.put, args=(record(1),)).start()
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)
    assert queue.take() == [record(1)]


async def test_what_is_there_already_is_not_waited_for() -> None:
    queue = RecordQueue(10)
    queue.put(record(1))
    async with asyncio.timeout(10):
        await queue.filled()
    taken = queue.take()
    queue.put_back(taken)
    async with asyncio.timeout(10):
        await queue.filled()


def test_a_loop_that_was_closed_while_it_waited_disturbs_nobody() -> None:
    queue = RecordQueue(10)
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(queue.filled())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    queue.put(record(1))
    assert queue.take() == [record(1)]
    waiting.get_coro().close()


def test_the_oldest_are_dropped_and_a_batch_is_taken_in_order() -> None:
    queue = RecordQueue(BATCH + 1)
    for number in range(BATCH + 3):
        queue.put(record(number))
    taken = queue.take()
    assert taken == [record(number) for number in range(2, BATCH + 2)]
    queue.put_back(taken)
    assert queue.take() == taken
    assert queue.take() == [record(BATCH + 2)]
    assert queue.take() == []
