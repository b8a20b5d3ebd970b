"""An order of one video, given to the download service: looked at, and handed to jobs as any other job."""

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from services.common import credentials
from services.common.errors import InvalidRequest
from services.common.events import JobCreated, RawTarget
from services.common.job_validation import accept
from services.common.models import JobOptions, JobType, TargetKind
from services.common.targets import ParsedTargets

if TYPE_CHECKING:
    from services.download.service import DownloadService


class VideoOrder(BaseModel):
    """`video` is the id or a URL of one video. A whole playlist or channel is a job: POST /api/v1/jobs of jobs."""

    model_config = ConfigDict(extra="forbid")

    video: RawTarget
    options: JobOptions = Field(default_factory=JobOptions)
    priority: int = Field(default=0, ge=-100, le=100)


class Ordered(BaseModel):
    """The job is on its way: jobs tells of it under /api/v1/jobs/{job_id}, and /api/v1/download/tasks once a worker
    has it in hand."""

    job_id: str
    video_id: str
    trace_id: str


async def place(service: "DownloadService", order: VideoOrder, trace_id: str) -> Ordered:
    """Returns when the stream has the job. Raises InvalidRequest, and nothing has changed then."""
    targets, _root = await asyncio.to_thread(accept, ParsedTargets.parse([order.video]), order.options, service.config)
    target = targets[0]
    if target.kind is not TargetKind.VIDEOS:
        raise InvalidRequest(
            f"{target} is a {target.kind}, and no single video: POST /api/v1/jobs of the jobs service takes it.",
            kind=target.kind,
            id=target.id,
        )
    job_id = str(uuid4())
    if order.options.api_key:
        await credentials.offer(service.bus, job_id, order.options.api_key, trace_id)
    event = JobCreated(
        job_id=job_id,
        type=JobType.VIDEO_DOWNLOAD,
        targets=(order.video,),
        options=order.options.model_copy(update={"api_key": None}),
        priority=order.priority,
    )
    await service.bus.publish(event, trace_id=trace_id)
    return Ordered(job_id=job_id, video_id=target.video_ids[0], trace_id=trace_id)
