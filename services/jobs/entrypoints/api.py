"""REST of jobs: create, list, show, change, remove, and follow (SSE)."""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from aiohttp import web
from aiohttp_sse import sse_response
from pydantic import BaseModel, ConfigDict, Field

from services.common.errors import InvalidRequest, NotFound
from services.common.events import (
    JOB_ID_PATTERN,
    JobCancelRequested,
    JobCreated,
    JobPauseRequested,
    JobPriorityRequested,
    JobResumeRequested,
    JobRetryRequested,
    RawTarget,
    VideoId,
)
from services.common.models import Item, ItemStatus, Job, JobOptions, JobStatus, JobType, Progress, ServiceInfo
from services.common.web.paging import Page, PageQuery
from services.common.web.routing import Call, Route
from services.jobs.adapters import retention
from services.jobs.entrypoints import change_stream

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


class JobPatch(BaseModel):
    """What can be changed of an open job."""

    model_config = ConfigDict(extra="forbid")

    priority: int = Field(ge=-100, le=100)


class CleanupBody(BaseModel):
    """`dry_run`: only say what would be removed."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False


class JobQuery(PageQuery):
    status: JobStatus | Literal["open"] | None = None
    type: JobType | None = None


class ItemQuery(PageQuery):
    limit: int = Field(default=100, ge=1, le=1000)


class JobList(Page):
    jobs: list[Job]


class ItemList(Page):
    items: list[Item]


class ServiceList(Page):
    """The instances that are alive, by name."""

    services: list[ServiceInfo]


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
        found, total = await self._jobs.store.jobs(wanted, query.limit, query.offset, query.type)
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

    async def change(self, call: Call, body: JobPatch) -> Job:
        return await self._jobs.wish(JobPriorityRequested(job_id=_job_id(call), priority=body.priority))

    async def remove(self, call: Call) -> change_stream.RemovedJob:
        job = await self._job(call)
        if not job.status.ended or not await self._jobs.remove(job.job_id):
            raise InvalidRequest(f"Job {job.job_id} is still open: cancel it first.", status=job.status)
        return change_stream.RemovedJob(job_id=job.job_id)

    async def clean_up(self, _call: Call, body: CleanupBody) -> retention.Cleanup:
        return await self._jobs.clean_up(dry_run=body.dry_run)

    async def services(self, _call: Call, query: PageQuery) -> ServiceList:
        found = sorted(self._jobs.registry.everyone(), key=lambda info: (info.name, info.started_at, info.instance))
        page = found[query.offset : query.offset + query.limit]
        return ServiceList(services=page, total=len(found), limit=query.limit, offset=query.offset)

    async def follow_all(self, call: Call) -> web.StreamResponse:
        told = change_stream.story(self._jobs.store, self._jobs.live, call.closing, _last_seen(call), _KEEP_ALIVE)
        return await _stream(call, told)

    async def follow(self, call: Call) -> web.StreamResponse:
        job = await self._job(call)
        return await _stream(call, _story(self._jobs, call, job, _last_seen(call)))

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
        Route("PATCH", one, api.change, "Another priority for a job", body=JobPatch, response=Job, needs_bus=True),
        Route("DELETE", one, api.remove, "Remove a job that has ended", response=change_stream.RemovedJob),
        Route(
            "POST",
            f"{many}/cleanup",
            api.clean_up,
            "Remove the jobs whose time is up",
            body=CleanupBody,
            response=retention.Cleanup,
        ),
        Route("GET", "/api/v1/events", api.follow_all, "Follow all jobs: the open ones, then live (SSE)", streams=True),
        Route(
            "GET",
            "/api/v1/registry/services",
            api.services,
            "The services that are alive",
            query=PageQuery,
            response=ServiceList,
        ),
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


async def _story(jobs: "JobsService", call: Call, job: Job, seen: int | None) -> AsyncGenerator[Told, None]:
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


async def _stream(call: Call, story: AsyncGenerator[Told, None]) -> web.StreamResponse:
    async with sse_response(call.raw, ping_interval=_KEEP_ALIVE) as stream, aclosing(story) as told:
        with suppress(ConnectionResetError):  # who listened has gone
            async for name, data, number in told:
                await stream.send(data.model_dump_json(), event=name, id=str(number))
                if not stream.is_connected():
                    break
    return stream


def _last_seen(call: Call) -> int | None:
    """The number in Last-Event-ID; None for one that can be none of ours."""
    last = call.raw.headers.get("Last-Event-ID", "")
    return int(last) if last.isdecimal() and len(last) < _LONG else None


def _job_id(call: Call) -> str:
    """The id in the path; one that no job can have is not found either."""
    job_id = call.path["job_id"]
    if not re.fullmatch(JOB_ID_PATTERN, job_id):
        raise NotFound(f"There is no job {job_id}: GET /api/v1/jobs lists them.")
    return job_id
