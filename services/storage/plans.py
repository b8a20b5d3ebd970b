"""work_plans/{job_id}.json: the videos that a job could not save, and whether they came later.

Kept until removed by hand (SPEC: Data Retention).

Blocks (use a thread); callers hold the lock of the plan.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from services.common.events import VideoFailed
from services.common.files import write_atomically
from services.common.models import FailedDownload, JobOptions, JobType, UnavailableVideo

_log = structlog.get_logger()


class PlannedUnavailable(UnavailableVideo):
    """SPEC's UnavailableVideo; `resolved_at` is set when the video arrived after all, `number` as in video.failed."""

    number: int = 0
    resolved_at: AwareDatetime | None = None


class PlannedFailure(FailedDownload):
    """SPEC's FailedDownload; `resolved_at` is set when the video arrived after all, `number` as in video.failed."""

    number: int = 0
    resolved_at: AwareDatetime | None = None


Planned = PlannedUnavailable | PlannedFailure
P = TypeVar("P", PlannedUnavailable, PlannedFailure)


class WorkPlan(BaseModel):
    """One plan per job. It keeps type, options and targets, so it can be retried when the job is long gone."""

    model_config = ConfigDict(extra="allow")

    plan_id: str
    job_id: str
    trace_id: str
    root: str
    type: JobType
    options: JobOptions
    targets: list[str]
    created_at: AwareDatetime
    updated_at: AwareDatetime
    unavailable_videos: list[PlannedUnavailable] = Field(default_factory=list)
    failed_downloads: list[PlannedFailure] = Field(default_factory=list)

    def entries(self) -> Iterator[Planned]:
        yield from self.unavailable_videos
        yield from self.failed_downloads

    def entry(self, video_id: str) -> Planned | None:
        return next((entry for entry in self.entries() if entry.video_id == video_id), None)

    @property
    def open_unavailable(self) -> int:
        return sum(entry.resolved_at is None for entry in self.unavailable_videos)

    @property
    def open_failed(self) -> int:
        return sum(entry.resolved_at is None for entry in self.failed_downloads)

    @property
    def resolved(self) -> int:
        return sum(entry.resolved_at is not None for entry in self.entries())


def plan_path(directory: Path, plan_id: str) -> Path:
    return directory / f"{plan_id}.json"


def read_plan(path: Path) -> WorkPlan | None:
    """None where there is no plan, or none that can be read (which is logged)."""
    try:
        return WorkPlan.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        _log.warning("work_plan_unreadable", path=str(path), error_message=str(error))
        return None


def with_failure(plan: WorkPlan | None, event: VideoFailed, *, now: datetime, trace_id: str) -> WorkPlan:
    """The plan after `event`: one entry per video, the latest giving-up wins. Pure; the same plan if no change."""
    known = plan.entry(event.video_id) if plan else None
    if plan is not None and known is not None and known.number >= event.number:
        return plan
    plan = plan or _new_plan(event, now, trace_id)
    unavailable = [one for one in plan.unavailable_videos if one.video_id != event.video_id]
    failed = [one for one in plan.failed_downloads if one.video_id != event.video_id]
    if event.unavailable is not None:
        unavailable.append(PlannedUnavailable(**event.unavailable.model_dump(), number=event.number))
    elif event.failed is not None:
        failed.append(PlannedFailure(**event.failed.model_dump(), number=event.number))
    return plan.model_copy(update={"unavailable_videos": unavailable, "failed_downloads": failed, "updated_at": now})


def with_arrival(plan: WorkPlan, video_id: str, *, now: datetime) -> WorkPlan:
    """The plan after the video arrived in its root. Pure; the same plan if nothing changed."""
    entry = plan.entry(video_id)
    if entry is None or entry.resolved_at is not None:
        return plan
    return plan.model_copy(
        update={
            "unavailable_videos": [_resolve(one, video_id, now) for one in plan.unavailable_videos],
            "failed_downloads": [_resolve(one, video_id, now) for one in plan.failed_downloads],
            "updated_at": now,
        }
    )


def save_plan(directory: Path, before: WorkPlan | None, after: WorkPlan) -> Path:
    """Write the plan unless it is the one that was read. Returns its path."""
    path = plan_path(directory, after.plan_id)
    if after is not before:
        write_atomically(path, after.model_dump_json(indent=2))
    return path


def all_plans(directory: Path) -> Iterator[WorkPlan]:
    for path in sorted(directory.glob("*.json")):
        if plan := read_plan(path):
            yield plan


def _new_plan(event: VideoFailed, now: datetime, trace_id: str) -> WorkPlan:
    return WorkPlan(
        plan_id=event.job_id,
        job_id=event.job_id,
        trace_id=trace_id,
        root=str(Path(event.root)),
        type=event.type,
        options=event.options.model_copy(update={"api_key": None}),  # never on disk
        targets=list(event.targets),
        created_at=now,
        updated_at=now,
    )


def _resolve(entry: P, video_id: str, now: datetime) -> P:
    return entry.model_copy(update={"resolved_at": now}) if entry.video_id == video_id else entry
