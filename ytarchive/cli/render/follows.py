"""Follows for people. Pure; upstream text goes through safe_text."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text

from services.common.domain.follows import Follow, FollowVideo, FollowVideoState, RulesTrial
from services.common.rules import Rules, shown_length
from services.jobs.rest_models import FollowVideoList
from ytarchive.cli.render.table import Cell, facts, table
from ytarchive.text import count, moment, safe_text, span

_NAME, _TITLE = 40, 60  # characters


def name_of(follow: Follow) -> str:
    return safe_text(follow.title or follow.target, _NAME)


def follows_table(follows: Sequence[Follow], now: datetime) -> RenderableType:
    if not follows:
        return Text("Nothing is followed. `ytarchive follow add CHANNEL` keeps a channel by itself.")
    rows = (
        (
            follow.follow_id,
            name_of(follow),
            _state(follow, now),
            moment(follow.found_at, now) if follow.found_at else "",
            f"{follow.taken:,}",
            f"{follow.left_out:,}" if follow.left_out else "",
        )
        for follow in follows
    )
    listed = table("follow", "name", "next look", "found last", "videos", "left out", rows=rows)
    return Group(listed, Text(count(len(follows), "follow")))


def _state(follow: Follow, now: datetime) -> Text:
    if follow.paused:
        return Text("paused", style="yellow")
    if follow.looking:
        return Text("looking now", style="cyan")
    at = "due" if follow.next_look is None or follow.next_look <= now else moment(follow.next_look, now)
    return Text(f"{at}, failed {count(follow.failures, 'time')}", style="red") if follow.failures else Text(at)


def follow_view(follow: Follow, left_out: FollowVideoList, now: datetime) -> RenderableType:
    shown: list[RenderableType] = [facts(_facts(follow, now))]
    if left_out.videos:
        rows = ((safe_text(one.video_id), safe_text(one.title or "", _TITLE), _why(one)) for one in left_out.videos)
        shown += [Text(f"\nLeft out ({left_out.total:,}):", style="bold"), table("video", "title", "why", rows=rows)]
    return Group(*shown)


def _facts(follow: Follow, now: datetime) -> list[tuple[str, Cell]]:
    rows: list[tuple[str, Cell]] = [
        ("Follow", follow.follow_id),
        ("Name", name_of(follow)),
        ("Target", safe_text(follow.target, 500)),
        ("Next look", _state(follow, now)),
        ("Interval", _interval(follow)),
    ]
    if follow.looked_at:
        rows.append(("Last look", f"{moment(follow.looked_at, now)}, by {_HOW[follow.how or 'list']}"))
    if follow.error:
        rows.append(("Problem", Text(safe_text(follow.error.message, 1000), style="red")))
    if follow.feed_problem:
        rows.append(("Feed", safe_text(f"not used at present, the list is: {follow.feed_problem}", 500)))
    if follow.found_at:
        rows.append(("Found last", f"{moment(follow.found_at, now)}: {safe_text(follow.found_title or '', _TITLE)}"))
    if follow.job_id:
        rows.append(("Last job", follow.job_id))
    rows += [
        ("Videos", f"{follow.taken:,} wanted, {follow.left_out:,} left out, of {follow.videos:,}"),
        ("Rules", rules_text(follow.options.rules)),
        ("Quality", safe_text(follow.options.quality)),
        ("Files", safe_text(follow.root, 4096)),
        ("Since", moment(follow.created_at, now)),
    ]
    return rows


_HOW = {"feed": "the feed", "list": "the list"}


def _interval(follow: Follow) -> str:
    if follow.interval_seconds is None:
        return "not known yet"
    every = span(follow.interval_seconds)
    why = "as you chose" if follow.every_seconds is not None else "by the channel's own rhythm"
    return f"{every}, {why}{', and longer because there are many follows' if follow.stretched else ''}"


def rules_text(rules: Rules) -> str:
    """Return the rules in words."""
    given = rules.model_dump(mode="json", exclude_defaults=True)
    words = [f"{name.replace('_', ' ')}: {_shown(name, value)}" for name, value in given.items()]
    return safe_text("; ".join(words), 2000) or "none: all videos are wanted"


def _shown(name: str, value: object) -> str:
    if name in {"min_length", "max_length"} and isinstance(value, float):
        return shown_length(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _why(video: FollowVideo) -> str:
    return safe_text(video.reason or "", 200) if video.state is not FollowVideoState.TAKEN else ""


def trial_view(trial: RulesTrial) -> RenderableType:
    """What rules would do, each video with its reason, and the sum."""
    rows = (
        (
            safe_text(one.video_id),
            _VERDICTS[one.taken],
            safe_text(one.title or "", _TITLE),
            safe_text(one.reason or (f"the list does not tell {one.unknown}" if one.unknown else ""), 200),
        )
        for one in trial.videos
    )
    taken, left, open_ = (sum(one.taken is verdict for one in trial.videos) for verdict in (True, False, None))
    later = f", {open_} decided when the video is fetched" if open_ else ""
    name, shown = safe_text(trial.title or "", _NAME), len(trial.videos)
    heading = f"{name}: of the newest {shown}, {taken} wanted, {left} left out{later}."
    return Group(table("video", "", "title", "why", rows=rows), Text(heading))


def imported_view(rows: Sequence[dict[str, str]]) -> RenderableType:
    results = Counter(row["result"].partition(":")[0] for row in rows)
    shown = table(
        "target", "", rows=((safe_text(row["target"], _TITLE), safe_text(row["result"], 200)) for row in rows)
    )
    return Group(shown, Text(", ".join(f"{number:,} {result}" for result, number in results.items()) + "."))


_VERDICTS = {
    True: Text("wanted", style="green"),
    False: Text("left out", style="yellow"),
    None: Text("open", style="cyan"),
}
