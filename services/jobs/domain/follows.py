"""Follows: looks at channels and playlists, what they find, and the job that fetches it. Pure.

    due         next_look has come, or somebody asks   follow.look_due
    metadata    looks                                  follow.listed, …, follow.looked
    over        new videos that the rules take         a job, follow.found

What a look has found is stored with each page; the job is created in the transaction that ends the look. So a kill at
any moment loses no find: a look that was not ended is repeated, and finds the same.

A look reads the feed, one request. It reads the list instead: at first, once a day, while the feed fails, and always of
a playlist, which may be in any order. Once in thirty days it reads the list to its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

from services.common import events as e
from services.common.domain.follows import FollowVideoState, HowToLook, job_id_of, list_prefixes
from services.common.domain.videos import Entry, Target, TargetKind
from services.common.models import ErrorDetail
from services.common.rules import judge
from services.common.targets import group_targets
from services.jobs.domain.accounting import Out
from services.jobs.domain.rhythm import Pace, after_block, newest_times, schedule
from services.jobs.domain.rows import FollowRow, FollowVideoRow, Rows

_LIST_AGAIN = timedelta(days=1)
_WHOLE_AGAIN = timedelta(days=30)
_FEED_AGAIN = timedelta(hours=12)  # after it has failed _FEED_FAILURES times
_FEED_FAILURES = 3
_FIRST = datetime(2025, 1, 1, tzinfo=UTC)  # looks of a follow are counted from the milliseconds since then
_LIST = 1_000_000  # entries of a list are fewer
_MOST = 20_000  # videos of a job
_KNOWN = 50  # videos that a look is told


@dataclass(frozen=True)
class FoundJob:
    """The job that fetches what a look has found."""

    event: e.JobCreated
    trace_id: str
    root: str
    title: str | None


def created(rows: Rows, event: e.FollowCreated, now: datetime, pace: Pace) -> list[Out]:
    if rows.follow(event.follow_id) is not None:
        return []
    follow = FollowRow(
        follow_id=event.follow_id,
        target=event.target,
        parsed=group_targets([event.target])[0],
        type=event.type,
        options=event.options,
        root=event.root,
        priority=event.priority,
        every=event.every_seconds,
        last=event.last,
        created_at=now,
    )
    follow.look = follow.first_look = max(0, round((now - _FIRST).total_seconds() * 1000))
    schedule(follow, rows.follow_load(), now, pace)
    follow.next_look = now
    rows.add(follow)
    return []


def changed(rows: Rows, event: e.FollowChanged, now: datetime, pace: Pace) -> list[Out]:
    follow = rows.follow(event.follow_id)
    if follow is None:
        return []
    if event.options is not None:
        if event.options.rules != follow.options.rules:
            _begin_again(rows, follow)
        follow.options = event.options
    follow.root = event.root if event.root is not None else follow.root
    follow.priority = event.priority if event.priority is not None else follow.priority
    follow.paused = event.paused if event.paused is not None else follow.paused
    if event.every_seconds is not None:
        follow.every = event.every_seconds or None
    schedule(follow, rows.follow_load(), now, pace)
    if follow.whole_at is None and not follow.paused:
        follow.next_look = now
    return []


def _begin_again(rows: Rows, follow: FollowRow) -> None:
    """Forget what other rules have decided, and the look that runs with them."""
    undecided = len(rows.found_videos(follow.follow_id))
    rows.forget_videos(follow.follow_id, FollowVideoState.FOUND)
    rows.forget_videos(follow.follow_id, FollowVideoState.LEFT_OUT)
    follow.videos -= follow.left_out + undecided
    follow.left_out, follow.looking, follow.whole_at = 0, None, None


def removed(rows: Rows, event: e.FollowRemoved, _now: datetime) -> list[Out]:
    rows.drop_follow(event.follow_id)
    return []


def look_requested(rows: Rows, event: e.FollowLookRequested, now: datetime) -> list[Out]:
    """A look that runs already will do."""
    follow = rows.follow(event.follow_id)
    if follow is not None and follow.looking is None:
        follow.wanted, follow.next_look = True, now
    return []


# --- looks ----------------------------------------------------------------------------------------------------------


def look(rows: Rows, follow: FollowRow, now: datetime) -> list[Out]:
    """Request a look: the next one, or one that was not answered, under a new number."""
    follow.look += 1
    follow.looking, follow.next_look = now, None
    follow.whole = whole = _whole(follow, now)
    how = _how(follow, now, whole=whole)
    if how == "feed":
        follow.feed_at = now
    due = e.FollowLookDue(
        follow_id=follow.follow_id,
        look=follow.look,
        target=_target(follow),
        how=how,
        prefixes=list_prefixes(follow.parsed.tab, follow.options.rules),
        since=follow.options.rules.since,
        known=() if whole else tuple(rows.newest_known(follow.follow_id, follow.good_look * _LIST, _KNOWN)),
    )
    return [(due, str(uuid5(NAMESPACE_URL, f"{follow.follow_id}|{follow.look}|{follow.created_at.isoformat()}")))]


def expected_requests(follow: FollowRow, now: datetime) -> int:
    """Return about how many requests the next look will send."""
    lists = len(list_prefixes(follow.parsed.tab, follow.options.rules))
    whole = _whole(follow, now)
    if _how(follow, now, whole=whole) == "feed":
        return lists + (2 * lists if follow.feed_failures else 0)
    return 2 * lists + (follow.videos // 100 if whole or follow.parsed.kind is not TargetKind.CHANNEL else 0)


def _whole(follow: FollowRow, now: datetime) -> bool:
    return follow.whole_at is None or now - follow.whole_at > _WHOLE_AGAIN


def _how(follow: FollowRow, now: datetime, *, whole: bool) -> HowToLook:
    if whole or follow.parsed.kind is not TargetKind.CHANNEL or follow.channel_id is None:
        return "list"
    if follow.listed_at is None or now - follow.listed_at > _LIST_AGAIN:
        return "list"
    tired = follow.feed_failures >= _FEED_FAILURES and follow.feed_at is not None
    return "list" if tired and follow.feed_at is not None and now - follow.feed_at < _FEED_AGAIN else "feed"


def _target(follow: FollowRow) -> Target:
    """A channel by its id, once that is known: names change."""
    if follow.parsed.kind is TargetKind.CHANNEL and follow.channel_id is not None:
        return follow.parsed.model_copy(update={"id": follow.channel_id})
    return follow.parsed


def listed(rows: Rows, event: e.FollowListed, now: datetime) -> list[Out]:
    """Store the new videos of a page, with the decision of the rules as far as the list tells."""
    follow = _looking(rows, event.follow_id, event.look)
    if follow is None:
        return []
    follow.looking = now  # a long list takes its time
    known = rows.known_videos(follow.follow_id, [entry.video_id for entry in event.entries])
    for entry in event.entries:
        before = known.get(entry.video_id)
        if before is not None and (follow.whole or before.state is FollowVideoState.FOUND):
            before.rank = _rank(follow, entry)  # its place in the list, which an earlier look may not have known
            rows.set_follow_video(before)
    new = [entry for entry in event.entries if entry.video_id not in known and entry.marked is None]
    new = list({entry.video_id: entry for entry in new}.values())
    for entry in new:
        verdict = judge(follow.options.rules, entry.facts)
        state = FollowVideoState.LEFT_OUT if verdict.taken is False else FollowVideoState.FOUND
        follow.left_out += state is FollowVideoState.LEFT_OUT
        rows.set_follow_video(_video(follow, entry, state, verdict.reason or None, now))
        follow.videos += 1
    exact = [entry.published_until for entry in event.entries if entry.published_until is not None and _is_exact(entry)]
    follow.times = newest_times(follow.times, exact or ([now] if new and follow.looked_at is not None else []))
    return []


def _is_exact(entry: Entry) -> bool:
    """Whether it is known to a day or less when it was published."""
    if entry.published_from is None or entry.published_until is None:
        return False
    return entry.published_until - entry.published_from <= timedelta(days=3)


def _rank(follow: FollowRow, entry: Entry) -> int:
    return follow.look * _LIST - min(entry.position, _LIST - 1)


def _video(
    follow: FollowRow, entry: Entry, state: FollowVideoState, reason: str | None, now: datetime
) -> FollowVideoRow:
    return FollowVideoRow(
        follow_id=follow.follow_id,
        video_id=entry.video_id,
        rank=_rank(follow, entry),
        state=state,
        at=now,
        position=entry.position,
        title=entry.title,
        reason=reason,
        published_until=entry.published_until,
    )


def looked(
    rows: Rows, event: e.FollowLooked, trace_id: str, now: datetime, pace: Pace
) -> tuple[list[Out], FoundJob | None]:
    """End a look. Return its events, and the job that fetches what it has found. Also what a failed look has found is
    fetched, unless it was the first: then it is not known which are the newest."""
    follow = _looking(rows, event.follow_id, event.look)
    if follow is None:
        return [], None
    first = follow.looked_at is None
    _note_look(follow, event, now)
    found = rows.found_videos(follow.follow_id)
    if first and follow.last is not None and event.error is None:
        found = _only_newest(rows, follow, found)
    schedule(follow, rows.follow_load(), now, pace)
    if event.retry_after is not None and follow.next_look is not None:
        follow.next_look = after_block(follow, max(event.retry_after, now))
    if first and event.error is not None:
        rows.forget_videos(follow.follow_id, FollowVideoState.FOUND)  # the next look reads the list from its start
        follow.videos -= len(found)
        return [], None
    if not found:
        return [], None
    return _take(rows, follow, found, trace_id, now)


def _note_look(follow: FollowRow, event: e.FollowLooked, now: datetime) -> None:
    follow.looking, follow.wanted, follow.how = None, False, event.how
    if not follow.whole:  # which is too rare to say what the looks of this follow cost
        follow.requests = event.requests or follow.requests
    follow.error = event.error
    if event.feed_problem is not None:
        follow.feed_failures, follow.feed_problem = follow.feed_failures + 1, event.feed_problem
    elif event.how == "feed" and event.error is None:
        follow.feed_failures, follow.feed_problem = 0, None
    if event.playlist is not None:
        follow.title = event.playlist.title or event.playlist.channel or follow.title
        if follow.parsed.kind is TargetKind.CHANNEL:
            follow.channel_id = event.playlist.channel_id or follow.channel_id
    if event.error is not None:
        follow.failures += 1
        return
    follow.failures, follow.looked_at, follow.good_look = 0, now, follow.look
    if event.how == "list":
        follow.listed_at = now
    if follow.whole:
        follow.whole_at = now


def _only_newest(rows: Rows, follow: FollowRow, found: list[FollowVideoRow]) -> list[FollowVideoRow]:
    """Leave out all but the newest of what was there at the first look."""
    for video in found[follow.last :]:
        video.state = FollowVideoState.BEFORE
        video.reason = f"it was not among the newest {follow.last} when the follow began"
        rows.set_follow_video(video)
    return found[: follow.last]


def _take(
    rows: Rows, follow: FollowRow, found: Sequence[FollowVideoRow], trace_id: str, now: datetime
) -> tuple[list[Out], FoundJob]:
    job_id = job_id_of(follow.follow_id, follow.look)
    if len(found) > _MOST:
        found, follow.next_look, follow.wanted = found[:_MOST], now, True  # the end of that look takes the others
    for video in found:
        video.state, video.job_id = FollowVideoState.TAKEN, job_id
        rows.set_follow_video(video)
    follow.taken += len(found)
    follow.found_at, follow.found_title, follow.last_job = now, found[0].title, job_id
    job = e.JobCreated(
        job_id=job_id,
        type=follow.type,
        targets=tuple(video.video_id for video in found),
        options=follow.options,
        priority=follow.priority,
    )
    event = e.FollowFound(
        follow_id=follow.follow_id,
        look=follow.look,
        job_id=job_id,
        title=follow.title,
        entries=tuple(
            Entry(video_id=video.video_id, title=video.title, position=n)
            for n, video in enumerate(found[: e.PAGE_SIZE])
        ),
        found=len(found),
        left_out=follow.left_out,
    )
    return [(event, trace_id)], FoundJob(job, trace_id, follow.root, follow.title)


def look_lost(rows: Rows, follow_id: str, error: ErrorDetail, now: datetime) -> None:
    """End a look of which a message could not be handled. It is repeated as after a failure."""
    follow = rows.follow(follow_id)
    if follow is None or follow.looking is None:
        return
    follow.looking, follow.wanted, follow.error = None, False, error
    follow.failures += 1
    schedule(follow, rows.follow_load(), now, Pace())


def left_out(rows: Rows, follow_id: str, video_id: str, reason: str) -> None:
    """Note that a rule does not take a video after all, as its metadata tell."""
    follow, video = rows.follow(follow_id), rows.follow_video(follow_id, video_id)
    if follow is None or video is None or video.state is not FollowVideoState.TAKEN:
        return
    video.state, video.reason = FollowVideoState.LEFT_OUT, reason
    rows.set_follow_video(video)
    follow.taken -= 1
    follow.left_out += 1


def clock_set_back(follow: FollowRow, now: datetime) -> None:
    """Move times that lie in the future to now: the clock was ahead when they were stored."""
    times = (follow.created_at, follow.looked_at, follow.listed_at, follow.whole_at, follow.feed_at)
    if follow.next_look is not None and any(at > now for at in times if at is not None):
        follow.next_look = min(follow.next_look, now)
    follow.created_at = min(follow.created_at, now)
    follow.looking = _not_after(follow.looking, now)
    follow.looked_at, follow.listed_at = _not_after(follow.looked_at, now), _not_after(follow.listed_at, now)
    follow.whole_at, follow.feed_at = _not_after(follow.whole_at, now), _not_after(follow.feed_at, now)


def _not_after(at: datetime | None, now: datetime) -> datetime | None:
    return min(at, now) if at is not None else None


def _looking(rows: Rows, follow_id: str, number: int) -> FollowRow | None:
    """Return the follow that waits for this look; None if it was superseded, or the follow removed."""
    follow = rows.follow(follow_id)
    return follow if follow is not None and follow.looking is not None and follow.look == number else None
