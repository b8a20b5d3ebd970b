"""One queue per broker: a lease in the KV bucket LEASES, which names the database of the jobs service that holds it.

Two jobs services with different databases would take each other's messages. A service with the same database, a
restarted one or a stand-by, takes the lease over at once; so does one whose predecessor on this machine has ended.
"""

import asyncio
import os
import platform
from contextlib import suppress

import structlog
from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue
from pydantic import BaseModel, ValidationError

from bus import Bus
from bus.embedded.probe import process_exists
from bus.tasks import sleep_to_next
from services.common.errors import ServiceUnavailable

BUCKET = "LEASES"
TTL = 30.0  # seconds until the broker forgets a lease that is not renewed
_RENEW_EVERY = 10.0
_PATIENCE = 2.0  # seconds for the release
_KEY = "jobs"
_MAX_BYTES = 1024**2
_ATTEMPTS = 3
log = structlog.get_logger()


class Holder(BaseModel, frozen=True):
    """The jobs service that holds the lease. `database` identifies its jobs.db."""

    database: str
    instance: str
    host: str
    pid: int
    url: str


class BrokerLease:
    """`acquire` before any message is handled; then `keep` runs until `release`."""

    def __init__(self, bus: Bus, database: str, instance: str, url: str) -> None:
        self._bus = bus
        self._own = Holder(database=database, instance=instance, host=platform.node(), pid=os.getpid(), url=url)
        self._revision: int | None = None
        self._open: KeyValue | None = None

    async def acquire(self) -> None:
        """Take the lease. Raise ServiceUnavailable when a jobs service with another database holds it.

        A broker that stores nothing at the moment does not prevent a start: `keep` takes the lease later.
        """
        try:
            await self._take()
        except (NatsError, TimeoutError) as error:
            log.warning("broker_lease_not_taken", error_message=str(error) or "timeout")

    async def keep(self) -> None:
        """Renew the lease; never returns. Raise ServiceUnavailable when another database has taken it."""
        while True:
            await sleep_to_next(_RENEW_EVERY)
            await self._bus.online.wait()
            await self.renew()

    async def renew(self) -> None:
        """Raise as `keep`."""
        if self._revision is not None:
            with suppress(NatsError, TimeoutError):  # the broker has another store, or another service the lease
                bucket = await self._bucket()
                self._revision = await bucket.update(_KEY, self._value(), last=self._revision)
                return
        self._open, self._revision = None, None
        await self.acquire()

    async def _take(self) -> None:
        """Raise as `acquire`, and the errors of nats-py."""
        bucket = await self._bucket()
        for _attempt in range(_ATTEMPTS):
            holder, revision = await _current(bucket)
            if holder is not None and holder.database != self._own.database and not _has_ended(holder):
                raise _refusal(holder)
            with suppress(KeyWrongLastSequenceError):  # another one was faster
                if revision is None:
                    self._revision = await bucket.create(_KEY, self._value())
                else:
                    self._revision = await bucket.update(_KEY, self._value(), last=revision)
                if holder is not None and holder.instance != self._own.instance:
                    log.info("broker_lease_taken_over", instance=holder.instance, pid=holder.pid, host=holder.host)
                return
        raise TimeoutError(f"the lease changed {_ATTEMPTS} times while it was taken")

    async def release(self) -> None:
        """Free the lease for another database. Without the broker it expires."""
        if self._revision is None or self._open is None:
            return
        with suppress(NatsError, TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await self._open.delete(_KEY, last=self._revision)

    def _value(self) -> bytes:
        return self._own.model_dump_json().encode()

    async def _bucket(self) -> KeyValue:
        if self._open is None:
            about = "Which jobs service works on this broker"
            self._open = await self._bus.bucket(BUCKET, description=about, ttl=TTL, max_bytes=_MAX_BYTES)
        return self._open


async def _current(bucket: KeyValue) -> tuple[Holder | None, int | None]:
    """Return the holder, and the revision that an update must name; None without an entry, or with a released one."""
    try:
        entry = await bucket.get(_KEY)
    except KeyNotFoundError:
        return None, None
    return _read(entry.value), entry.revision


def _read(value: bytes | None) -> Holder | None:
    try:
        return Holder.model_validate_json(value or b"")
    except ValidationError:
        return None


def _has_ended(holder: Holder) -> bool:
    return holder.host == platform.node() and not process_exists(holder.pid)


def _refusal(holder: Holder) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"Another jobs service works on this broker with another database (process {holder.pid} on {holder.host}, "
        f"{holder.url}); two would take each other's messages. Stop it, or use its data directory or another broker. "
        f"If it has crashed, the broker forgets it within {TTL:.0f} s.",
        holder=holder.model_dump(mode="json"),
    )
