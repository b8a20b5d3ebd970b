"""The used quota, in a key-value bucket of the broker that all metadata instances share.

Every change is a compare-and-set, so that simultaneous changes of two instances are both counted.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo

import nats.errors
import structlog
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError, NoKeysError
from nats.js.kv import KeyValue
from pydantic import ValidationError

from bus import Bus
from services.common.errors import ServiceUnavailable
from services.metadata.data_api.quota import (
    LATE,
    PACIFIC,
    Budget,
    Day,
    fingerprint,
    next_reset,
    quota_day,
    renewed_by,
    storage_key,
)

BUCKET = "quota"
_KEPT = 3 * 24 * 3600.0  # seconds: longer than any quota day
_MAX_BYTES = 1024**2
_RETRY_AFTER = 0.5  # seconds, while the broker is unavailable
SHOWN = 8  # hex digits of a fingerprint that people see

log = structlog.get_logger("services.metadata")


class QuotaStore:
    """Counts units per key and day. While the broker is unavailable the methods wait: units that cannot be counted are
    not spent.

    The instance that reaches 80 %, or is first told by YouTube that the quota is used up, logs a warning: once per day
    and key. A day ends at midnight in `zone`.
    """

    def __init__(self, bus: Bus, budget: Budget, zone: tzinfo = PACIFIC, late: timedelta = LATE) -> None:
        self._bus = bus
        self.budget = budget
        self.zone = zone
        self._late = late
        self._open: KeyValue | None = None

    def resets_at(self) -> datetime:
        """Return when today's count ends, in UTC."""
        return next_reset(datetime.now(UTC), self.zone)

    def renewed_by(self) -> datetime:
        """Return when to retry after YouTube has reported a used-up quota, in UTC."""
        return renewed_by(datetime.now(UTC), self.zone, self._late)

    async def charge(self, api_key: str, cost: int, *, background: bool = True) -> bool:
        """Spend `cost` units of today; call it before the request. Return False, without spending, when they are not
        left."""
        allowed, before = False, Day()

        def spend(day: Day) -> Day:
            nonlocal allowed, before
            before = day
            allowed = self.budget.allows(day, cost, background=background)
            return day.charged(cost) if allowed else day

        after = await self._change(api_key, spend)
        self._warn(api_key, before, after)
        return allowed

    async def end_day(self, api_key: str, asked: datetime) -> None:
        """Record that YouTube has reported a used-up quota for a request made at `asked`: there are no more requests
        before the reset. Right after midnight the report may be about the day before and is ignored."""
        if quota_day(asked - self._late, self.zone) != quota_day(asked, self.zone):
            return
        before = Day()

        def end(day: Day) -> Day:
            nonlocal before
            before = day
            return day.ended()

        after = await self._change(api_key, end, asked)
        self._warn(api_key, before, after)

    async def today(self, api_key: str) -> Day:
        return await self._change(api_key, lambda day: day)

    async def all_keys(self) -> dict[str, Day]:
        """Return today's use of every key, by fingerprint. Raise ServiceUnavailable."""
        try:
            return await self._read_all(quota_day(datetime.now(UTC), self.zone).isoformat())
        except (nats.errors.Error, TimeoutError) as error:
            self._open = None
            raise ServiceUnavailable(
                f"The quota store cannot be read: {str(error) or type(error).__name__}."
            ) from error

    async def _read_all(self, today: str) -> dict[str, Day]:
        bucket, found = await self._bucket(), dict[str, Day]()
        with suppress(NoKeysError):
            for name in await bucket.keys():
                key, _, day = name.partition(".")
                if day == today:
                    with suppress(KeyNotFoundError):  # it expired between the two requests
                        found[key] = _read((await bucket.get(name)).value)
        return found

    def _warn(self, api_key: str, before: Day, after: Day) -> None:
        if self.budget.warns(before) or not self.budget.warns(after):
            return
        log.warning(
            "quota_warning",
            key=fingerprint(api_key)[:SHOWN],
            used=after.used,
            limit=self.budget.limit,
            reserve=self.budget.reserve,
            exhausted=after.exhausted,
            resets_at=self.resets_at().isoformat(),
        )

    async def _change(self, api_key: str, step: Callable[[Day], Day], at: datetime | None = None) -> Day:
        """Return the day of `at` (default: now) after `step`, which may be called several times."""
        while True:
            await self._bus.online.wait()
            try:
                return await self._try(storage_key(api_key, at or datetime.now(UTC), self.zone), step)
            except KeyWrongLastSequenceError:
                continue  # another instance was faster
            except (nats.errors.Error, TimeoutError) as error:
                self._open = None  # the broker may have lost the bucket with its store
                log.warning("quota_ledger_waits", error_message=str(error) or type(error).__name__)
            await asyncio.sleep(_RETRY_AFTER)

    async def _try(self, name: str, step: Callable[[Day], Day]) -> Day:
        bucket = await self._bucket()
        held, revision = Day(), 0
        with suppress(KeyNotFoundError):
            entry = await bucket.get(name)
            held, revision = _read(entry.value), entry.revision or 0
        after = step(held)
        if after != held:
            await bucket.update(name, after.model_dump_json().encode(), last=revision)
        return after

    async def _bucket(self) -> KeyValue:
        if self._open is None:
            about = "Units of the YouTube Data API that a key has spent in a day"
            self._open = await self._bus.bucket(BUCKET, description=about, ttl=_KEPT, max_bytes=_MAX_BYTES)
        return self._open


def _read(value: bytes | None) -> Day:
    try:
        return Day.model_validate_json(value or b"{}")
    except ValidationError as error:
        log.error("quota_ledger_unreadable", error_message=str(error))
        return Day()
