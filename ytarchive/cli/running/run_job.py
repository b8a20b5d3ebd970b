"""One job from end to end: attach to the stack that runs, or become it; begin the job, follow it, stop (DESIGN §7)."""

import time
from contextlib import AsyncExitStack, suppress
from uuid import uuid4

from bus import BusError
from services.common import credentials
from services.common.errors import ServiceUnavailable, YTArchiveError
from services.common.events import JobResumeRequested
from services.common.models import Job
from services.common.settings.load import Config
from ytarchive.cli.exits import Exit, exit_code
from ytarchive.cli.render.displays import Display
from ytarchive.cli.render.text import count
from ytarchive.cli.running.follow import Follower, StackGone, tally
from ytarchive.cli.running.interruption import Interrupted, Interruption
from ytarchive.cli.running.job_state import Picture
from ytarchive.cli.running.result import Result, Tally
from ytarchive.cli.running.task import Errand
from ytarchive.client.connect import connected, reach, still_there
from ytarchive.client.endpoints import System
from ytarchive.client.rest import Rest
from ytarchive.stack import Stack

_PAGE = 500  # jobs


class OneShot:
    """One `download` (or `jobs retry`, `jobs resume`) command. `run` is called once."""

    def __init__(self, config: Config, errand: Errand, display: Display) -> None:
        self._config = config
        self._errand = errand
        self._published = False
        self._paused = False  # the job that is there already: who orders it anew wants it to go on
        self._display = display
        self._picture: Picture | None = None  # survives a take-over
        self._attached = False
        self._stack: Stack | None = None  # our own
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
                job = await self._interruption.unless(self._work(system))
                if system.own and self._stack:
                    await self._interruption.unless(self._stack.drain())
                return job
            except (ServiceUnavailable, BusError) as error:
                if await still_there(system, self._config):
                    raise
                raise StackGone from error

    # --- a system to work with

    async def _reach(self, held: AsyncExitStack) -> System:
        extra = [self._errand.extra_root] if self._errand.extra_root else []
        return await reach(self._config, held, extra_roots=extra, became=self._became)

    def _became(self, stack: Stack) -> None:
        self._interruption.on_second = lambda: self._abandon(stack)
        self._stack = stack

    def _say_stopping(self) -> None:
        if not self._attached:
            self._display.say("Stopping; what was fetched is kept. (Once more ends at once.)")

    def _abandon(self, stack: Stack) -> None:
        self._display.__exit__(None, None, None)  # the terminal gets its cursor back
        stack.abandon()

    # --- the job

    async def _work(self, system: System) -> Job:
        async with connected(system) as bus, Rest.open(system.services["jobs"]) as jobs:
            if self._picture is None:
                self._picture = await self._find_or_make(jobs, system)
            picture = self._picture
            follower = Follower(bus, jobs, picture, self._display, lambda: self._there(system))

            async def begin() -> None:
                """Known already: then it is only un-parked."""
                key = self._config.youtube.api_key
                if key and not system.own:  # a stack of others may have none, or another
                    await credentials.offer(bus, picture.job_id, key.get_secret_value(), picture.trace_id)
                event = self._errand.event(picture.job_id, again=self._published)
                await bus.publish(event, trace_id=picture.trace_id)
                if self._paused:
                    await bus.publish(JobResumeRequested(job_id=picture.job_id), trace_id=picture.trace_id)
                    self._paused = False
                self._published = True

            job = await follower.run(begin)
            with suppress(YTArchiveError):  # a stack that goes away just now: the counts are known
                self._tally = await tally(jobs, job.job_id)
            return job

    async def _find_or_make(self, jobs: Rest, system: System) -> Picture:
        open_jobs = await _open_jobs(jobs)
        mine = self._errand.known(open_jobs)
        others = sum(1 for job in open_jobs if mine is None or job.job_id != mine.job_id)
        if others and system.own:
            parked = f"{count(others, 'other open job')} of earlier runs {'stays' if others == 1 else 'stay'} parked"
            self._display.say(f"{parked}: `ytarchive jobs list` shows what, `ytarchive up` does them all.")
        if mine is not None:
            self._paused = any(job.paused for job in open_jobs if job.job_id == mine.job_id)
            self._display.say(f"Going on with job {mine.job_id}{', which was paused' * self._paused}.")
            return mine
        return Picture(str(uuid4()), str(uuid4()))

    async def _there(self, system: System) -> bool:
        """Raises ServiceUnavailable when our own stack lost a part that it needs: nothing would ever end the wait."""
        if system.own:
            self._look_after_own()
        return await still_there(system, self._config)

    def _look_after_own(self) -> None:
        for service in self._stack.services.values() if self._stack else ():
            if lost := service.lost_causes():
                raise ServiceUnavailable(f"The {service.name} service cannot go on: {lost[0]}")

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


async def _open_jobs(jobs: Rest) -> list[Job]:
    found: list[Job] = []
    while True:
        data = await jobs.get("jobs", status="open", limit=_PAGE, offset=len(found))
        found += [Job.model_validate(job) for job in data["jobs"]]
        if not data["jobs"] or len(found) >= data["total"]:
            return found
