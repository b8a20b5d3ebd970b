"""Follows in a made world: 200 channels over 60 days of a clock that the benchmark moves.

    python -m tests.benchmarks.follow_world [--channels 200] [--days 60] [--seed 1]

Channels publish videos, shorts, streams and premieres at rhythms from hourly to monthly; some are retitled, hidden or
deleted later. For five days all feeds fail; twice YouTube refuses every request for six hours. Follows have rules. What
decides is the code of the product: the looks of the metadata service and of the yt-dlp child, the follows, their rhythm
and the tables of jobs. Only YouTube (the pages that yt-dlp reads, and the feed) and the time are made.
"""

import argparse
import asyncio
import heapq
import io
import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any, cast

from yt_dlp.utils import DownloadError

from services.common import events as e
from services.common.domain.failures import Failure, FailureKind
from services.common.domain.follows import HowToLook
from services.common.domain.videos import VideoMetadata
from services.common.models import ErrorCode, JobOptions, JobType
from services.common.rules import Rules, VideoKind, judge
from services.common.youtube.child import look as child
from services.jobs.adapters import queries
from services.jobs.adapters.schema import SCHEMA
from services.jobs.adapters.unit_of_work import SqlRows
from services.jobs.domain import follows, state_machine
from services.jobs.domain.rhythm import Pace, RequestBudget
from services.metadata.looks import Looks
from services.metadata.sources import SourceFailed
from ytarchive.emulator.site.feed import feed_of
from ytarchive.emulator.site.world import Channel, Video, World
from ytarchive.emulator.site.world import VideoKind as Availability

NEVER = datetime.max.replace(tzinfo=UTC)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
FEEDS_DOWN = (timedelta(days=20), timedelta(days=25))
THROTTLES = ((timedelta(days=10, hours=3), timedelta(hours=6)), (timedelta(days=41, hours=15), timedelta(hours=6)))
RULES: tuple[dict[str, Any], ...] = (
    {},
    {"kinds": ["video", "premiere"]},
    {"kinds": ["short"]},
    {"kinds": ["stream"]},
    {"title_exclude": "trailer"},
    {"min_length": "3m"},
    {"max_length": "10m", "title_include": "episode"},
    {"since": date(2026, 1, 5)},
    {"description_exclude": "sponsored"},
)
_TABS = {VideoKind.SHORT: "shorts", VideoKind.STREAM: "streams"}


@dataclass
class Made:
    """A video of the world, as it was published. `visible_until`: when it was hidden or deleted."""

    video_id: str
    channel: str
    kind: VideoKind
    metadata: VideoMetadata
    announced: datetime
    available: datetime
    visible_until: datetime = NEVER
    wanted: bool = False
    found: datetime | None = None
    due_within: timedelta = timedelta()  # twice the interval when it appeared
    held: datetime | None = None


@dataclass
class Figures:
    """`late`: seconds beyond two intervals; `vanished`: gone before two intervals were over."""

    videos: int = 0
    wanted: int = 0
    held: int = 0
    missed: list[str] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    vanished: int = 0
    looks: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    most_requests_in_an_hour: int = 0
    delays: list[float] = field(default_factory=list)  # hours from appearance to find
    shares: list[float] = field(default_factory=list)  # of the interval in force
    cpu_seconds: float = 0.0

    def summary(self) -> dict[str, Any]:
        delays, shares = sorted(self.delays), sorted(self.shares)
        return {
            "videos": self.videos,
            "wanted": self.wanted,
            "held": self.held,
            "missed": len(self.missed),
            "unwanted": len(self.unwanted),
            "vanished before two intervals were over": self.vanished,
            "found later than two intervals": len(self.late),
            "median delay, hours": round(_quantile(delays, 0.5), 2),
            "95 % of the delays, hours": round(_quantile(delays, 0.95), 2),
            "longest delay, intervals": round(shares[-1], 2) if shares else 0,
            "looks by feed": self.looks["feed"],
            "looks by list": self.looks["list"],
            "requests": self.requests,
            "most requests in an hour": self.most_requests_in_an_hour,
            "CPU ms for each look": round(1000 * self.cpu_seconds / max(1, self.looks.total()), 2),
        }


class YouTube:
    """What yt-dlp reads, from the world, at the simulated time. `requests` counts them."""

    def __init__(self, world: World, now: Callable[[], datetime], made: dict[str, Made]) -> None:
        self._world, self._now, self._made = world, now, made
        self.at: list[datetime] = []

    def count(self, requests: int) -> None:
        self.at += [self._now()] * requests

    def urlopen(self, request: Any) -> io.BytesIO:
        _key, _, wanted = request.url.partition("?")[2].partition("=")
        playlist = self._world.find_playlist(f"UU{wanted[2:]}" if wanted.startswith("UC") else wanted)
        if playlist is None:
            raise DownloadError("HTTP Error 404: there is no such feed, the playlist does not exist")
        return io.BytesIO(feed_of(self._world, playlist).encode())

    def extract_info(self, url: str, **_options: Any) -> dict[str, Any]:
        playlist = self._world.find_playlist(url.partition("list=")[2])
        if playlist is None:
            raise DownloadError("YouTube said: The playlist does not exist.")
        channel = self._world.channels[playlist.channel]
        return {
            "_type": "playlist",
            "id": playlist.id,
            "title": playlist.title,
            "channel": channel.title,
            "channel_id": channel.id,
            "entries": self._lines(playlist.entries),
        }

    def _lines(self, entries: Sequence[str]) -> Iterator[dict[str, Any]]:
        for video_id in entries:
            video = self._world.videos[video_id]
            upcoming = video.kind is Availability.UPCOMING
            yield {
                "id": video_id,
                "title": video.title,
                "duration": None if upcoming else video.duration,
                "view_count": video.views,
                "timestamp": None if upcoming else self._told(self._made[video_id].available),
            }

    def _told(self, at: datetime) -> float:
        """Return a time as yt-dlp reads it from "3 days ago"."""
        age, now = (self._now() - at).total_seconds(), self._now().timestamp()
        for unit in (365 * 86_400, 30 * 86_400, 7 * 86_400, 86_400, 3600):
            if age >= unit:
                rounded = min(unit, 86_400)
                return round((now - age // unit * unit) / rounded) * rounded
        return now - age


class MadeSource:
    """Stands for yt-dlp in its child, and for the permission to ask YouTube."""

    def __init__(self, youtube: YouTube, now: Callable[[], datetime]) -> None:
        self._youtube, self._now, self.source = youtube, now, self

    @asynccontextmanager
    async def permission(self, _trace_id: str) -> AsyncIterator[None]:
        yield

    async def look(self, due: e.FollowLookDue, how: HowToLook) -> AsyncGenerator[dict[str, Any], None]:
        since = self._now() - BEGIN
        for begin, lasts in THROTTLES:
            if begin <= since < begin + lasts:
                self._youtube.count(1)
                until = BEGIN + begin + lasts
                raise SourceFailed(_failure(FailureKind.SITE_WIDE, "http_429", until))
        if how == "feed" and FEEDS_DOWN[0] <= since < FEEDS_DOWN[1]:
            self._youtube.count(1)
            raise SourceFailed(_failure(FailureKind.PASSING, "http_404"))
        messages: list[dict[str, Any]] = []
        day = datetime(due.since.year, due.since.month, due.since.day, tzinfo=UTC) if due.since else None
        known = frozenset(due.known)
        look = child.Look(self._youtube, due.target, due.prefixes, known, day, messages.append, self._now)
        if how == "feed":
            look.feeds()
        else:
            look.lists()
        self._youtube.count(messages[-1]["requests"])
        for message in messages:
            yield message


def _failure(kind: FailureKind, reason: str, until: datetime | None = None) -> Failure:
    return Failure(kind=kind, code=ErrorCode.SERVICE_UNAVAILABLE, reason=reason, message=reason, retry_after=until)


class Simulation:
    def __init__(self, channels: int, days: int, seed: int, pace: Pace) -> None:
        self.now, self.end, self._pace = BEGIN, BEGIN + timedelta(days=days), pace
        self._random = random.Random(seed)  # noqa: S311 - a made world
        self._ids = count()
        self.world, self.made = World(), dict[str, Made]()
        self._events: list[tuple[datetime, int, Callable[[], None]]] = []
        self._rules: dict[str, Rules] = {}
        self._follow_of: dict[str, str] = {}
        self.youtube = YouTube(self.world, lambda: self.now, self.made)
        self._looks = Looks(cast("Any", MadeSource(self.youtube, lambda: self.now)), asyncio.Event())
        self.sql = sqlite3.connect(":memory:", isolation_level=None)
        self.sql.row_factory = sqlite3.Row
        self.sql.executescript(SCHEMA)
        self._budget = RequestBudget(pace.requests_per_hour)
        self.figures = Figures()
        for number in range(channels):
            self._add_channel(number)

    # --- the world

    def _add_channel(self, number: int) -> None:
        channel_id = f"UCworld{number:017d}"
        self.world.add(Channel(channel_id, f"@world{number}", f"World {number}"))
        rules = Rules.model_validate(RULES[number % len(RULES)])
        follow_id = f"{number:012x}"
        self._rules[channel_id], self._follow_of[channel_id] = rules, follow_id
        usual = timedelta(hours=self._random.choice([2, 6, 12, 24, 24, 48, 84, 168, 336, 720]))
        for age in range(20, 0, -1):  # what was there before
            self._publish(channel_id, BEGIN - usual * age * self._random.uniform(0.8, 1.2))
        at = BEGIN
        while (at := at + usual * self._random.expovariate(1.0)) < self.end:
            self._at(at, partial(self._publish, channel_id, at))
        created = e.FollowCreated(
            follow_id=follow_id,
            change_id="1",
            target=channel_id,
            type=JobType.PLAYLIST_DOWNLOAD,
            options=JobOptions(rules=rules),
            root="/archive",
        )
        self._step(created)

    def _publish(self, channel_id: str, at: datetime) -> None:
        pick = self._random
        kind = pick.choices(list(VideoKind), (70, 20, 7, 3))[0]
        number = next(self._ids)
        video_id = f"w{number:010d}"
        seconds = pick.randint(10, 59) if kind is VideoKind.SHORT else pick.randint(60, 5000)
        title = pick.choice(("Episode {}", "Trailer {}", "Talk {}", "Episode {}, and more")).format(number)
        description = pick.choice(("Sponsored by nobody.", "As every week.", ""))
        metadata = VideoMetadata(
            video_id=video_id,
            title=title,
            description=description,
            upload_date=at.date().isoformat(),
            duration_seconds=seconds,
            kind=kind.value,
            view_count=1000,
            availability="public",
        )
        late = kind is VideoKind.PREMIERE or (kind is VideoKind.STREAM and pick.random() < 0.5)
        available = at + timedelta(hours=pick.uniform(2, 60)) if late else at
        made = Made(video_id, channel_id, kind, metadata, at, available)
        made.wanted = judge(self._rules[channel_id], metadata.facts).taken is not False
        self.made[video_id] = made
        self.world.add(
            Video(
                video_id,
                title,
                channel_id,
                description=description,
                duration=seconds,
                tab=_TABS.get(kind, "videos"),
                kind=Availability.UPCOMING if available > at else Availability.OK,
                published=at.isoformat(),
                upload_date=at.date().isoformat(),
            )
        )
        channel = self.world.channels[channel_id]
        self.world.add(Channel(channel_id, channel.handle, channel.title, uploads=(video_id, *channel.uploads)))
        made.due_within = self._two_intervals(channel_id)
        if available > at:
            self._at(available, lambda: self._become(made, Availability.OK))
        if pick.random() < 0.02:
            gone = pick.choice((Availability.PRIVATE, Availability.DELETED))
            self._at(available + timedelta(hours=pick.expovariate(1 / 200)), lambda: self._become(made, gone))
        if pick.random() < 0.1:
            self._at(at + timedelta(hours=pick.uniform(1, 200)), lambda: self._retitle(made))

    def _two_intervals(self, channel_id: str) -> timedelta:
        follow = SqlRows(self.sql).follow(self._follow_of[channel_id])
        return 2 * timedelta(seconds=follow.interval) if follow is not None else timedelta(hours=12)

    def _become(self, made: Made, kind: Availability) -> None:
        self.world.set_kind(made.video_id, kind)
        if kind is Availability.OK:
            if made.found is not None:  # its job waits for it
                self._fetch(made)
        else:
            made.visible_until = self.now

    def _retitle(self, made: Made) -> None:
        video = self.world.videos[made.video_id]
        self.world.videos[made.video_id] = replace(video, title=f"{video.title} (new)")

    def _at(self, at: datetime, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at, next(self._ids), happens))

    # --- the product

    def _step(self, event: e.Event) -> None:
        rows = SqlRows(self.sql)
        self.sql.execute("BEGIN")
        for out, _trace_id in state_machine.step(rows, event, self.now, "trace", pace=self._pace):
            if isinstance(out, e.JobQueued):
                for video_id in out.target.video_ids:
                    self._found(self.made[video_id])
        rows.save()
        self.sql.execute("COMMIT")

    def _found(self, made: Made) -> None:
        made.found = self.now
        if self.world.kind(made.video_id) is Availability.OK:
            self._fetch(made)

    def _fetch(self, made: Made) -> None:
        """As the worker's child does: what the list did not tell is decided by the metadata."""
        if judge(self._rules[made.channel], made.metadata.facts).taken is not False and made.held is None:
            made.held = self.now

    async def run(self) -> Figures:
        looking = 0.0
        while self.now < self.end:
            due = queries.next_follow(self.sql)
            look_at = max(due, self._budget.ready_at(self.now)) if due is not None else self.end
            event_at = self._events[0][0] if self._events else self.end
            self.now = max(self.now, min(look_at, event_at, self.end))
            if event_at <= look_at:
                if not self._events:
                    break
                heapq.heappop(self._events)[2]()
                continue
            before = time.process_time()
            for follow_id in queries.due_follows(self.sql, self.now, 2, only_wanted=False):
                await self._look(follow_id)
            looking += time.process_time() - before
        self.figures.cpu_seconds = looking
        return self._judged()

    async def _look(self, follow_id: str) -> None:
        rows = SqlRows(self.sql)
        follow = rows.follow(follow_id)
        assert follow is not None
        if not self._budget.take(follow_id, follows.expected_requests(follow, self.now), self.now):
            return
        self.sql.execute("BEGIN")
        ((due, _trace_id),) = follows.look(rows, follow, self.now)
        rows.save()
        self.sql.execute("COMMIT")
        assert isinstance(due, e.FollowLookDue)
        async for event in self._looks.look(due, "trace"):
            if isinstance(event, e.FollowLooked):
                self.figures.looks[event.how] += 1
                self._budget.sent(follow_id, event.requests)
            self._step(cast("e.Event", event))

    def _judged(self) -> Figures:
        figures = self.figures
        blocked = [(BEGIN + begin, BEGIN + begin + lasts) for begin, lasts in THROTTLES]
        for made in self.made.values():
            figures.videos += 1
            figures.wanted += made.wanted
            figures.held += made.held is not None
            if made.held is not None and not made.wanted:
                figures.unwanted.append(made.video_id)
            appeared = max(made.announced, BEGIN)
            allowed = appeared + made.due_within
            for begin, over in blocked:
                if begin < allowed and appeared < over:
                    allowed = max(allowed, over + made.due_within)
            if made.wanted and made.held is None and max(allowed, made.available) < self.end:
                if made.visible_until <= max(allowed, made.available):
                    figures.vanished += 1
                else:
                    figures.missed.append(made.video_id)
            if made.wanted and made.found is not None and made.announced >= BEGIN:
                waited = made.found - appeared
                figures.delays.append(waited.total_seconds() / 3600)
                if allowed == appeared + made.due_within:
                    figures.shares.append(2 * waited / made.due_within)
                if made.found > allowed:
                    figures.late.append(made.video_id)
        hours = Counter(at.replace(minute=0, second=0, microsecond=0) for at in self.youtube.at)
        figures.requests = len(self.youtube.at)
        figures.most_requests_in_an_hour = max(hours.values(), default=0)
        return figures


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def simulate(channels: int, days: int, seed: int, pace: Pace | None = None) -> Figures:
    return asyncio.run(Simulation(channels, days, seed, pace or Pace()).run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--channels", type=int, default=200)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    figures = simulate(options.channels, options.days, options.seed)
    print(json.dumps(figures.summary(), indent=2))  # noqa: T201 - its output


if __name__ == "__main__":
    main()
