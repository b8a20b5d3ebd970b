"""REST of jobs: create, list, show, and follow (SSE)."""

import re
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from aiohttp import web
from aiohttp_sse import sse_response
from pydantic import BaseModel, ConfigDict, Field

from services.common.errors import NotFound
from services.common.events import (
    JOB_ID_PATTERN,
    JobCancelRequested,
    JobCreated,
    JobPauseRequested,
    JobResumeRequested,
    JobRetryRequested,
    RawTarget,
    VideoId,
)
from services.common.http import Call, Route
from services.common.models import Item, ItemStatus, Job, JobOptions, JobStatus, JobType, Progress

if TYPE_CHECKING:
    from services.jobs.service import JobsService

_KEEP_ALIVE = 10  # seconds between two signs of life of a stream
_PAGE = 1000  # items in one SSE message
_LONG = 20  # digits: no revision of ours, and no number of SQLite's


class NewJob(BaseModel):
    """What POST /jobs takes. `job_id` may be chosen by the sender: the same again gives the same job."""

    model_config = ConfigDict(extra="forbid")

    targets: list[RawTarget] = Field(min_length=1, max_length=20_000)
    type: JobType = JobType.PLAYLIST_DOWNLOAD
    options: JobOptions = Field(default_factory=JobOptions)
    priority: int = Field(default=0, ge=-100, le=100)
    job_id: str | None = Field(default=None, pattern=JOB_ID_PATTERN)


class CancelBody(BaseModel):
    """`video_id` unset: the whole job."""

    model_config = ConfigDict(extra="forbid")

    video_id: VideoId | None = None


class JobQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    status: JobStatus | Literal["open"] | None = None
    limit: int = Field(default=50, ge=1, le=500)
    offset: int = Field(default=0, ge=0, le=10**9)


class ItemQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=1000)
    offset: int = Field(default=0, ge=0, le=10**9)


class JobList(BaseModel):
    jobs: list[Job]
    total: int
    limit: int
    offset: int


class ItemList(BaseModel):
    items: list[Item]
    total: int
    limit: int
    offset: int


class JobDetail(BaseModel):
    """A job, its first items, and what is being downloaded of it now (by video_id)."""

    job: Job
    items: list[Item]
    running: dict[str, Progress]


class JobsApi:
    """The handlers of the routes below."""

    def __init__(self, jobs: "JobsService") -> None:
        self._jobs = jobs

    async def create(self, call: Call, body: NewJob) -> Job:
        job_id = body.job_id or str(uuid4())
        if body.options.api_key:
            await self._jobs.hand_over(job_id, body.options.api_key, call.trace_id)
        event = JobCreated(
            job_id=job_id,
            type=body.type,
            targets=tuple(body.targets),
            options=body.options.model_copy(update={"api_key": None}),
            priority=body.priority,
        )
        return await self._jobs.submit(event, call.trace_id)

    async def show_many(self, _call: Call, query: JobQuery) -> JobList:
        match query.status:
            case None:
                wanted: Sequence[str] = []
            case "open":
                wanted = [status for status in JobStatus if not status.ended]
            case status:
                wanted = [status]
        found, total = await self._jobs.store.jobs(wanted, query.limit, query.offset)
        return JobList(jobs=found, total=total, limit=query.limit, offset=query.offset)

    async def show(self, call: Call) -> JobDetail:
        job = await self._job(call)
        items, _total = await self._jobs.store.items(job.job_id, _PAGE, 0)
        running = self._jobs.live.of(await self._jobs.store.running(job.job_id))
        return JobDetail(job=job, items=items, running={video: event.progress for video, event in running.items()})

    async def items(self, call: Call, query: ItemQuery) -> ItemList:
        job = await self._job(call)
        items, total = await self._jobs.store.items(job.job_id, query.limit, query.offset)
        return ItemList(items=items, total=total, limit=query.limit, offset=query.offset)

    async def cancel(self, call: Call, body: CancelBody) -> Job:
        return await self._jobs.wish(JobCancelRequested(job_id=_job_id(call), video_id=body.video_id))

    async def pause(self, call: Call) -> Job:
        return await self._jobs.wish(JobPauseRequested(job_id=_job_id(call)))

    async def resume(self, call: Call) -> Job:
        return await self._jobs.wish(JobResumeRequested(job_id=_job_id(call)))

    async def retry(self, call: Call) -> Job:
        return await self._jobs.wish(JobRetryRequested(job_id=_job_id(call)))

    async def follow(self, call: Call) -> web.StreamResponse:
        job = await self._job(call)
        last = call.raw.headers.get("Last-Event-ID", "")
        seen = int(last) if last.isdecimal() and len(last) < _LONG else None
        async with sse_response(call.raw, ping_interval=_KEEP_ALIVE) as stream:
            async for name, data, revision in _story(self._jobs, call, job, seen):
                await stream.send(data.model_dump_json(), event=name, id=str(revision))
                if not stream.is_connected():
                    break
        return stream

    async def _job(self, call: Call) -> Job:
        job_id = _job_id(call)
        job = await self._jobs.store.job(job_id)
        if job is None:
            raise NotFound(f"There is no job {job_id}: GET /api/v1/jobs lists them.", job_id=job_id)
        return job


def routes(jobs: "JobsService") -> Sequence[Route]:
    api = JobsApi(jobs)
    many, one = "/api/v1/jobs", "/api/v1/jobs/{job_id}"
    found = [
        Route("POST", many, api.create, "Create a job", body=NewJob, response=Job, status=201, needs_bus=True),
        Route("GET", many, api.show_many, "List jobs, the newest first", query=JobQuery, response=JobList),
        Route("GET", one, api.show, "A job with its items and its progress", response=JobDetail),
        Route("GET", f"{one}/items", api.items, "The items of a job", query=ItemQuery, response=ItemList),
        Route("GET", f"{one}/events", api.follow, "Follow a job: a snapshot, then live (SSE)", streams=True),
    ]
    wish = partial(Route, response=Job, needs_bus=True)
    for method in ("PUT", "POST"):
        found += [
            wish(method, f"{one}/cancel", api.cancel, "Stop a job, or one video of it", body=CancelBody),
            wish(method, f"{one}/pause", api.pause, "Begin nothing more of a job"),
            wish(method, f"{one}/resume", api.resume, "Go on with a paused or parked job"),
            wish(method, f"{one}/retry", api.retry, "Try the gaps of an ended job again"),
        ]
    return found


Told = tuple[str, BaseModel, int]


async def _story(jobs: "JobsService", call: Call, job: Job, seen: int | None) -> AsyncIterator[Told]:
    """`snapshot` (or what is new since revision `seen`), then `items`, `job` and `progress` as they change, `end`.

    The id of a message is the job's revision. Who comes back with Last-Event-ID gets what changed since.
    """
    revision = seen if seen is not None and seen <= job.revision else 0
    known = -1
    mine: set[str] = set()
    with jobs.live.listening(job.job_id) as listener:
        if revision == 0:
            yield "snapshot", job, 0
        while not call.closing.is_set():
            current, items = await jobs.store.changed_since(job.job_id, revision, _PAGE)
            if current is None:
                return
            if items:
                revision = items[-1].revision
                mine |= {item.video_id for item in items}
                mine -= {item.video_id for item in items if item.status is not ItemStatus.RUNNING}
                yield "items", ItemList(items=items, total=current.counts.total, limit=_PAGE, offset=0), revision
            if len(items) == _PAGE:
                continue
            if current.revision != known:
                known = revision = current.revision
                yield "job", current, revision
            if current.status.ended:
                yield "end", current, revision
                return
            for event in await listener.news(_KEEP_ALIVE, mine):
                yield "progress", event, revision


def _job_id(call: Call) -> str:
    """The id in the path; one that no job can have is not found either."""
    job_id = call.path["job_id"]
    if not re.fullmatch(JOB_ID_PATTERN, job_id):
        raise NotFound(f"There is no job {job_id}: GET /api/v1/jobs lists them.")
    return job_id
