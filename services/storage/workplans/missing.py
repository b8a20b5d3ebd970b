"""What is missing: the entries of all work plans as one list of videos."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, Field

from services.common.web.paging import Page, PageQuery
from services.storage.formats.work_plan import WorkPlan
from services.storage.formats.work_plan_entry import FailedEntry, PlanEntry, UnavailableEntry
from services.storage.workplans.plan_file import all_plans

_LONGEST_MESSAGE = 500  # characters


class MissingQuery(PageQuery):
    """`resolved`: the videos that have arrived since, instead of those that are still missing. `q`: a part of the title
    or the id."""

    reason: str | None = Field(default=None, pattern=r"^[a-z0-9_-]{1,64}$")
    plan: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    q: str | None = Field(default=None, min_length=1, max_length=200)
    resolved: bool = False


class MissingRow(BaseModel):
    """A video of one root that work plans list, as the plan that recorded it last has it.

    `looks`: how often it was not available, as far as is known. `next_look`: when it is looked at again; null: not by
    itself. `rechecked_by`: the job that looks at it now. `plans`: all plans that list it, the newest first.
    """

    video_id: str
    root: str
    title: str | None
    reason: str
    message: str | None
    looks: int
    first_look: AwareDatetime
    last_look: AwareDatetime
    next_look: AwareDatetime | None
    rechecked_by: str | None
    resolved_at: AwareDatetime | None
    last_available: AwareDatetime | None
    playlist_id: str | None
    plans: list[str]


class ReasonCount(BaseModel):
    reason: str
    videos: int


class MissingPage(Page):
    """`reasons` counts the videos that match all but `reason`; `open` and `resolved` count all."""

    videos: list[MissingRow]
    reasons: list[ReasonCount]
    open: int
    resolved: int


class MissingVideos:
    """Reads the plans of a directory. `interval` is `[recheck] interval_days`; zero: nothing is looked at again."""

    def __init__(self, directory: Path, interval: timedelta) -> None:
        self._directory = directory
        self._interval = interval

    async def page(self, query: MissingQuery) -> MissingPage:
        """Return a page, the latest look first."""
        return await asyncio.to_thread(lambda: page_of(all_plans(self._directory), query, self._interval))


def page_of(plans: Iterable[WorkPlan], query: MissingQuery, interval: timedelta) -> MissingPage:
    """Return the page of the videos that match. Pure."""
    every = [_missing(listed, interval) for listed in _by_video(plans)]
    matching = [one for one in every if _matches(one, query)]
    found = [one for one in matching if query.reason in {None, one.reason}]
    found.sort(key=lambda one: (one.resolved_at or one.last_look, one.video_id), reverse=True)
    reasons = Counter(one.reason for one in matching)
    resolved = sum(one.resolved_at is not None for one in every)
    return MissingPage(
        videos=found[query.offset : query.offset + query.limit],
        reasons=[ReasonCount(reason=reason, videos=videos) for reason, videos in reasons.most_common()],
        open=len(every) - resolved,
        resolved=resolved,
        total=len(found),
        limit=query.limit,
        offset=query.offset,
    )


_Listed = tuple[WorkPlan, PlanEntry]


def _by_video(plans: Iterable[WorkPlan]) -> Iterator[Sequence[_Listed]]:
    """Yield for each video of a root the entries that list it, the latest look first."""
    videos: dict[tuple[str, str], list[_Listed]] = {}
    for plan in plans:
        for entry in plan.entries():
            videos.setdefault((plan.root, entry.video_id), []).append((plan, entry))
    for listed in videos.values():
        yield sorted(listed, key=lambda one: (one[1].checked_at, one[0].created_at, one[0].plan_id), reverse=True)


def _missing(listed: Sequence[_Listed], interval: timedelta) -> MissingRow:
    """An entry of any plan that is not resolved leaves the video missing."""
    waiting = [one for one in listed if one[1].resolved_at is None]
    plan, entry = (waiting or listed)[0]
    observations = [observation for _plan, one in listed for observation in one.observations]
    recheck = entry.recheck if entry.resolved_at is None else None
    running = recheck is not None and recheck.ended_at is None
    error = entry.errors[-1] if isinstance(entry, FailedEntry) and entry.errors else {}
    return MissingRow(
        video_id=entry.video_id,
        root=plan.root,
        title=entry.title,
        reason=str(error.get("reason") or entry.cause),
        message=str(error["message"])[:_LONGEST_MESSAGE] if error.get("message") else None,
        looks=_looks(listed),
        first_look=min(observation.since for observation in observations),
        last_look=entry.checked_at,
        next_look=None if running or not waiting else _next_look(waiting, interval),
        rechecked_by=recheck.job_id if recheck is not None and running else None,
        resolved_at=None if waiting else max(one.resolved_at for _plan, one in listed if one.resolved_at is not None),
        last_available=entry.last_available if isinstance(entry, UnavailableEntry) else None,
        playlist_id=entry.playlist_id if isinstance(entry, UnavailableEntry) else None,
        plans=[plan.plan_id for plan, _entry in listed],
    )


def _looks(listed: Sequence[_Listed]) -> int:
    """Attempts count each, an observation that was confirmed at least twice."""
    attempts = sum(entry.attempts for _plan, entry in listed if isinstance(entry, FailedEntry))
    seen = [one for _plan, entry in listed if isinstance(entry, UnavailableEntry) for one in entry.observations]
    return attempts + sum(1 if one.since == one.last else 2 for one in seen)


def _next_look(waiting: Sequence[_Listed], interval: timedelta) -> datetime | None:
    """One interval after the last look, as recheck_policy has it."""
    if not interval:
        return None
    asked = [entry.recheck.asked_at for _plan, entry in waiting if entry.recheck is not None]
    return max([*(entry.checked_at for _plan, entry in waiting), *asked]) + interval


def _matches(video: MissingRow, query: MissingQuery) -> bool:
    if (video.resolved_at is not None) is not query.resolved:
        return False
    if query.plan is not None and query.plan not in video.plans:
        return False
    text = (query.q or "").casefold()
    return text in (video.title or "").casefold() or text in video.video_id.casefold()
