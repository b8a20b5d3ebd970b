"""A change of mind about a job: which wish can be fulfilled (pure), how it is sent, and what came of it."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bus import BusError
from bus.message import Event
from services.common import events as e
from services.common.errors import InvalidRequest, NotFound, ServiceUnavailable
from services.common.models import Item, ItemStatus, Job, JobStatus
from services.common.settings.load import Config
from services.common.targets import parse_target
from ytarchive.cli.exits import rejected
from ytarchive.cli.render.text import safe_text, short_id
from ytarchive.cli.running.job_state import Picture
from ytarchive.client.connect import connected, reach, still_there
from ytarchive.client.endpoints import System
from ytarchive.client.jobs import JobSource, RunningJobs, all_items, open_jobs
from ytarchive.client.rest import Rest
from ytarchive.stack import Stack

_APPLIED = 10.0  # seconds until jobs has taken a wish in
_STOPPED = 30.0  # seconds until what runs of a cancelled job has stopped
_LOOK = 0.1


class Kind(StrEnum):
    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"


_EVENTS: dict[Kind, type[e.JobCancelRequested | e.JobPauseRequested | e.JobResumeRequested | e.JobRetryRequested]] = {
    Kind.CANCEL: e.JobCancelRequested,
    Kind.PAUSE: e.JobPauseRequested,
    Kind.RESUME: e.JobResumeRequested,
    Kind.RETRY: e.JobRetryRequested,
}


@dataclass(frozen=True)
class Wish:
    """`job` is as it was before. `video_id` only with CANCEL: just that video."""

    kind: Kind
    job: Job
    video_id: str | None = None

    def event(self) -> Event:
        if self.video_id is not None:
            return e.JobCancelRequested(job_id=self.job.job_id, video_id=self.video_id)
        return _EVENTS[self.kind](job_id=self.job.job_id)


@dataclass(frozen=True)
class Outcome:
    """`job` (and `item`, of a wish about one video) after the wish was applied. `complete`: nothing is pending."""

    job: Job
    item: Item | None = None
    complete: bool = True


@dataclass(frozen=True)
class GoOn:
    """The errand of `jobs retry` and `jobs resume` where nothing runs."""

    wish: Wish
    extra_root: Path | None

    def known(self, open_jobs: Sequence[Job]) -> Picture:
        job = self.wish.job
        return Picture(job.job_id, job.trace_id, since=job.revision if job.status.ended else -1)

    def event(self, job_id: str, *, again: bool) -> Event:
        """A retry that was begun is only gone on with."""
        return e.JobResumeRequested(job_id=job_id) if again else self.wish.event()


# --- what can be wished for ---------------------------------------------------------------------------------------


def check(kind: Kind, job: Job) -> None:
    """Raises InvalidRequest where the wish makes no sense for the job as it is, saying what does."""
    short = short_id(job.job_id)
    if kind is not Kind.RETRY and job.status.ended:
        remedy = f" `ytarchive jobs retry {short}` tries its gaps again." if has_gaps(job) and not rejected(job) else ""
        raise InvalidRequest(
            f"Job {short} has ended ({job.status}): there is nothing to {kind}.{remedy}", status=job.status
        )
    if kind is Kind.RETRY and not job.status.ended:
        raise InvalidRequest(
            f"Job {short} has not ended ({job.status}): only an ended job is tried again."
            f" `ytarchive jobs resume {short}` goes on with it, `ytarchive jobs watch {short}` follows it.",
            status=job.status,
        )
    if kind is Kind.RETRY and rejected(job):
        raise InvalidRequest(
            f"Job {short} was rejected, and nothing of it was begun: order it anew with `ytarchive download`.\n"
            f"{job.error.message if job.error else ''}".rstrip()
        )


def has_gaps(job: Job) -> bool:
    """Is there something that a retry of this ended job would do?"""
    counts = job.counts
    incomplete = job.status in {JobStatus.FAILED, JobStatus.CANCELLED} or job.error is not None
    return incomplete or counts.unavailable + counts.failed + counts.cancelled > 0


def checked_item(items: Sequence[Item], video: str) -> Item:
    """The open item that `--video` names, by id or URL. Raises InvalidRequest, NotFound."""
    wanted = parse_target(video).id
    item = next((item for item in items if item.video_id == wanted), None)
    if item is None:
        raise NotFound(f"--video {safe_text(video)}: the job has no such video. `ytarchive jobs show` lists them.")
    if not item.status.open:
        raise InvalidRequest(f"--video {item.video_id}: it has ended ({item.status}): there is nothing to cancel.")
    return item


def root_beyond(job: Job, config: Config) -> Path | None:
    """The job's archive root if the configuration does not name it: it came with `--output-dir`."""
    if not job.root or any(Path(job.root).is_relative_to(root.resolve()) for root in config.storage.all_roots):
        return None
    return Path(job.root)


# --- sending it ---------------------------------------------------------------------------------------------------


async def fulfil(config: Config, wish: Wish, held: AsyncExitStack) -> Outcome:
    """By the system that runs, else by a stack that runs just for this and ends with `held`.

    Raises ServiceUnavailable when jobs does not take it in.
    """
    extra = root_beyond(wish.job, config)
    own: list[Stack] = []
    while True:
        system = await reach(config, held, extra_roots=[extra] if extra else [], became=own.append)
        try:
            outcome = await _send(system, wish)
            if system.own and own:
                await own[-1].drain()  # a worker hears that its partial may go
            return outcome
        except (ServiceUnavailable, BusError):
            if await still_there(system, config):
                raise
        async with open_jobs(config) as source:  # a one-shot ends with its job: what came of it is in jobs.db
            outcome, taken = await _look(source, wish)
        if taken and outcome.complete:
            return outcome


async def _send(system: System, wish: Wish) -> Outcome:
    """Publish it, and look over REST until it is done."""
    async with connected(system) as bus, Rest.open(system.services["jobs"]) as rest:
        source = RunningJobs(rest)
        await bus.publish(wish.event(), trace_id=wish.job.trace_id)
        begun = time.monotonic()
        while True:
            outcome, taken = await _look(source, wish)
            passed = time.monotonic() - begun
            if outcome.complete or (taken and passed > _STOPPED):
                return outcome
            if not taken and passed > _APPLIED:
                raise ServiceUnavailable(
                    f"The wish is on the bus, but the jobs service has not taken it in within {_APPLIED:g} s:"
                    " `ytarchive health` tells how it is. It will be done once the service is well."
                )
            await asyncio.sleep(_LOOK)


async def _look(source: JobSource, wish: Wish) -> tuple[Outcome, bool]:
    """How it stands, and whether jobs has taken the wish in."""
    job = await source.job(wish.job.job_id)
    item: Item | None = None
    if wish.video_id is not None:
        found = await all_items(source, wish.job.job_id)
        item = next((item for item in found if item.video_id == wish.video_id), None)
    taken, complete = progress(wish, job, item)
    return Outcome(job, item, complete), taken


def progress(wish: Wish, job: Job, item: Item | None) -> tuple[bool, bool]:
    """(jobs has taken it in, nothing is pending any more)."""
    newer = job.revision > wish.job.revision
    match wish.kind:
        case Kind.PAUSE:
            return (job.paused or job.status.ended,) * 2
        case Kind.RESUME:
            return (not job.paused,) * 2
        case Kind.RETRY:
            return (newer,) * 2
        case Kind.CANCEL if item is not None:
            return newer or not item.status.open, not item.status.open
        case Kind.CANCEL:
            return job.cancelling or job.status.ended, job.status.ended


# --- in words -----------------------------------------------------------------------------------------------------


def told(wish: Wish, outcome: Outcome) -> str:
    short = short_id(outcome.job.job_id)
    if outcome.item is not None:
        return _told_video(outcome.item, outcome.complete)
    job = outcome.job
    match wish.kind:
        case Kind.CANCEL if not outcome.complete:
            return f"Job {short} is being cancelled; what runs of it has not stopped yet."
        case Kind.CANCEL if job.status is JobStatus.CANCELLED:
            return f"Job {short} is cancelled. What was complete is archived. `ytarchive jobs retry {short}` undoes it."
        case Kind.PAUSE if not job.status.ended:
            return f"Job {short} is paused; what runs of it ends. `ytarchive jobs resume {short}` goes on with it."
        case Kind.CANCEL | Kind.PAUSE:
            return f"Job {short} had ended ({job.status}) before the wish came."
        case Kind.RESUME:
            return f"Job {short} goes on. `ytarchive jobs watch {short}` follows it."
        case Kind.RETRY:
            return f"The gaps of job {short} are tried again. `ytarchive jobs watch {short}` follows it."


def _told_video(item: Item, complete: bool) -> str:
    if not complete:
        return f"Video {item.video_id} is being cancelled; its download has not stopped yet."
    if item.status is ItemStatus.CANCELLED:
        return f"Video {item.video_id} is cancelled."
    return f"Video {item.video_id} had ended ({item.status}) before the wish came."
