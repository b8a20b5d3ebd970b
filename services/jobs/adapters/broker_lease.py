"""One queue per broker: a lease in the KV bucket LEASES, which names the database of the jobs service that holds it.

Two jobs services with different databases would take each other's messages. A service with the same database, a
restarted one or a stand-by, takes the lease over at once; so does one whose predecessor on this machine has ended.
"""

import asyncio
import os
import platform
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

import structlog
from nats.errors import Error as NatsError
from nats.js.api import KeyValueConfig
from nats.js.errors import BadRequestError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue
from pydantic import BaseModel, ValidationError

from bus import Bus
from bus.embedded.probe import process_exists
from services.common.errors import ServiceUnavailable

BUCKET = "LEASES"
TTL = 30.0  # seconds until the broker forgets a lease that is not renewed
_RENEW_EVERY = 10.0
_PATIENCE = 2.0  # seconds for the release
_KEY = "jobs"
_MAX_BYTES = 1024**2
log = structlog.get_logger()
T = TypeVar("T")


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
        """Take the lease. Raise ServiceUnavailable when a jobs service with another database holds it."""
        bucket = await self._bucket()
        try:
            entry = await bucket.get(_KEY)
        except KeyNotFoundError:
            self._revision = await self._unless_taken(bucket.create(_KEY, self._value()))
            return
        holder = _read(entry.value)
        if holder is not None and holder.database != self._own.database and not _has_ended(holder):
            raise _refusal(holder)
        if holder is not None and holder.instance != self._own.instance:
            log.info("broker_lease_taken_over", instance=holder.instance, pid=holder.pid, host=holder.host)
        self._revision = await self._unless_taken(bucket.update(_KEY, self._value(), last=entry.revision))

    async def keep(self) -> None:
        """Renew the lease. Raise ServiceUnavailable when another jobs service has taken it, or the broker fails."""
        while True:
            await asyncio.sleep(_RENEW_EVERY)
            await self._bus.online.wait()
            await self.renew()

    async def renew(self) -> None:
        """Raise as `keep`."""
        bucket = await self._bucket()
        try:
            self._revision = await bucket.update(_KEY, self._value(), last=self._revision)
        except (KeyWrongLastSequenceError, NatsError, TimeoutError):
            self._open = None  # the broker may have another store
            await self.acquire()

    async def release(self) -> None:
        """Free the lease for another database. Without the broker it expires."""
        if self._revision is None or self._open is None:
            return
        with suppress(NatsError, TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await self._open.delete(_KEY, last=self._revision)

    async def _unless_taken(self, write: Awaitable[T]) -> T:
        try:
            return await write
        except KeyWrongLastSequenceError as error:  # another one was faster
            entry = await (await self._bucket()).get(_KEY)
            holder = _read(entry.value)
            raise _refusal(holder or self._own) from error

    def _value(self) -> bytes:
        return self._own.model_dump_json().encode()

    async def _bucket(self) -> KeyValue:
        if self._open is None:
            wanted = KeyValueConfig(
                bucket=BUCKET,
                description="Which jobs service works on this broker",
                ttl=TTL,
                max_bytes=_MAX_BYTES,
                replicas=self._bus.settings.replicas,
            )
            try:
                self._open = await self._bus.js.create_key_value(wanted)
            except BadRequestError:  # it exists with other limits
                self._open = await self._bus.js.key_value(BUCKET)
        return self._open


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
