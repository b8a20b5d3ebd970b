"""REST of jobs: create, list, show, and follow (SSE)."""

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from aiohttp import web
from aiohttp_sse import sse_response
from pydantic import BaseModel, ConfigDict, Field

from services.common.errors import NotFound
from services.common.events import DownloadProgress, JobCreated
from services.common.http import Call, Route
from services.common.models import Item, ItemStatus, Job, JobOptions, JobStatus, JobType, Progress

if TYPE_CHECKING:
    from services.jobs.service import JobsService

_KEEP_ALIVE = 10  # seconds between two signs of life of a stream
_PAGE = 1000  # items in one SSE message


class NewJob(BaseModel):
    """What POST /jobs takes. `job_id` may be chosen by the sender: the same again gives the same job."""

    model_config = ConfigDict(extra="forbid")

    targets: list[str] = Field(min_length=1, max_length=20_000)
    type: JobType = JobType.PLAYLIST_DOWNLOAD
    options: JobOptions = Field(default_factory=JobOptions)
    priority: int = Field(default=0, ge=-100, le=100)
    job_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$")


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


def routes(jobs: "JobsService") -> Sequence[Route]:
    async def create(call: Call, body: NewJob) -> Job:
        event = JobCreated(
            job_id=body.job_id or str(uuid4()),
            type=body.type,
            targets=tuple(body.targets),
            options=body.options.model_copy(update={"api_key": None}),
            priority=body.priority,
        )
        return await jobs.submit(event, call.trace_id)

    async def show_many(_call: Call, query: JobQuery) -> JobList:
        match query.status:
            case None:
                wanted: list[str] = []
            case "open":
                wanted = [status for status in JobStatus if not status.ended]
            case status:
                wanted = [status]
        found, total = await jobs.store.jobs(wanted, query.limit, query.offset)
        return JobList(jobs=found, total=total, limit=query.limit, offset=query.offset)

    async def show(call: Call) -> JobDetail:
        job = await _job(jobs, call)
        items, _total = await jobs.store.items(job.job_id, _PAGE, 0)
        return JobDetail(job=job, items=items, running=_running(jobs, items))

    async def show_items(call: Call, query: ItemQuery) -> ItemList:
        job = await _job(jobs, call)
        items, total = await jobs.store.items(job.job_id, query.limit, query.offset)
        return ItemList(items=items, total=total, limit=query.limit, offset=query.offset)

    async def follow(call: Call) -> web.StreamResponse:
        job = await _job(jobs, call)
        seen = call.raw.headers.get("Last-Event-ID", "")
        async with sse_response(call.raw, ping_interval=_KEEP_ALIVE) as stream:
            async for name, data, revision in _story(jobs, call, job, int(seen) if seen.isdecimal() else None):
                await stream.send(data.model_dump_json(), event=name, id=str(revision))
                if not stream.is_connected():
                    break
        return stream

    base = "/api/v1/jobs"
    return [
        Route("POST", base, create, "Create a job", body=NewJob, response=Job, status=201, needs_bus=True),
        Route("GET", base, show_many, "List jobs, the newest first", query=JobQuery, response=JobList),
        Route("GET", f"{base}/{{job_id}}", show, "A job with its items and its progress", response=JobDetail),
        Route("GET", f"{base}/{{job_id}}/items", show_items, "The items of a job", query=ItemQuery, response=ItemList),
        Route("GET", f"{base}/{{job_id}}/events", follow, "Follow a job: a snapshot, then live (SSE)", streams=True),
    ]


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


async def _job(jobs: "JobsService", call: Call) -> Job:
    job_id = call.path["job_id"]
    job = await jobs.store.job(job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}: GET /api/v1/jobs lists them.", job_id=job_id)
    return job


def _running(jobs: "JobsService", items: Sequence[Item]) -> dict[str, Progress]:
    running: dict[str, DownloadProgress] = jobs.live.of(i.video_id for i in items if i.status is ItemStatus.RUNNING)
    return {video_id: event.progress for video_id, event in running.items()}
