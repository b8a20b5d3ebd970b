"""When a follow is looked at again: by the rhythm of the channel, within limits. Pure.

A channel that publishes every day is looked at eight times as often. After a pause longer than usual, the pause counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from zlib import crc32

from services.jobs.domain.rows import FollowRow

TIMES_KEPT = 12
_LOOKS_PER_VIDEO = 8
_UNKNOWN = timedelta(hours=6)  # of a channel whose rhythm is not known yet
_LONGEST_BACKOFF = timedelta(days=1)
_ROUNDING = 1e-6  # of a request: times have microseconds
_EARLIER = 0.1  # looks are spread over this last part of the interval


@dataclass(frozen=True)
class Pace:
    """The limits of [follow]."""

    shortest: timedelta = timedelta(minutes=10)
    longest: timedelta = timedelta(days=3)
    requests_per_hour: int = 240


def interval_of(follow: FollowRow, now: datetime, pace: Pace) -> timedelta:
    """Return the time between two looks by the rhythm of a channel, or that which a person chose."""
    if follow.every is not None:
        return timedelta(seconds=follow.every)
    times = [at for at in follow.times if at <= now]
    if len(times) < 2:
        wanted = (now - times[0]) / _LOOKS_PER_VIDEO if times else _UNKNOWN
        return min(max(wanted, _UNKNOWN), pace.longest)
    usual = (times[0] - times[-1]) / (len(times) - 1)
    quiet = now - times[0]
    wanted = max(usual, quiet) / _LOOKS_PER_VIDEO
    return min(max(wanted, pace.shortest), pace.longest)


def schedule(follow: FollowRow, load: float, now: datetime, pace: Pace) -> None:
    """Set the next look. `load`: the requests per hour of all follows, as stored. If they are too many, all intervals
    are longer by the same factor, so that no channel starves another."""
    interval = interval_of(follow, now, pace)
    before, follow.load = follow.load, _load(follow, interval)
    stretch = max(1.0, (load - before + follow.load) / pace.requests_per_hour)
    follow.interval, follow.stretched = interval.total_seconds() * stretch, stretch > 1.0
    wait = timedelta(seconds=follow.interval)
    if follow.failures:
        wait = min(pace.shortest * 2.0 ** min(follow.failures - 1, 16), _LONGEST_BACKOFF)
    follow.next_look = None if follow.paused else now + wait * (1 - _EARLIER * _share(follow))


def after_block(follow: FollowRow, over: datetime) -> datetime:
    """Return when to look after YouTube has refused this machine until `over`: not all follows at once, but each within
    its own interval."""
    return over + timedelta(seconds=follow.interval) * _share(follow)


def _load(follow: FollowRow, interval: timedelta) -> float:
    """Return the requests per hour that a follow sends by its own rhythm."""
    return 0.0 if follow.paused else 3600 * max(1, follow.requests) / max(1.0, interval.total_seconds())


def newest_times(known: Iterable[datetime], more: Iterable[datetime]) -> tuple[datetime, ...]:
    return tuple(sorted({*known, *more}, reverse=True)[:TIMES_KEPT])


def _share(follow: FollowRow) -> float:
    """Return a number from 0 to 1 that differs between follows and looks, and is the same in every run."""
    return crc32(f"{follow.follow_id}/{follow.look}".encode()) / 0xFFFFFFFF


class RequestBudget:
    """Requests of looks: so many an hour, a twelfth of them at once. A look takes what it will probably send; what it
    has sent beyond that is taken at its end."""

    def __init__(self, per_hour: int) -> None:
        self._per_second = per_hour / 3600
        self._most = max(1.0, per_hour / 12)
        self._left = self._most
        self._taken: dict[str, int] = {}  # by follow
        self._at: datetime | None = None

    def take(self, follow_id: str, requests: int, now: datetime) -> bool:
        """Take the requests of a look, which may be more than are left: a large list has to be read some time."""
        self._refill(now)
        ready = self._left >= 1 - _ROUNDING
        if ready:
            self._left -= requests
            self._taken[follow_id] = requests
        return ready

    def sent(self, follow_id: str, requests: int) -> None:
        """Correct what a look has taken by what it has sent."""
        self._left -= max(0, requests - self._taken.pop(follow_id, 0))

    def ready_at(self, now: datetime) -> datetime:
        """Return when the next look may begin."""
        self._refill(now)
        return now + timedelta(seconds=max(0.0, (1 - self._left) / self._per_second))

    def _refill(self, now: datetime) -> None:
        passed = (now - self._at).total_seconds() if self._at is not None else 0.0
        self._at, self._left = now, min(self._most, self._left + max(0.0, passed) * self._per_second)
