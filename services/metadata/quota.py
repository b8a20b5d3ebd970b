"""The arithmetic of the Data API's quota: what a call costs, when a day ends, what may still be spent. Pure.

A day ends at midnight Pacific time, so it has 23 or 25 hours twice a year
(developers.google.com/youtube/v3/getting-started#quota).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

PACIFIC = ZoneInfo("America/Los_Angeles")
LIST_COST = 1  # units
COSTS: Mapping[str, int] = {"captions": 50}  # units of a list call, where it is not LIST_COST


class Day(BaseModel):
    """What one key has spent in one quota day, as it is stored. `exhausted`: YouTube itself said that it is all."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    used: int = Field(default=0, ge=0)
    exhausted: bool = False

    def charged(self, cost: int) -> "Day":
        return self.model_copy(update={"used": self.used + cost})

    def ended(self) -> "Day":
        return self.model_copy(update={"exhausted": True})


@dataclass(frozen=True, slots=True)
class Budget:
    """`limit` units a day; what jobs do in the background stops `reserve` units earlier."""

    limit: int
    reserve: int

    def allows(self, day: Day, cost: int, *, background: bool = True) -> bool:
        return not day.exhausted and day.used + cost <= self.limit - (self.reserve if background else 0)


def cost_of(resource: str) -> int:
    """Units of one list call."""
    return COSTS.get(resource, LIST_COST)


def quota_day(now: datetime) -> date:
    return now.astimezone(PACIFIC).date()


def next_reset(now: datetime) -> datetime:
    """When the day of `now` ends, in UTC."""
    midnight = datetime.combine(quota_day(now) + timedelta(days=1), time.min, tzinfo=PACIFIC)
    return midnight.astimezone(UTC)


def ledger_key(api_key: str, now: datetime) -> str:
    """The name under which a day of a key is stored: it does not tell the key."""
    return f"{hashlib.sha256(api_key.encode()).hexdigest()[:16]}.{quota_day(now).isoformat()}"
