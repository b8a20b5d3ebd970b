"""What is left of the Data API quota, per key."""

from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, Field

from services.metadata.data_api.keys import ApiKeys
from services.metadata.data_api.quota import Budget, Day, fingerprint, quota_day
from services.metadata.data_api.quota_store import SHOWN, QuotaStore


class KeyQuota(BaseModel):
    """The use of one API key today, in units of the Data API. The key is named by the beginning of its SHA-256.

    `exhausted`: nothing is left, not even for people; `warning`: 80 % of the limit are used.
    """

    key: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    configured: bool
    used: int
    remaining_background: int
    remaining_people: int
    exhausted: bool
    warning: bool


class QuotaStatus(BaseModel):
    """`day` ends at midnight Pacific time, which is `resets_at`. `keys`: the configured one first, then keys of jobs
    that were used today."""

    configured: bool
    message: str
    day: date
    resets_at: AwareDatetime
    limit: int
    reserve: int
    keyless_fallback: bool
    keys: list[KeyQuota]


class QuotaReport:
    """Reads the quota store."""

    def __init__(self, keys: ApiKeys, store: QuotaStore, *, keyless_fallback: bool) -> None:
        self._keys = keys
        self._store = store
        self._keyless_fallback = keyless_fallback

    async def status(self) -> QuotaStatus:
        """Return the use of all keys today. Raise ServiceUnavailable when the store cannot be read."""
        key, budget = self._keys.configured, self._store.budget
        days = await self._store.all_keys()
        own = fingerprint(key.secret) if key else ""
        names = ([own] if own else []) + sorted(days.keys() - {own})
        if key is None:
            message = "No API key is configured: listings and look-ups go without the Data API."
        else:
            message = f"This key is used: set by {key.origin}."
        return QuotaStatus(
            configured=key is not None,
            message=message,
            day=quota_day(datetime.now(UTC), self._store.zone),
            resets_at=self._store.resets_at(),
            limit=budget.limit,
            reserve=budget.reserve,
            keyless_fallback=self._keyless_fallback,
            keys=[key_quota(name, days.get(name, Day()), budget, configured=name == own) for name in names],
        )

    async def of_configured_key(self) -> dict[str, Any] | None:
        """Return the KeyQuota of the configured key and the `limit`, as health shows it; None without a key."""
        key = self._keys.configured
        if key is None:
            return None
        day = await self._store.today(key.secret)
        found = key_quota(fingerprint(key.secret), day, self._store.budget, configured=True)
        return {**found.model_dump(), "limit": self._store.budget.limit}


def key_quota(name: str, day: Day, budget: Budget, *, configured: bool) -> KeyQuota:
    """`name` is the fingerprint of the key."""
    people = budget.left(day, background=False)
    return KeyQuota(
        key=name[:SHOWN],
        configured=configured,
        used=day.used,
        remaining_background=budget.left(day, background=True),
        remaining_people=people,
        exhausted=people == 0,
        warning=budget.warns(day),
    )
