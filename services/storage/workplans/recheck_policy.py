"""Which videos of the work plans are checked again, and when. Pure.

Every unresolved entry is due `interval` after its last check, the oldest first. A round takes as many as are needed to
check each once per interval, so that thousands are spread over it, and never more than MAX_RUNNING at once.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

from services.common.domain.clock import is_ahead
from services.common.events import JobCreated
from services.common.rechecks import recheck_id
from services.storage.formats.work_plan import WorkPlan
from services.storage.formats.work_plan_entry import PlanEntry

ROUND_INTERVAL = timedelta(hours=6)  # maximum time between two rounds
MAX_RUNNING = 200  # re-checks at one time
LOST_AFTER = timedelta(days=30)  # without an answer, the job of a re-check counts as lost
PRIORITY = -100  # after all jobs of users


@dataclass(frozen=True)
class RecheckCandidate:
    """A video to check again, and the plan that recorded it last."""

    plan: WorkPlan
    entry: PlanEntry


@dataclass(frozen=True)
class RecheckBatch:
    """Videos that one job checks: the jobs of their plans had the same type, options and root."""

    job_id: str
    candidates: Sequence[RecheckCandidate]

    def event(self, priority: int = PRIORITY) -> JobCreated:
        plan = self.candidates[0].plan
        return JobCreated(
            job_id=self.job_id,
            type=plan.type,
            targets=tuple(pick.entry.video_id for pick in self.candidates),
            options=plan.options.model_copy(update={"output_dir": plan.root, "skip_existing": True}),
            priority=priority,
        )

    def by_plan(self) -> Iterator[tuple[str, list[str]]]:
        for plan_id in dict.fromkeys(pick.plan.plan_id for pick in self.candidates):
            yield plan_id, [pick.entry.video_id for pick in self.candidates if pick.plan.plan_id == plan_id]


def round_interval(interval: timedelta) -> timedelta:
    """Return the time between two rounds."""
    return max(min(ROUND_INTERVAL, interval), timedelta(seconds=1))


def next_round(plans: Iterable[WorkPlan], now: datetime, interval: timedelta) -> datetime:
    """Return the start of the next round: one interval after the last one, also if another process ran that."""
    asked = [entry.recheck.asked_at for plan in plans for entry in plan.entries() if entry.recheck is not None]
    return min(max((at + round_interval(interval) for at in asked), default=now), now + round_interval(interval))


def choose_batches(plans: Sequence[WorkPlan], now: datetime, interval: timedelta) -> list[RecheckBatch]:
    """Return the jobs of a round that begins now."""
    waiting = [_PlannedVideo(candidates) for candidates in _by_video(plans)]
    running = sum(video.is_running(now) for video in waiting)
    share = math.ceil(len(waiting) * (round_interval(interval) / interval))
    due = [video for video in waiting if not video.is_running(now) and video.is_due(now, interval)]
    due.sort(key=lambda video: (video.checked_at, video.newest.entry.video_id))
    return _batches([video.newest for video in due[: max(0, min(share, MAX_RUNNING - running))]])


def running_batches(plans: Iterable[WorkPlan], now: datetime) -> list[RecheckBatch]:
    """Return the re-checks that have no answer yet, as they were created."""
    jobs: dict[str, list[RecheckCandidate]] = {}
    for plan in plans:
        for entry in plan.entries():
            if _is_running(entry, now) and entry.recheck is not None:
                jobs.setdefault(entry.recheck.job_id, []).append(RecheckCandidate(plan, entry))
    return [RecheckBatch(job_id, candidates) for job_id, candidates in jobs.items()]


class _PlannedVideo:
    """One video of one root, on all plans that wait for it."""

    def __init__(self, candidates: Sequence[RecheckCandidate]) -> None:
        self.candidates = candidates
        self.newest = max(candidates, key=lambda pick: (pick.entry.checked_at, pick.plan.created_at, pick.plan.plan_id))

    @property
    def checked_at(self) -> datetime:
        """The last check or re-check, with or without a result: the next one is an interval later."""
        entries = [pick.entry for pick in self.candidates]
        asked = [entry.recheck.asked_at for entry in entries if entry.recheck is not None]
        return max([*(entry.checked_at for entry in entries), *asked])

    def is_due(self, now: datetime, interval: timedelta) -> bool:
        return now - self.checked_at >= interval or is_ahead(self.checked_at, now)

    def is_running(self, now: datetime) -> bool:
        return any(_is_running(pick.entry, now) for pick in self.candidates)


def _by_video(plans: Iterable[WorkPlan]) -> Iterable[list[RecheckCandidate]]:
    videos: dict[tuple[str, str], list[RecheckCandidate]] = {}
    for plan in plans:
        for entry in plan.entries():
            if entry.resolved_at is None:
                videos.setdefault((plan.root, entry.video_id), []).append(RecheckCandidate(plan, entry))
    return videos.values()


def _is_running(entry: PlanEntry, now: datetime) -> bool:
    asked = entry.recheck if entry.resolved_at is None else None
    if asked is None or asked.ended_at is not None or is_ahead(asked.asked_at, now):
        return False
    return now - asked.asked_at < LOST_AFTER


def _batches(candidates: Iterable[RecheckCandidate]) -> list[RecheckBatch]:
    groups: dict[str, list[RecheckCandidate]] = {}
    for pick in candidates:
        plan = pick.plan
        options = plan.options.model_dump(mode="json", exclude={"output_dir", "skip_existing"})
        groups.setdefault(json.dumps([plan.root, plan.type, options], sort_keys=True), []).append(pick)
    return [RecheckBatch(_job_id(group, members), members) for group, members in groups.items()]


def _job_id(group: str, candidates: Iterable[RecheckCandidate]) -> str:
    """Return the same id for the same re-check, another for the next one: jobs ignores a known id."""
    state = [
        [entry.video_id, entry.checked_at.isoformat(), entry.recheck.job_id if entry.recheck else ""]
        for entry in (pick.entry for pick in candidates)
    ]
    return recheck_id(uuid5(NAMESPACE_URL, json.dumps([group, state])).hex)
