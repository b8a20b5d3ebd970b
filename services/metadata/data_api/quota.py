"""Quota of the Data API: cost of a call, end of a day, remaining units. Pure.

A day ends at midnight Pacific time, so it has 23 or 25 hours twice a year
(developers.google.com/youtube/v3/getting-started#quota).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

PACIFIC = ZoneInfo("America/Los_Angeles")
LIST_COST = 1  # units
LATE = timedelta(minutes=2)  # the largest expected difference between our clock and YouTube's
WARN_AT = 0.8  # of the limit
COSTS: Mapping[str, int] = {"captions": 50}  # units of a list call, where it is not LIST_COST


class Day(BaseModel):
    """The units that one key has used in one quota day, as stored. `exhausted`: YouTube has reported a used-up
    quota."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    used: int = Field(default=0, ge=0)
    exhausted: bool = False

    def charged(self, cost: int) -> "Day":
        return self.model_copy(update={"used": self.used + cost})

    def ended(self) -> "Day":
        return self.model_copy(update={"exhausted": True})


@dataclass(frozen=True, slots=True)
class Budget:
    """`limit` units a day; background work of jobs stops `reserve` units earlier."""

    limit: int
    reserve: int

    def allows(self, day: Day, cost: int, *, background: bool = True) -> bool:
        return cost <= self.left(day, background=background)

    def left(self, day: Day, *, background: bool) -> int:
        """Return the units that may still be spent today."""
        most = self.limit - (self.reserve if background else 0)
        return 0 if day.exhausted else max(0, most - day.used)

    def warns(self, day: Day) -> bool:
        """Return whether 80 % of the day's quota are used, or YouTube has reported it as used up."""
        return day.exhausted or day.used >= self.limit * WARN_AT


def cost_of(resource: str) -> int:
    """Return the units of one list call."""
    return COSTS.get(resource, LIST_COST)


def quota_day(now: datetime, zone: tzinfo = PACIFIC) -> date:
    return now.astimezone(zone).date()


def next_reset(now: datetime, zone: tzinfo = PACIFIC) -> datetime:
    """Return when the quota day of `now` ends, in UTC."""
    midnight = datetime.combine(quota_day(now, zone) + timedelta(days=1), time.min, tzinfo=zone)
    return midnight.astimezone(UTC)


def renewed_by(now: datetime, zone: tzinfo = PACIFIC, late: timedelta = LATE) -> datetime:
    """Return when to retry after YouTube has reported a used-up quota; right after midnight it may mean the day
    before."""
    return next_reset(now - late, zone) + late


def fingerprint(api_key: str) -> str:
    """Return the digest that represents a key in stores and output (16 hex digits)."""
    return hashlib.sha256(api_key.encode()).hexdigest()[:16]


def storage_key(api_key: str, now: datetime, zone: tzinfo = PACIFIC) -> str:
    """Return the name under which a day of a key is stored; it does not reveal the key."""
    return f"{fingerprint(api_key)}.{quota_day(now, zone).isoformat()}"
