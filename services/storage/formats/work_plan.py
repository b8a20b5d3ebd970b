"""work_plans/{job_id}.json: the videos that a job could not save, and whether they arrived later. Pure.

Plans are kept until a user removes them (SPEC: Data Retention).
"""

from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.common.events import VideoFailed
from services.common.models import JobOptions, JobType
from services.storage.formats.work_plan_entry import FailedEntry, PlanEntry, UnavailableEntry, merge_failure

P = TypeVar("P", UnavailableEntry, FailedEntry)


class WorkPlan(BaseModel):
    """One plan per job. It stores type, options and targets, so that it can be retried after the job was removed."""

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
    unavailable_videos: list[UnavailableEntry] = Field(default_factory=list)
    failed_downloads: list[FailedEntry] = Field(default_factory=list)

    def entries(self) -> Iterator[PlanEntry]:
        yield from self.unavailable_videos
        yield from self.failed_downloads

    def entry(self, video_id: str) -> PlanEntry | None:
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


def with_failure(plan: WorkPlan | None, event: VideoFailed, *, now: datetime, trace_id: str) -> WorkPlan:
    """Return the plan after `event`: one entry per video, the latest failure wins. The same object if
    nothing changes."""
    known = plan.entry(event.video_id) if plan else None
    if plan is not None and known is not None and known.number >= event.number:
        return plan
    if event.unavailable is None and event.failed is None:
        return plan or _new_plan(event, now, trace_id)
    return _with_entry(plan or _new_plan(event, now, trace_id), merge_failure(event, known), now)


def is_rechecked_by(plan: WorkPlan, video_id: str, job_id: str) -> bool:
    """Return whether this re-check job was created for the video on behalf of this plan."""
    entry = plan.entry(video_id)
    return entry is not None and entry.is_rechecked_by(job_id)


def with_recheck_failure(plan: WorkPlan, event: VideoFailed, *, now: datetime) -> WorkPlan:
    """Return the plan after its re-check has failed again. The same object if nothing changes: for an event that is
    delivered again, or a video that has arrived since."""
    known = plan.entry(event.video_id)
    if known is None or known.recheck is None or known.resolved_at is not None:
        return plan
    if known.recheck.number >= event.number or (event.unavailable is None and event.failed is None):
        return plan
    answered = known.recheck.model_copy(update={"number": event.number, "ended_at": now})
    entry = merge_failure(event, known).model_copy(update={"number": known.number, "recheck": answered})
    return _with_entry(plan, entry, now)


def with_recheck(plan: WorkPlan, video_ids: Collection[str], job_id: str, *, now: datetime) -> WorkPlan:
    """Return the plan after a re-check job was created for these videos."""
    return _each(plan, lambda entry: entry.with_recheck(job_id, now) if entry.video_id in video_ids else entry)


def with_recheck_ended(plan: WorkPlan, job_id: str, *, now: datetime) -> WorkPlan:
    """Return the plan after the re-check job has ended, with or without a result for each video. The same object if
    nothing changes."""

    def ended(entry: P) -> P:
        return entry.with_recheck_ended(now) if entry.is_rechecked_by(job_id) else entry

    return _each(plan, ended)


def with_arrival(plan: WorkPlan, video_id: str, *, now: datetime) -> WorkPlan:
    """Return the plan after the video arrived in its root. The same object if nothing changes."""
    entry = plan.entry(video_id)
    if entry is None or entry.resolved_at is not None:
        return plan
    return _with_entry(plan, entry.with_arrival(now), now)


def without_finding(plan: WorkPlan, video_id: str, number: int, *, now: datetime) -> WorkPlan:
    """Return the plan without the finding of that number, which was withdrawn. The same object if it has another, or
    none."""
    entry = plan.entry(video_id)
    if entry is None or entry.number != number or entry.resolved_at is not None:
        return plan
    if (before := entry.without_last_finding()) is not None:
        return _with_entry(plan, before, now)
    unavailable, failed = _put(plan.unavailable_videos, video_id, None), _put(plan.failed_downloads, video_id, None)
    return plan.model_copy(update={"unavailable_videos": unavailable, "failed_downloads": failed, "updated_at": now})


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


def _with_entry(plan: WorkPlan, new: PlanEntry, now: datetime) -> WorkPlan:
    """Replace the video's entry in its list, or append it."""
    unavailable = _put(plan.unavailable_videos, new.video_id, new if isinstance(new, UnavailableEntry) else None)
    failed = _put(plan.failed_downloads, new.video_id, new if isinstance(new, FailedEntry) else None)
    return plan.model_copy(update={"unavailable_videos": unavailable, "failed_downloads": failed, "updated_at": now})


def _put(entries: list[P], video_id: str, new: P | None) -> list[P]:
    place: int = next((n for n, entry in enumerate(entries) if entry.video_id == video_id), len(entries))
    put = list(entries)
    put[place : place + 1] = [] if new is None else [new]
    return put


class _Change(Protocol):
    def __call__(self, entry: P, /) -> P: ...


def _each(plan: WorkPlan, change: _Change) -> WorkPlan:
    """`updated_at` is not changed: a re-check is not news about a video."""
    unavailable, failed = [*map(change, plan.unavailable_videos)], [*map(change, plan.failed_downloads)]
    if (unavailable, failed) == (plan.unavailable_videos, plan.failed_downloads):
        return plan
    return plan.model_copy(update={"unavailable_videos": unavailable, "failed_downloads": failed})
