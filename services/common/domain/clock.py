"""Times that a wrong clock has stored, and when to delete what is old. Pure.

A clock may be years ahead, or in 1970 (a machine without a battery), until it is set. What was stored meanwhile must
neither be waited for nor count as newer than everything since, and nothing may be deleted because of it.
"""

from datetime import UTC, datetime, timedelta

from pydantic import AwareDatetime, BaseModel

AHEAD = timedelta(days=1)  # clocks of several machines differ, and are corrected, by less
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)  # this program is younger
_AWAY = timedelta(days=7)  # so far time may advance from one look to the next, and be believed at once
_CONFIRMED_AFTER = timedelta(days=1)


def is_ahead(at: datetime, now: datetime) -> bool:
    """Return whether a stored time of something that has happened is so far in the future that a clock was wrong."""
    return at > now + AHEAD


class KnownTime(BaseModel, frozen=True):
    """The last time that was believed, and since when the clock has been more than a week ahead of it."""

    believed: AwareDatetime
    ahead_since: AwareDatetime | None = None


def believe(known: KnownTime | None, now: datetime) -> KnownTime | None:
    """Return what is known after a look at the clock.

    A jump of more than a week is believed when a later look, a day after the first one, finds it again: a machine that
    was switched off, but not a clock that was wrong for a while. A time before this program existed is never believed.
    """
    if now < _FIRST:
        return known
    if known is None or now <= known.believed + _AWAY:
        return KnownTime(believed=now)
    since = known.ahead_since
    if since is None or now < since:
        return KnownTime(believed=known.believed, ahead_since=now)
    if now < since + _CONFIRMED_AFTER:
        return known
    return believe(KnownTime(believed=since), now)


def deletion_time(known: KnownTime | None, now: datetime) -> datetime:
    """Return the time by which the age of old data is measured: not later than a week after the last one believed."""
    return now if known is None else min(now, known.believed + _AWAY)
