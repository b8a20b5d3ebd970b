"""Run one job from start to end: attach to the running stack or run one in this process, start the job, follow it,
stop."""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from bus import BusError
from bus.message import Event
from services.common import credentials
from services.common.domain.jobs import Job
from services.common.errors import ServiceUnavailable, YTArchiveError
from services.common.events import JobResumeRequested
from services.common.settings.load import Config
from ytarchive.cli.jobs.exit_codes import Exit, exit_code
from ytarchive.cli.jobs.job_state import JobState
from ytarchive.cli.jobs.result import ItemTotals, RunResult
from ytarchive.cli.render.displays import Display
from ytarchive.cli.terminal.interruption import Interrupted, Interruption
from ytarchive.cli.workflows.follow import Follower, StackGone, count_items
from ytarchive.client.connect import connected, reach, still_there
from ytarchive.client.endpoints import System
from ytarchive.client.job_commands import JobCommand
from ytarchive.client.jobs import JobsClient, open_running_jobs
from ytarchive.planning.job_request import JobRequest
from ytarchive.text import count

if TYPE_CHECKING:
    from ytarchive.stack import Stack


class JobTask(Protocol):
    """What a one-shot does: create a job, or continue an existing one."""

    @property
    def extra_root(self) -> Path | None:
        """An archive root that is not configured, for a stack in this process."""

    def existing(self, open_jobs: Sequence[Job]) -> JobState | None:
        """Return the job if it exists already."""

    def event(self, job_id: str, *, again: bool) -> Event:
        """Return the event that starts the job or continues it. `again`: it was published before, to a stack that has
        ended."""


@dataclass(frozen=True)
class NewJob:
    """The task of `download`. An open job of the same command is continued."""

    request: JobRequest

    @property
    def extra_root(self) -> Path | None:
        return self.request.extra_root

    def existing(self, open_jobs: Sequence[Job]) -> JobState | None:
        job = next((job for job in open_jobs if self.request.matches(job)), None)
        return JobState(job.job_id, job.trace_id, since=job.revision) if job else None

    def event(self, job_id: str, *, again: bool) -> Event:
        """For an existing job the event ends its parking, and lists again what may have been added since."""
        return self.request.event(job_id)


@dataclass(frozen=True)
class ContinuedJob:
    """The task of `jobs retry` and `jobs resume` without a permanent stack. `sent`: the command was already applied."""

    command: JobCommand
    extra_root: Path | None
    sent: bool = False

    def existing(self, open_jobs: Sequence[Job]) -> JobState:
        job = self.command.job
        return JobState(job.job_id, job.trace_id, since=job.revision if job.status.ended else -1)

    def event(self, job_id: str, *, again: bool) -> Event:
        """A retry that was applied is only resumed."""
        return JobResumeRequested(job_id=job_id) if again or self.sent else self.command.event()


class OneShot:
    """One `download`, `jobs retry` or `jobs resume` command. `run` is called once."""

    def __init__(self, config: Config, task: JobTask, display: Display) -> None:
        self._config = config
        self._task = task
        self._published = False
        self._resume = False  # the existing job is paused
        self._display = display
        self._state: JobState | None = None  # kept when another stack is taken over
        self._attached = False
        self._stack: Stack | None = None  # in this process
        self._totals = ItemTotals()
        self._begun = time.monotonic()
        self._interruption = Interruption()

    async def run(self) -> RunResult:
        """Run until the job has ended, is parked, or the user interrupts. Raise YTArchiveError, BusError."""
        with self._interruption as interruption, self._display:
            interruption.on_first = self._notify_stopping
            try:
                while True:
                    try:
                        job = await self._once()
                        return self._result(exit_code(job), job)
                    except StackGone:
                        self._display.notify(self._taking_over())
            except Interrupted:
                return self._result(Exit.INTERRUPTED, self._state.job if self._state else None)

    def _taking_over(self) -> str:
        if self._config.nats.url is not None:
            return "The jobs service does not answer any more; the job stays in its queue."
        return "The stack that worked on the job has ended: taking over."

    async def _once(self) -> Job:
        async with AsyncExitStack() as resources:
            system = await self._interruption.unless(self._reach(resources))
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

    # --- the system

    async def _reach(self, resources: AsyncExitStack) -> System:
        extra = [self._task.extra_root] if self._task.extra_root else []
        notify = self._display.notify
        return await reach(
            self._config,
            resources,
            extra_roots=extra,
            on_own_stack=self._use_own_stack,
            notify=notify,
            downloads=True,
        )

    def _use_own_stack(self, stack: "Stack") -> None:
        self._interruption.on_second = lambda: self._abandon(stack)
        self._stack = stack

    def _notify_stopping(self) -> None:
        if not self._attached:
            self._display.notify("Stopping; downloaded data is kept. (Press Ctrl-C again to end at once.)")

    def _abandon(self, stack: "Stack") -> None:
        self._display.__exit__(None, None, None)  # restores the cursor of the terminal
        stack.abandon()

    # --- the job

    async def _work(self, system: System) -> Job:
        async with connected(system) as bus, open_running_jobs(system) as (jobs, rest_jobs):
            if self._state is None:
                self._state = await self._find_or_create(jobs, system)
                if system.page is not None:
                    self._display.notify(f"On the page: {system.page}/j/{self._state.job_id}")
            state = self._state

            async def begin() -> None:
                key = self._config.youtube.api_key
                if key and not system.own:  # another process's stack may have no key, or another one
                    await credentials.offer(bus, state.job_id, key.get_secret_value(), state.trace_id)
                event = self._task.event(state.job_id, again=self._published)
                await bus.publish(event, trace_id=state.trace_id)
                if self._resume:
                    await bus.publish(JobResumeRequested(job_id=state.job_id), trace_id=state.trace_id)
                    self._resume = False
                self._published = True

            follower = Follower(bus, rest_jobs, state, self._display, lambda: self._still_there(system))
            job = await follower.run(begin)
            with suppress(YTArchiveError):  # the stack ends just now: the job's own counts are known
                self._totals = await count_items(jobs, job.job_id)
            return job

    async def _find_or_create(self, jobs: JobsClient, system: System) -> JobState:
        open_jobs = await jobs.open_jobs()
        existing = self._task.existing(open_jobs)
        others = sum(1 for job in open_jobs if existing is None or job.job_id != existing.job_id)
        if others and system.own:
            parked = f"{count(others, 'other open job')} of earlier runs {'stays' if others == 1 else 'stay'} parked"
            self._display.notify(f"{parked}: `ytarchive jobs list` shows them, `ytarchive up` runs them all.")
        if existing is not None:
            self._resume = any(job.paused for job in open_jobs if job.job_id == existing.job_id)
            self._display.notify(f"Continuing job {existing.job_id}{', which was paused' * self._resume}.")
            return existing
        return JobState(str(uuid4()), str(uuid4()))

    async def _still_there(self, system: System) -> bool:
        """Raise ServiceUnavailable when a service of our own stack cannot continue: the job would never end."""
        if system.own:
            self._check_own_stack()
        return await still_there(system, self._config)

    def _check_own_stack(self) -> None:
        for service in self._stack.services.values() if self._stack else ():
            if errors := service.lost_causes():
                raise ServiceUnavailable(f"The {service.name} service cannot continue: {errors[0]}")

    def _result(self, exit: Exit, job: Job | None) -> RunResult:
        return RunResult(exit, job, time.monotonic() - self._begun, self._totals, self._attached)
