"""`ytarchive download`: attach to the stack that runs, or become it; make the job, follow it, stop (DESIGN §7)."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from uuid import uuid4

from bus import Bus, BusError
from services.common.config import Config
from services.common.errors import ServiceUnavailable, YTArchiveError
from services.common.files import LockHeld
from services.common.models import Job
from ytarchive.cli.displays import Display
from ytarchive.cli.exits import Exit, exit_code
from ytarchive.cli.follow import Follower, StackGone, tally
from ytarchive.cli.interruption import Interrupted, Interruption
from ytarchive.cli.order import Order, same_command
from ytarchive.cli.picture import Picture
from ytarchive.cli.rest import Rest
from ytarchive.cli.result import Result, Tally
from ytarchive.cli.system import System, find_system
from ytarchive.cli.text import count
from ytarchive.stack import Stack, find_running

_PATIENCE = 45.0  # seconds for another stack to be ready, or to be gone: SPEC's 30 s and some
_PAGE = 500  # jobs


class OneShot:
    """One `download` command. `run` is called once."""

    def __init__(self, config: Config, order: Order, display: Display) -> None:
        self._config = config
        self._order = order
        self._display = display
        self._picture: Picture | None = None  # survives a take-over
        self._attached = False
        self._tally = Tally()
        self._begun = time.monotonic()
        self._interruption = Interruption()

    async def run(self) -> Result:
        """Until the job ended, was parked, or the user interrupted. Raises YTArchiveError, BusError."""
        with self._interruption as interruption, self._display:
            interruption.on_first = self._say_stopping
            try:
                while True:
                    try:
                        job = await self._once()
                        return self._result(exit_code(job), job)
                    except StackGone:
                        self._display.say("The stack that did the work is gone: taking over.")
            except Interrupted:
                return self._result(Exit.INTERRUPTED, self._picture.job if self._picture else None)

    async def _once(self) -> Job:
        async with AsyncExitStack() as held:
            system = await self._interruption.unless(self._reach(held))
            self._attached = not system.own
            try:
                return await self._interruption.unless(self._work(system))
            except (ServiceUnavailable, BusError) as error:
                if await self._alive(system):
                    raise
                raise StackGone from error

    # --- a system to work with

    async def _reach(self, held: AsyncExitStack) -> System:
        deadline = time.monotonic() + _PATIENCE
        while True:
            running = await find_system(self._config)
            if running is not None:
                return running
            try:
                return await self._become(held)
            except LockHeld:  # another one is just starting, or just stopping
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.2)

    async def _become(self, held: AsyncExitStack) -> System:
        extra = [self._order.extra_root] if self._order.extra_root else []
        stack = Stack(self._config, ports="free_if_taken", extra_roots=extra, options={"jobs": {"park_open": True}})
        await held.enter_async_context(stack)
        self._interruption.on_second = lambda: self._abandon(stack)
        return System.of_own(stack)

    def _say_stopping(self) -> None:
        if not self._attached:
            self._display.say("Stopping; what was fetched is kept. (Once more ends at once.)")

    def _abandon(self, stack: Stack) -> None:
        self._display.__exit__(None, None, None)  # the terminal gets its cursor back
        stack.abandon()

    # --- the job

    async def _work(self, system: System) -> Job:
        async with _connected(system) as bus, Rest.open(system.services["jobs"]) as jobs:
            if self._picture is None:
                self._picture = await self._find_or_make(jobs, system)
            picture = self._picture
            follower = Follower(bus, jobs, picture, self._display, lambda: self._alive(system))

            async def begin() -> None:
                """Known already: then it is only un-parked."""
                created = self._order.event(picture.job_id)
                await bus.publish(created, trace_id=picture.trace_id)

            job = await follower.run(begin)
            with suppress(YTArchiveError):  # a stack that goes away just now: the counts are known
                self._tally = await tally(jobs, job.job_id)
            return job

    async def _find_or_make(self, jobs: Rest, system: System) -> Picture:
        mine: Job | None = None
        others = 0
        for job in await _open_jobs(jobs):
            if mine is None and same_command(job, self._order):
                mine = job
            else:
                others += 1
        if others and system.own:
            parked = f"{count(others, 'other open job')} of earlier runs {'stays' if others == 1 else 'stay'} parked"
            self._display.say(f"{parked}: `ytarchive jobs list` shows what, `ytarchive up` does them all.")
        if mine is not None:
            self._display.say(f"Going on with job {mine.job_id}.")
            return Picture(mine.job_id, mine.trace_id)
        return Picture(str(uuid4()), str(uuid4()))

    async def _alive(self, system: System) -> bool:
        """Is the stack that we are attached to still there? Our own is; of services on their own nobody knows."""
        if system.pid is None:
            return True
        running = await asyncio.to_thread(find_running, self._config)
        return running is not None and running.pid == system.pid

    def _result(self, exit: Exit, job: Job | None) -> Result:
        return Result(
            exit=exit,
            job=job,
            seconds=time.monotonic() - self._begun,
            saved=self._tally.saved,
            bytes=self._tally.bytes,
            unavailable=tuple(self._tally.unavailable),
            failed=tuple(self._tally.failed),
            waiting=tuple(self._tally.waiting),
            attached=self._attached,
        )


@asynccontextmanager
async def _connected(system: System) -> AsyncIterator[Bus]:
    bus = await Bus.connect(system.bus, source=f"cli/{os.getpid()}")
    try:
        yield bus
    finally:
        await bus.close()


async def _open_jobs(jobs: Rest) -> list[Job]:
    found: list[Job] = []
    while True:
        data = await jobs.get("jobs", status="open", limit=_PAGE, offset=len(found))
        found += [Job.model_validate(job) for job in data["jobs"]]
        if not data["jobs"] or len(found) >= data["total"]:
            return found
