"""Who watches is woken by a change itself: nobody waits for the next look that a stream takes anyhow."""

import asyncio
from contextlib import ExitStack

from services.jobs.subscribers import Live

LONG = 3600.0  # seconds until a stream would look by itself


async def test_every_listener_of_a_job_is_woken_and_nobody_else() -> None:
    live = Live()
    with ExitStack() as held:
        listeners = [held.enter_context(live.listening("j")) for _ in range(200)]
        other = held.enter_context(live.listening("other"))
        live.changed(["j"])
        async with asyncio.timeout(60):
            assert await asyncio.gather(*(one.news(LONG, ()) for one in listeners)) == [[]] * 200
        assert not other._news.is_set()


async def test_who_watches_all_jobs_is_woken_by_any() -> None:
    live = Live()
    with live.watching() as one, live.watching() as another:
        live.changed(["j"])
        async with asyncio.timeout(60):
            await asyncio.gather(one.wait(), another.wait())
