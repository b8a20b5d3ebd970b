"""When news may be told: quiet hours and the time of the day for the digest. Pure; local times."""

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta

_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


def parse_time(text: str) -> time:
    """Return the time of `08:00`. Raise ValueError."""
    found = _CLOCK.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time of the day: write 08:00")
    return time(int(found[1]), int(found[2]))


@dataclass(frozen=True)
class QuietHours:
    """From `begin` to `end`, which may be of the next day; the same time twice: none."""

    begin: time
    end: time

    @classmethod
    def parse(cls, text: str) -> "QuietHours | None":
        """Return the hours of `22:00-07:00`; None for an empty text. Raise ValueError."""
        if not text:
            return None
        begin, dash, end = text.partition("-")
        if not dash:
            raise ValueError(f"{text!r} are no hours: write 22:00-07:00")
        return cls(parse_time(begin.strip()), parse_time(end.strip()))

    def over_at(self, at: datetime) -> datetime:
        """Return when news may be told: `at` itself, or the end of the quiet hours that it falls into."""
        now = at.time().replace(tzinfo=None)
        over_midnight = self.begin > self.end
        quiet = (now >= self.begin or now < self.end) if over_midnight else self.begin <= now < self.end
        return next_time(at, self.end) if quiet else at


def next_time(after: datetime, clock: time) -> datetime:
    """Return the first moment after `after` at which clocks show that time."""
    at = datetime.combine(after.date(), clock, after.tzinfo)
    return at if at > after else at + timedelta(days=1)
