"""`ytarchive jobs watch`: follow a job that another process runs, without running a stack."""

import time
from contextlib import suppress

from bus import BusError
from services.common.domain.jobs import Job
from services.common.errors import ServiceUnavailable, YTArchiveError
from services.common.settings.load import Config
from ytarchive.cli.jobs.exit_codes import Exit, exit_code
from ytarchive.cli.jobs.job_state import JobState
from ytarchive.cli.jobs.result import ItemTotals, RunResult
from ytarchive.cli.render.displays import Display
from ytarchive.cli.terminal.interruption import Interrupted, Interruption
from ytarchive.cli.workflows.follow import Follower, StackGone, count_items
from ytarchive.client.connect import connected, still_there
from ytarchive.client.endpoints import System, find_system
from ytarchive.client.jobs import open_jobs, open_running_jobs
from ytarchive.text import short_id


class Watch:
    """One `jobs watch` command. `run` is called once."""

    def __init__(self, config: Config, id_or_prefix: str, display: Display) -> None:
        self._config = config
        self._id_or_prefix = id_or_prefix
        self._display = display
        self._begun = time.monotonic()
        self._state: JobState | None = None

    async def run(self) -> RunResult:
        """Follow until the job has ended, is parked, or the user interrupts.

        Raise NotFound, InvalidRequest, ServiceUnavailable (an open job that no stack works on).
        """
        with Interruption() as interruption, self._display:
            try:
                return await interruption.unless(self._watch())
            except Interrupted:
                return self._result(Exit.INTERRUPTED, self._state.job if self._state else None, ItemTotals())

    async def _watch(self) -> RunResult:
        system = await find_system(self._config)
        if system is None:
            return await self._show_ended()
        async with open_jobs(self._config) as jobs:
            job = await jobs.find(self._id_or_prefix)
        self._state = JobState(job.job_id, job.trace_id, job=job)
        if job.paused:
            short = short_id(job.job_id)
            self._display.notify(f"Job {short} is paused: `ytarchive jobs resume {short}` continues it.")
        try:
            return await self._follow(system, self._state)
        except StackGone:
            raise _not_running(self._config, job) from None
        except (ServiceUnavailable, BusError) as error:
            if await still_there(system, self._config):
                raise
            raise _not_running(self._config, job) from error

    async def _follow(self, system: System, state: JobState) -> RunResult:
        async with connected(system) as bus, open_running_jobs(system) as (jobs, rest_jobs):
            follower = Follower(bus, rest_jobs, state, self._display, lambda: still_there(system, self._config))
            job = await follower.run(_begin_nothing)
            totals = ItemTotals()
            with suppress(YTArchiveError):  # the stack ends just now: the job's own counts are known
                totals = await count_items(jobs, job.job_id)
            return self._result(exit_code(job), job, totals)

    async def _show_ended(self) -> RunResult:
        """Without a running system, return the result of an ended job."""
        async with open_jobs(self._config) as jobs:
            job = await jobs.find(self._id_or_prefix)
            if not job.status.ended and not jobs.running:
                raise _not_running(self._config, job)
            totals = await count_items(jobs, job.job_id)
        return self._result(exit_code(job), job, totals)

    def _result(self, exit: Exit, job: Job | None, totals: ItemTotals) -> RunResult:
        return RunResult(exit, job, time.monotonic() - self._begun, totals, attached=True)


async def _begin_nothing() -> None:
    pass


def _not_running(config: Config, job: Job) -> ServiceUnavailable:
    short = short_id(job.job_id)
    return ServiceUnavailable(
        f"No services run on {config.storage.base_data_dir}, so job {short} does not continue."
        f" `ytarchive jobs resume {short}` continues it, `ytarchive up` continues all jobs."
    )
