"""Commands of users for one job: cancel, pause, resume, retry.

The jobs service decides whether a command is valid for the state of its job.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from bus import BusError
from services.common import events as e
from services.common.domain.jobs import Item, Job
from services.common.errors import InvalidRequest, ServiceUnavailable
from services.common.settings.load import Config
from services.jobs.offline import OfflineJobs
from ytarchive.client import sse
from ytarchive.client.connect import reach, still_there
from ytarchive.client.endpoints import System
from ytarchive.client.jobs import JobsClient, RestJobs, open_jobs

if TYPE_CHECKING:
    from ytarchive.stack import Stack

_STOPPED_WITHIN = 30.0  # seconds for the running downloads of a cancelled job


class JobCommandKind(StrEnum):
    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"


CommandEvent = e.JobCancelRequested | e.JobPauseRequested | e.JobResumeRequested | e.JobRetryRequested
_EVENTS: dict[JobCommandKind, type[CommandEvent]] = {
    JobCommandKind.CANCEL: e.JobCancelRequested,
    JobCommandKind.PAUSE: e.JobPauseRequested,
    JobCommandKind.RESUME: e.JobResumeRequested,
    JobCommandKind.RETRY: e.JobRetryRequested,
}


@dataclass(frozen=True)
class JobCommand:
    """`job` is its state before the command. `video_id`, with CANCEL only, limits the command to one video."""

    kind: JobCommandKind
    job: Job
    video_id: str | None = None

    @property
    def continues_job(self) -> bool:
        return self.kind in {JobCommandKind.RESUME, JobCommandKind.RETRY}

    def event(self) -> CommandEvent:
        if self.video_id is not None:
            return e.JobCancelRequested(job_id=self.job.job_id, video_id=self.video_id)
        return _EVENTS[self.kind](job_id=self.job.job_id)


@dataclass(frozen=True)
class CommandOutcome:
    """`job`, and `item` of a command for one video, after the command was applied. `complete`: nothing is pending."""

    job: Job
    item: Item | None = None
    complete: bool = True


async def check_offline(config: Config, command: JobCommand) -> None:
    """Raise NotFound or InvalidRequest when the command would have no effect. For when no system runs: a running jobs
    service checks the command that it receives."""
    async with OfflineJobs.open(config) as jobs:
        await jobs.check(command.event())


async def send_command(
    config: Config, command: JobCommand, resources: AsyncExitStack, notify: Callable[[str], None]
) -> CommandOutcome:
    """Send a command to the running system, else to a temporary stack, which ends with `resources`.

    Return when it is applied; a cancellation also waits up to 30 s for running downloads to stop. `notify` gets what is
    waited for. Raise InvalidRequest and NotFound when the jobs service rejects the command, ServiceUnavailable when it
    does not answer.
    """
    extra = root_outside_configuration(command.job, config)
    own: list[Stack] = []
    repeated = False
    while True:
        system = await reach(
            config, resources, extra_roots=[extra] if extra else [], on_own_stack=own.append, notify=notify
        )
        try:
            outcome = await _send(system, command, repeated=repeated)
            if system.own and own:
                await own[-1].drain()  # a worker still has to remove its partial
            return outcome
        except (ServiceUnavailable, BusError):
            if await still_there(system, config):
                raise
        repeated = True
        async with open_jobs(config) as jobs:  # a one-shot ends with its job: the outcome is in jobs.db
            outcome, applied = await _state(jobs, command)
        if applied and outcome.complete:
            return outcome


async def _send(system: System, command: JobCommand, *, repeated: bool) -> CommandOutcome:
    async with system.rest("jobs") as rest:
        jobs = JobsClient(RestJobs(rest), running=True)
        body = {"video_id": command.video_id} if command.video_id is not None else {}
        try:
            await rest.send("POST", f"jobs/{command.job.job_id}/{command.kind}", body)
        except InvalidRequest:
            if not repeated:  # else the stack that ended had already applied it
                raise
        outcome, _applied = await _state(jobs, command)
        if outcome.complete:
            return outcome
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOPPED_WITHIN):
                return await _until_stopped(system, command, outcome)
        outcome, _applied = await _state(jobs, command)
        return outcome


async def _until_stopped(system: System, command: JobCommand, outcome: CommandOutcome) -> CommandOutcome:
    """Follow a job until what was cancelled has ended. Raise ServiceUnavailable when the stream is lost."""
    job, item = outcome.job, outcome.item
    try:
        events = system.stream("jobs", f"jobs/{job.job_id}/events", last_event_id=command.job.revision)
        async with aclosing(events):
            async for name, data in events:
                if name in {"snapshot", "job", "end"}:
                    job = Job.model_validate(data)
                elif name == "items":
                    changed = [Item.model_validate(one) for one in data["items"] if one["video_id"] == command.video_id]
                    item = changed[-1] if changed else item
                _applied, complete = command_state(command, job, item)
                if complete:
                    return CommandOutcome(job, item)
    except sse.StreamLost as lost:
        raise ServiceUnavailable("The jobs service ended the connection.") from lost
    raise ServiceUnavailable("The jobs service ended the connection.")


async def _state(jobs: JobsClient, command: JobCommand) -> tuple[CommandOutcome, bool]:
    """Return the current state of the job, and whether the command was applied."""
    job = await jobs.job(command.job.job_id)
    item = await jobs.item(job.job_id, command.video_id) if command.video_id is not None else None
    applied, complete = command_state(command, job, item)
    return CommandOutcome(job, item, complete), applied


def command_state(command: JobCommand, job: Job, item: Item | None) -> tuple[bool, bool]:
    """Return whether the command was applied, and whether nothing of it is pending any more."""
    newer = job.revision > command.job.revision
    match command.kind:
        case JobCommandKind.PAUSE:
            return (job.paused or job.status.ended,) * 2
        case JobCommandKind.RESUME:
            return (not job.paused,) * 2
        case JobCommandKind.RETRY:
            return (newer,) * 2
        case JobCommandKind.CANCEL if item is not None:
            return newer or not item.status.open, not item.status.open
        case JobCommandKind.CANCEL:
            return job.cancelling or job.status.ended, job.status.ended


def root_outside_configuration(job: Job, config: Config) -> Path | None:
    """Return the job's archive root when the configuration does not name it: it came with `--output-dir`."""
    if not job.root or any(Path(job.root).is_relative_to(root.resolve()) for root in config.storage.all_roots):
        return None
    return Path(job.root)
