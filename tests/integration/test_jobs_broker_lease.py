"""Two jobs services on one broker: allowed with one database only."""

import asyncio
from pathlib import Path

import pytest
from nats.js.errors import KeyNotFoundError

from bus import BusSettings
from services.common.errors import ServiceUnavailable
from services.common.messaging import connect_bus
from services.common.settings.load import Config
from services.jobs.adapters.broker_lease import BUCKET, BrokerLease, Holder
from services.jobs.service import JobsService


def elsewhere(config: Config, folder: Path) -> Config:
    """The same configuration with another data directory."""
    moved = {"jobs_dir": folder / "jobs", "registry_dir": folder / "registry"}
    return config.model_copy(update={"storage": config.storage.model_copy(update=moved)})


async def test_a_second_database_is_refused_while_the_first_one_is_in_use(
    config: Config, broker: BusSettings, tmp_path: Path
) -> None:
    first = JobsService(config, broker)
    await first.startup()
    other = elsewhere(config, tmp_path / "other")
    with pytest.raises(ServiceUnavailable, match="another database") as refused:
        await JobsService(other, broker).startup()
    assert first.url in refused.value.message
    await first.shutdown(5)

    second = JobsService(other, broker)  # the lease was released
    await second.startup()
    await second.shutdown(5)


async def test_the_same_database_takes_over_at_once(config: Config, broker: BusSettings) -> None:
    """As after a crash, which releases nothing."""
    first = JobsService(config, broker)
    await first.startup()
    second = JobsService(config, broker)
    await second.startup()
    await first.shutdown(5)
    with pytest.raises(ServiceUnavailable, match=second.url):  # the end of the first one left the lease alone
        await BrokerLease(second.bus, "another", "x", "http://x").acquire()
    await second.shutdown(5)


async def test_a_lost_lease_is_noticed(config: Config, broker: BusSettings) -> None:
    """The broker forgot the lease while the holder was suspended, and another queue took it."""
    service = JobsService(config, broker)
    await service.startup()
    bucket = await service.bus.js.key_value("LEASES")
    await bucket.delete("jobs")
    other = BrokerLease(service.bus, "another", "other", "http://other")
    await other.acquire()
    with pytest.raises(ServiceUnavailable, match="http://other"):
        await service.parts.lease.renew()
    await other.release()
    await service.parts.lease.renew()
    assert await service.parts.store.identity() in (await bucket.get("jobs")).value.decode()  # type: ignore[union-attr]  # it has a value
    await service.shutdown(5)


async def test_the_lease_of_a_process_that_has_ended_is_free(config: Config, broker: BusSettings) -> None:
    """Its database was lost, and the broker has not forgotten it yet."""
    service = JobsService(config, broker)
    await service.startup()
    ended = await asyncio.create_subprocess_exec("true")
    await ended.wait()
    bucket = await service.bus.js.key_value("LEASES")
    holder = Holder.model_validate_json((await bucket.get("jobs")).value or b"")
    await bucket.put("jobs", holder.model_copy(update={"pid": ended.pid}).model_dump_json().encode())
    other = BrokerLease(service.bus, "another", "other", "http://other")
    await other.acquire()
    await other.release()
    await service.shutdown(5)


async def test_a_broker_that_stores_no_lease_does_not_prevent_a_start(config: Config, broker: BusSettings) -> None:
    """It is taken as soon as the broker stores it."""
    bus = await connect_bus(broker, source="test/1")
    full = await bus.bucket(BUCKET, description="too small for a value", ttl=60, max_bytes=1)
    service = JobsService(config, broker)
    await service.startup()
    with pytest.raises(KeyNotFoundError):
        await full.get("jobs")
    await bus.js.delete_stream(f"KV_{BUCKET}")
    await service.parts.lease.renew()
    with pytest.raises(ServiceUnavailable, match="another database"):
        await BrokerLease(bus, "another", "other", "http://other").acquire()
    await service.shutdown(5)
    await bus.close()
