"""Subscribers are woken by a change, not by the next periodic read of their stream."""

import asyncio
from contextlib import ExitStack

from services.jobs.adapters.commits import Commit
from services.jobs.subscribers import Subscribers

LONG = 3600.0  # seconds until the periodic read


async def test_a_change_wakes_all_subscribers_of_its_job_and_no_others() -> None:
    subscribers = Subscribers()
    with ExitStack() as held:
        subscriptions = [held.enter_context(subscribers.subscribe("j")) for _ in range(200)]
        other = held.enter_context(subscribers.subscribe("other"))
        subscribers.committed(Commit(frozenset({"j"}), outbox=False))
        async with asyncio.timeout(60):
            assert await asyncio.gather(*(one.wait(LONG, ()) for one in subscriptions)) == [[]] * 200
        assert not other._woken.is_set()


async def test_a_change_of_any_job_wakes_the_subscribers_to_all_jobs() -> None:
    subscribers = Subscribers()
    with subscribers.subscribe_to_all() as one, subscribers.subscribe_to_all() as another:
        subscribers.committed(Commit(frozenset({"j"}), outbox=False))
        async with asyncio.timeout(60):
            await asyncio.gather(one.wait(), another.wait())
