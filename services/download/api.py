"""REST routes of download: order a video, list and stop tasks, look up the formats of a video."""

import asyncio
from typing import Annotated
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from services.common import credentials
from services.common.domain.jobs import NewJobOptions
from services.common.domain.videos import RawTarget, TargetKind, VideoId
from services.common.errors import InvalidRequest
from services.common.events import JobCreated
from services.common.job_validation import accept
from services.common.models import JobType
from services.common.targets import ParsedTargets
from services.common.web.paging import Page, PageQuery
from services.common.web.routing import Call, Route
from services.download.context import WorkerContext
from services.download.offers import Formats, Offers
from services.download.tasks import Task, TaskProgress, Tasks
from services.download.worker import Worker


class VideoOrder(BaseModel):
    """`video` is the id or a URL of one video. A playlist or channel is ordered as a job: POST /api/v1/jobs of jobs."""

    model_config = ConfigDict(extra="forbid")

    video: RawTarget
    options: NewJobOptions = Field(default_factory=NewJobOptions)
    priority: int = Field(default=0, ge=-100, le=100)


class Ordered(BaseModel):
    """The job of an ordered video: jobs shows it under /api/v1/jobs/{job_id}, and /api/v1/download/tasks once a worker
    has started it."""

    job_id: str
    video_id: str
    trace_id: str


class TaskPath(BaseModel):
    """A dispatch id, from events or the list of tasks."""

    task_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")]


class FormatsPath(BaseModel):
    video_id: VideoId


class TaskList(Page):
    """Running tasks in the order of their start, then ended ones, the last first."""

    tasks: list[Task]


async def order(call: Call, body: VideoOrder, context: WorkerContext) -> Ordered:
    """Create a job of one video. Returns when the stream has stored it. Raises InvalidRequest."""
    parsed = ParsedTargets.parse([body.video])
    targets, _root = await asyncio.to_thread(accept, parsed, body.options, context.config)
    target = targets[0]
    if target.kind is not TargetKind.VIDEOS:
        raise InvalidRequest(
            f"{target} is a {target.kind}, not a single video: POST /api/v1/jobs of the jobs service accepts it.",
            kind=target.kind,
            id=target.id,
        )
    job_id = str(uuid4())
    if body.options.api_key:
        await credentials.offer(context.bus, job_id, body.options.api_key, call.trace_id)
    event = JobCreated(
        job_id=job_id,
        type=JobType.VIDEO_DOWNLOAD,
        targets=(body.video,),
        options=body.options.model_copy(update={"api_key": None}),
        priority=body.priority,
    )
    await context.bus.publish(event, trace_id=call.trace_id)
    return Ordered(job_id=job_id, video_id=target.video_ids[0], trace_id=call.trace_id)


async def show_tasks(_call: Call, query: PageQuery, tasks: Tasks) -> TaskList:
    known = tasks.all()
    page = [record.view() for record in known[query.offset : query.offset + query.limit]]
    return TaskList(tasks=page, total=len(known), limit=query.limit, offset=query.offset)


async def show_progress(_call: Call, path: TaskPath, tasks: Tasks) -> TaskProgress:
    return tasks.get(path.task_id).progress_view()


async def cancel(_call: Call, path: TaskPath, worker: Worker) -> Task:
    return (await worker.stop(path.task_id)).view()


async def show_formats(call: Call, path: FormatsPath, offers: Offers) -> Formats:
    return await offers.of(path.video_id, call.trace_id)


_AT = "/api/v1/download"

ROUTES = (
    Route(
        "POST", f"{_AT}/video", order,
        summary="Order one video", body=VideoOrder, response=Ordered, status=201,
        needs_bus=True, begins_work=True, scope="request",
    ),
    Route(
        "GET", f"{_AT}/tasks", show_tasks,
        summary="List running tasks and those that ended last", query=PageQuery, response=TaskList,
    ),
    Route(
        "GET", f"{_AT}/progress/{{task_id}}", show_progress,
        summary="Show the progress or the outcome of a task", path_model=TaskPath, response=TaskProgress,
    ),
    Route(
        "POST", f"{_AT}/cancel/{{task_id}}", cancel,
        summary="Cancel a task, and its video in all jobs that wait for it", path_model=TaskPath, response=Task,
        needs_bus=True,
    ),
    Route(
        "GET", f"{_AT}/formats/{{video_id}}", show_formats,
        summary="List the formats of a video, and what each quality selects", path_model=FormatsPath,
        response=Formats, needs_bus=True,
    ),
)  # fmt: skip
