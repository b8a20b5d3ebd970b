"""REST routes of jobs: create, list, show, change, remove, and follow (SSE)."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from functools import partial
from uuid import uuid4

from aiohttp import web
from aiohttp_sse import sse_response

from services.common.domain.follows import Follow
from services.common.domain.jobs import JOB_ID_PATTERN, Job
from services.common.errors import InvalidRequest, NotFound
from services.common.events import (
    JobCancelRequested,
    JobCreated,
    JobPauseRequested,
    JobPriorityRequested,
    JobResumeRequested,
    JobRetryRequested,
)
from services.common.web.paging import PageQuery
from services.common.web.routing import Call, Route
from services.jobs.adapters.job_reader import JobReader
from services.jobs.adapters.registry import Registry
from services.jobs.adapters.store import Store
from services.jobs.entrypoints import change_stream
from services.jobs.follow_desk import FollowDesk
from services.jobs.job_queue import JobQueue
from services.jobs.rest_models import (
    CancelBody,
    Cleanup,
    CleanupBody,
    FollowList,
    FollowPatch,
    FollowQuery,
    FollowVideoList,
    FollowVideoQuery,
    ItemList,
    ItemQuery,
    ItemStates,
    JobDetail,
    JobList,
    JobPatch,
    JobQuery,
    JobSummary,
    NewFollow,
    NewJob,
    RemovedFollow,
    RemovedJob,
    ServiceList,
)
from services.jobs.subscribers import Subscribers

_KEEP_ALIVE = 10  # seconds between two comments of an idle stream
_FIRST_ITEMS = ItemQuery(limit=1000)  # of JobDetail
_ID_DIGITS = 20  # a longer Last-Event-ID is none of ours, and too large for SQLite


async def create(call: Call, body: NewJob, queue: JobQueue) -> Job:
    job_id = body.job_id or str(uuid4())
    if body.options.api_key:
        await queue.hand_over(job_id, body.options.api_key, call.trace_id)
    event = JobCreated(
        job_id=job_id,
        type=body.type,
        targets=tuple(body.targets),
        options=body.options.model_copy(update={"api_key": None}),
        priority=body.priority,
    )
    return await queue.submit(event, call.trace_id)


async def show_many(_call: Call, query: JobQuery, reader: JobReader) -> JobList:
    return await reader.jobs(query)


async def show(call: Call, reader: JobReader, subscribers: Subscribers) -> JobDetail:
    job = await reader.get(_job_id(call))
    items = await reader.items(job.job_id, _FIRST_ITEMS)
    running = subscribers.running(await reader.running_videos(job.job_id))
    progress = {video_id: event.progress for video_id, event in running.items()}
    return JobDetail(job=job, items=items.items, running=progress)


async def summarize(call: Call, reader: JobReader) -> JobSummary:
    return await reader.summary(_job_id(call))


async def show_items(call: Call, query: ItemQuery, reader: JobReader) -> ItemList:
    job = await reader.get(_job_id(call))
    return await reader.items(job.job_id, query)


async def show_states(call: Call, reader: JobReader) -> ItemStates:
    job = await reader.get(_job_id(call))
    return await reader.states(job.job_id)


async def cancel(call: Call, body: CancelBody, queue: JobQueue) -> Job:
    return await queue.command(JobCancelRequested(job_id=_job_id(call), video_id=body.video_id))


async def pause(call: Call, queue: JobQueue) -> Job:
    return await queue.command(JobPauseRequested(job_id=_job_id(call)))


async def resume(call: Call, queue: JobQueue) -> Job:
    return await queue.command(JobResumeRequested(job_id=_job_id(call)))


async def retry(call: Call, queue: JobQueue) -> Job:
    return await queue.command(JobRetryRequested(job_id=_job_id(call)))


async def change(call: Call, body: JobPatch, queue: JobQueue) -> Job:
    return await queue.command(JobPriorityRequested(job_id=_job_id(call), priority=body.priority))


async def remove(call: Call, reader: JobReader, queue: JobQueue) -> RemovedJob:
    job = await reader.get(_job_id(call))
    if not job.status.ended or not await queue.remove(job.job_id):
        raise InvalidRequest(f"Job {job.job_id} is still open: cancel it first.", status=job.status)
    return RemovedJob(job_id=job.job_id)


async def clean_up(_call: Call, body: CleanupBody, queue: JobQueue) -> Cleanup:
    return await queue.clean_up(dry_run=body.dry_run)


async def show_services(_call: Call, query: PageQuery, registry: Registry) -> ServiceList:
    found = sorted(registry.everyone(), key=lambda info: (info.name, info.started_at, info.instance))
    page = found[query.offset : query.offset + query.limit]
    return ServiceList(services=page, total=len(found), limit=query.limit, offset=query.offset)


async def follow_all(call: Call, store: Store, subscribers: Subscribers) -> web.StreamResponse:
    changes = change_stream.changes_of_all(store, subscribers, call.closing, _last_seen(call), _KEEP_ALIVE)
    return await _stream(call, changes)


async def follow(call: Call, reader: JobReader, subscribers: Subscribers) -> web.StreamResponse:
    job = await reader.get(_job_id(call))
    seen = _last_seen(call)
    changes = change_stream.changes_of_job(reader, subscribers, call.closing, job, seen, _KEEP_ALIVE)
    return await _stream(call, changes)


async def _stream(call: Call, changes: AsyncGenerator[change_stream.Message, None]) -> web.StreamResponse:
    async with sse_response(call.raw, ping_interval=_KEEP_ALIVE) as stream, aclosing(changes) as messages:
        with suppress(ConnectionResetError):  # the client has disconnected
            async for name, data, number in messages:
                await stream.send(data.model_dump_json(), event=name, id=str(number))
                if not stream.is_connected():
                    break
    return stream


def _last_seen(call: Call) -> int | None:
    """Return the number in Last-Event-ID; None for one that this service has not sent."""
    last = call.raw.headers.get("Last-Event-ID", "")
    return int(last) if last.isdecimal() and len(last) < _ID_DIGITS else None


def _job_id(call: Call) -> str:
    """Return the job id in the path. Raise NotFound for one that no job can have."""
    job_id = call.path["job_id"]
    if not re.fullmatch(JOB_ID_PATTERN, job_id):
        raise NotFound(f"There is no job {job_id}: GET /api/v1/jobs lists them.")
    return job_id


async def show_follows(_call: Call, query: FollowQuery, desk: FollowDesk) -> FollowList:
    return await desk.reader.follows(query)


async def create_follow(call: Call, body: NewFollow, desk: FollowDesk) -> Follow:
    return await desk.create(body, call.trace_id)


async def show_follow(call: Call, desk: FollowDesk) -> Follow:
    return await desk.reader.get(call.path["follow_id"])


async def show_follow_videos(call: Call, query: FollowVideoQuery, desk: FollowDesk) -> FollowVideoList:
    follow = await desk.reader.get(call.path["follow_id"])
    return await desk.reader.videos(follow.follow_id, query)


async def change_follow(call: Call, body: FollowPatch, desk: FollowDesk) -> Follow:
    return await desk.change(call.path["follow_id"], body, call.trace_id)


async def remove_follow(call: Call, desk: FollowDesk) -> RemovedFollow:
    await desk.remove(call.path["follow_id"], call.trace_id)
    return RemovedFollow(follow_id=call.path["follow_id"])


async def look_at_follow(call: Call, desk: FollowDesk) -> Follow:
    return await desk.look(call.path["follow_id"], call.trace_id)


_FOLLOWS, _FOLLOW = "/api/v1/follows", "/api/v1/follows/{follow_id}"
_JOBS, _JOB = "/api/v1/jobs", "/api/v1/jobs/{job_id}"
_command = partial(Route, "POST", response=Job, needs_bus=True)

ROUTES = (
    Route(
        "POST", _JOBS, create, "Create a job",
        body=NewJob, response=Job, status=201, needs_bus=True, begins_work=True, scope="request",
    ),
    Route("GET", _JOBS, show_many, "List jobs", query=JobQuery, response=JobList),
    Route("GET", _JOB, show, "Show a job with its items and its progress", response=JobDetail),
    Route("GET", f"{_JOB}/summary", summarize, "Show a job with its videos that need attention", response=JobSummary),
    Route("GET", f"{_JOB}/items", show_items, "List the items of a job", query=ItemQuery, response=ItemList),
    Route("GET", f"{_JOB}/states", show_states, "The state of every item of a job, in brief", response=ItemStates),
    Route("GET", f"{_JOB}/events", follow, "Follow a job: a snapshot, then its changes (SSE)", streams=True),
    Route("PATCH", _JOB, change, "Set the priority of a job", body=JobPatch, response=Job, needs_bus=True),
    Route("DELETE", _JOB, remove, "Remove an ended job", response=RemovedJob),
    Route(
        "POST", f"{_JOBS}/cleanup", clean_up, "Remove the jobs that are kept no longer",
        body=CleanupBody, response=Cleanup,
    ),
    Route("GET", "/api/v1/events", follow_all, "Follow all jobs: the open ones, then changes (SSE)", streams=True),
    Route(
        "GET", "/api/v1/registry/services", show_services, "List the live service instances",
        query=PageQuery, response=ServiceList,
    ),
    Route("GET", _FOLLOWS, show_follows, "List what is followed", query=FollowQuery, response=FollowList),
    Route(
        "POST", _FOLLOWS, create_follow, "Follow a channel or playlist",
        body=NewFollow, response=Follow, status=201, needs_bus=True,
    ),
    Route("GET", _FOLLOW, show_follow, "Show a follow", response=Follow),
    Route(
        "GET", f"{_FOLLOW}/videos", show_follow_videos, "List what a follow has found, and left out",
        query=FollowVideoQuery, response=FollowVideoList,
    ),
    Route(
        "PATCH", _FOLLOW, change_follow, "Change, pause or resume a follow",
        body=FollowPatch, response=Follow, needs_bus=True,
    ),
    Route(
        "DELETE", _FOLLOW, remove_follow, "End a follow; what it has saved stays",
        response=RemovedFollow, needs_bus=True,
    ),
    Route("POST", f"{_FOLLOW}/look", look_at_follow, "Look now", response=Follow, needs_bus=True),
    _command(f"{_JOB}/cancel", cancel, "Cancel a job, or one of its videos", body=CancelBody),
    _command(f"{_JOB}/pause", pause, "Pause a job: nothing more of it is started"),
    _command(f"{_JOB}/resume", resume, "Resume a paused or parked job"),
    _command(f"{_JOB}/retry", retry, "Retry the failures of an ended job", begins_work=True),
)  # fmt: skip
