"""Streaks: first attempts by one egress that fail one after the other, because of this machine rather than because of
the videos. Pure (docs/decisions/0021).

five with the same words that say nothing about a video     same_failure
unavailable, far more often than in that list before        all_gone

After a served canary it takes twice as many to ask again about the same.

A streak raises a question (a Block that begins now): the next dispatch is a probe, which first asks for a canary, a
video that was saved before. The worker answers with source.cleared, and the findings stand; or with source.blocked, and
they are taken back: the videos wait, with no attempt spent.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from services.common import events as e
from services.common.domain.failures import Failure, FailureKind, Suspicion
from services.common.domain.jobs import ItemStatus
from services.common.domain.videos import Wanted
from services.common.rechecks import is_recheck
from services.common.youtube.quality import NAMED
from services.jobs.domain import failures
from services.jobs.domain.accounting import Out, open_job, reopen, touch
from services.jobs.domain.listings import wait
from services.jobs.domain.rows import FetchRow, ItemRow, JobRow, Rows, Streak
from services.jobs.domain.scheduler import Block

LEAST = 5  # first attempts
MOST = 200  # first attempts in one streak; a longer one is a list of unavailable videos
MOST_ASKED = 6  # times in a row of blocks: more than two hours
CHANCE = 1e-4  # of a run of unavailable videos, at the rate of the list so far, below which it is suspicious
_GONE = "gone"


def judge(
    rows: Rows, fetch: FetchRow, waiting: Sequence[tuple[ItemRow, JobRow]], failure: Failure, now: datetime
) -> bool:
    """Note a failed attempt for these items. Return whether it does not count: it seems to be about this machine."""
    block = rows.block(fetch.egress) if fetch.egress else None
    about = _about(failure, fetch)
    if block is not None:
        return block.suspected and about == block.about
    if not fetch.egress or about is None:
        if failure.kind in {FailureKind.NOT_YET, FailureKind.LEFT_OUT}:
            served(rows, fetch)
        return False
    first = [(item, job) for item, job in waiting if _is_evidence(rows, item, job, about)]
    if not first:
        return False
    streak = rows.streak(fetch.egress)
    if streak is None or streak.about != about:
        streak = Streak(about, now, least=LEAST)
    if len(streak.looks) >= MOST:
        return False
    streak = replace(streak, looks=(*streak.looks, *((job.job_id, item.video_id) for item, job in first)))
    rows.set_streak(fetch.egress, streak)
    suspicion = _suspicion(rows, first[0][1], streak)
    if suspicion is not None:
        rows.set_block(fetch.egress, Block(now, suspicion, about=about, since=now))
    return suspicion is not None


def served(rows: Rows, fetch: FetchRow) -> None:
    """End the streak of an egress, and its question, because the site has answered about a video that was requested
    after the streak began. `fetch` is as its worker has claimed it."""
    streak = rows.streak(fetch.egress) if fetch.egress else None
    if streak is None or fetch.since < streak.since:
        return
    rows.set_streak(fetch.egress, None)
    block = rows.block(fetch.egress)
    if block is not None and block.question:
        rows.set_block(fetch.egress, None)


def blocked(rows: Rows, event: e.SourceBlocked, now: datetime) -> list[Out]:
    """Store a block. If it confirms a suspicion, take the findings of the streak back."""
    question, streak = rows.block(event.egress), rows.streak(event.egress)
    block = Block(event.until, event.reason, message=event.message, since=now)
    suspected = question is not None and question.question
    if question is not None:
        block.about, block.canaries = question.about, question.canaries
    rows.set_block(event.egress, block)
    rows.set_streak(event.egress, None)
    out: list[Out] = []
    for job_id, video_id in streak.looks if streak is not None and suspected else ():
        out += _take_back(rows, job_id, video_id, event.until, now)
    return out


def cleared(rows: Rows, egress: str, now: datetime) -> None:
    """End a block, or a question: the findings stand, and it takes twice as many to ask again about the same."""
    block, streak = rows.block(egress), rows.streak(egress)
    rows.set_block(egress, None)
    asked = block is not None and block.question and streak is not None
    rows.set_streak(egress, Streak(streak.about, now, least=2 * streak.least) if asked and streak else None)


def next_canary(rows: Rows, block: Block) -> str | None:
    """Choose the video to ask for, and note it: one that was not asked for, else the one asked for least often. None
    when there is none, or each was asked for MOST_ASKED times: they may be gone indeed."""
    canary = rows.canary(block.canaries)
    if canary is None and block.canaries:
        asked = Counter(block.canaries)
        least = min(asked, key=lambda video: asked[video])
        canary = least if asked[least] < MOST_ASKED else None
    block.canaries += (canary,) if canary else ()
    return canary


def _about(failure: Failure, fetch: FetchRow) -> str | None:
    """Return what the failure has in common with others of its kind; None if it is no evidence."""
    if failure.kind is FailureKind.GONE:
        return _GONE
    raw = fetch.wanted is not None and fetch.wanted.quality not in NAMED
    if not failure.unexplained or (raw and failure.reason == "format_unavailable"):
        return None  # the latter: the selector of a user
    return failure.words


def _is_evidence(rows: Rows, item: ItemRow, job: JobRow, about: str) -> bool:
    """Return whether it is a first attempt that should have succeeded. Of videos that failed in an earlier run
    (retries, re-checks) that is not known: they are evidence where a canary can decide."""
    expected = about == _GONE and item.marked is not None
    if expected or item.attempts > 0 or item.refused > 0:
        return False
    failed_before = item.again or is_recheck(job.job_id)
    return not failed_before or rows.canary(()) is not None


def _suspicion(rows: Rows, job: JobRow, streak: Streak) -> Suspicion | None:
    in_a_row = len({video_id for _job_id, video_id in streak.looks})
    if in_a_row < streak.least:
        return None
    if streak.about != _GONE:
        return Suspicion.SAME_FAILURE
    own = (rows.item(*key) for key in streak.looks if key[0] == job.job_id)
    counted = sum(item is not None and item.status is ItemStatus.UNAVAILABLE for item in own)
    good, gone = job.archived + job.skipped, max(0, job.unavailable - counted)
    rate = (gone + 1) / (good + gone + 2)
    unlikely = rate**in_a_row < CHANCE
    return Suspicion.ALL_GONE if unlikely and rows.canary(()) is not None else None


def work_plan_updated(rows: Rows, event: e.WorkPlanUpdated, now: datetime) -> list[Out]:
    """End the items whose failure is on the plan now. One that was taken back meanwhile waits again."""
    out: list[Out] = []
    job = open_job(rows, event.job_id)
    for video_id in event.video_ids if job is not None else ():
        item = rows.item(event.job_id, video_id)
        answered = item is not None and item.status is ItemStatus.CLOSING and item.number == event.number
        if job is not None and item is not None and answered and item.taken_back is not None:
            job.work_plan = event.path
            out += _withdraw(rows, job, item, item.taken_back, now)
    return out + failures.work_plan_updated(rows, event, now)


def _take_back(rows: Rows, job_id: str, video_id: str, until: datetime, now: datetime) -> list[Out]:
    """Let a video of a streak wait until the end of the block, after videos that were not tried yet."""
    job, item = open_job(rows, job_id), rows.item(job_id, video_id)
    if job is None or item is None or job.cancelling or item.cancelling:
        return []
    item.attempts, item.errors = 0, []
    item.refused, item.refused_at = max(item.refused, 1), now
    touch(job, now, item)
    match item.status:
        case ItemStatus.WAITING:
            item.retry_at = until
        case ItemStatus.CLOSING:
            item.taken_back = until  # withdrawn before it is on the plan, it would stay there
        case ItemStatus.UNAVAILABLE | ItemStatus.FAILED:
            return _withdraw(rows, job, item, until, now)
    return []


def _withdraw(rows: Rows, job: JobRow, item: ItemRow, until: datetime, now: datetime) -> list[Out]:
    reopen(job, item)
    wait(rows, job, item, item.need or Wanted.of(job.type, job.options), now)
    item.retry_at, item.taken_back = until, None
    return [(e.FindingWithdrawn(job_id=job.job_id, video_id=item.video_id, number=item.number), job.trace_id)]
