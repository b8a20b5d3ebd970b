"""`ytarchive jobs watch`: follows a job that others work on. Never becomes the stack."""

import time
from contextlib import suppress

from bus import BusError
from services.common.errors import ServiceUnavailable, YTArchiveError
from services.common.models import Job
from services.common.settings.load import Config
from ytarchive.cli.exits import Exit, exit_code
from ytarchive.cli.render.displays import Display
from ytarchive.cli.render.text import short_id
from ytarchive.cli.running.follow import Follower, StackGone, tally
from ytarchive.cli.running.interruption import Interrupted, Interruption
from ytarchive.cli.running.job_state import Picture
from ytarchive.cli.running.result import Result, Tally
from ytarchive.client.connect import connected, still_there
from ytarchive.client.endpoints import System, find_system
from ytarchive.client.jobs import StoppedJobs, all_items, find_job, open_jobs
from ytarchive.client.rest import Rest


class Watch:
    """One `jobs watch` command. `run` is called once."""

    def __init__(self, config: Config, wanted: str, display: Display) -> None:
        self._config = config
        self._wanted = wanted
        self._display = display
        self._begun = time.monotonic()
        self._picture: Picture | None = None

    async def run(self) -> Result:
        """Until the job ended, only far timers are left, or the user has seen enough.

        Raises NotFound, InvalidRequest, ServiceUnavailable (an open job that nobody works on).
        """
        with Interruption() as interruption, self._display:
            try:
                return await interruption.unless(self._watch())
            except Interrupted:
                return self._result(Exit.INTERRUPTED, self._picture.job if self._picture else None, Tally())

    async def _watch(self) -> Result:
        system = await find_system(self._config)
        if system is None:
            return await self._look()
        async with open_jobs(self._config) as source:
            job = await find_job(source, self._wanted)
        self._picture = Picture(job.job_id, job.trace_id, job=job)
        if job.paused:
            self._display.say(
                f"Job {short_id(job.job_id)} is paused: `ytarchive jobs resume {short_id(job.job_id)}` goes on."
            )
        try:
            return await self._follow(system, self._picture)
        except StackGone:
            raise _stopped(self._config, job) from None
        except (ServiceUnavailable, BusError) as error:
            if await still_there(system, self._config):
                raise
            raise _stopped(self._config, job) from error

    async def _follow(self, system: System, picture: Picture) -> Result:
        async with connected(system) as bus, Rest.open(system.services["jobs"]) as jobs:
            follower = Follower(bus, jobs, picture, self._display, lambda: still_there(system, self._config))
            job = await follower.run(_nothing)
            counted = Tally()
            with suppress(YTArchiveError):  # a stack that goes away just now: the counts are known
                counted = await tally(jobs, job.job_id)
            return self._result(exit_code(job), job, counted)

    async def _look(self) -> Result:
        """Where nothing runs, only the end of a job can be seen."""
        async with open_jobs(self._config) as source:
            job = await find_job(source, self._wanted)
            if not job.status.ended and isinstance(source, StoppedJobs):
                raise _stopped(self._config, job)
            counted = Tally()
            counted.add(await all_items(source, job.job_id))
        return self._result(exit_code(job), job, counted)

    def _result(self, exit: Exit, job: Job | None, counted: Tally) -> Result:
        return Result(
            exit=exit,
            job=job,
            seconds=time.monotonic() - self._begun,
            saved=counted.saved,
            bytes=counted.bytes,
            unavailable=tuple(counted.unavailable),
            failed=tuple(counted.failed),
            waiting=tuple(counted.waiting),
            attached=True,
        )


async def _nothing() -> None:
    """Whoever only watches begins nothing."""


def _stopped(config: Config, job: Job) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"Nothing runs on {config.storage.base_data_dir}, so nobody works on job {short_id(job.job_id)}."
        f" `ytarchive jobs resume {short_id(job.job_id)}` goes on with it, `ytarchive up` does all."
    )
