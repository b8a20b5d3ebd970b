"""The quota store on a real broker, with several concurrent workers."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bus import BusSettings, EmbeddedServer
from services.common.messaging import connect_bus
from services.metadata.data_api.quota import Budget, Day, next_reset
from services.metadata.data_api.quota_store import BUCKET, QuotaStore

KEY = "a-key-of-the-tests"
PLENTY = Budget(limit=10_000, reserve=1_000)


async def test_a_quota_refusal_around_midnight_does_not_exhaust_the_new_day(broker: BusSettings) -> None:
    """Such a refusal concerns the previous day: a clock is late, or the request was sent before midnight."""
    bus = await connect_bus(broker, source="metadata/1")
    store = QuotaStore(bus, PLENTY)
    now = datetime.now(UTC)
    midnight = next_reset(now) - timedelta(days=1)
    await store.end_day(KEY, midnight + timedelta(seconds=1))
    assert not (await store.today(KEY)).exhausted
    await store.end_day(KEY, midnight - timedelta(seconds=1))  # requested yesterday, answered today
    assert not (await store.today(KEY)).exhausted
    assert await store.charge(KEY, 1)
    await bus.close()


async def test_concurrent_charges_of_two_workers_are_all_counted(broker: BusSettings) -> None:
    one, other = await connect_bus(broker, source="metadata/1"), await connect_bus(broker, source="metadata/2")
    stores = [QuotaStore(bus, PLENTY) for bus in (one, other)]
    answers = await asyncio.gather(*(store.charge(KEY, cost) for store in stores for cost in [1] * 30 + [50]))
    assert all(answers)
    assert [await store.today(KEY) for store in stores] == [Day(used=160)] * 2
    await asyncio.gather(one.close(), other.close())


async def test_concurrent_charges_never_exceed_the_budget(broker: BusSettings) -> None:
    one, other = await connect_bus(broker, source="metadata/1"), await connect_bus(broker, source="metadata/2")
    stores = [QuotaStore(bus, Budget(limit=30, reserve=10)) for bus in (one, other)]
    answers = await asyncio.gather(*(store.charge(KEY, 3) for store in stores for _ in range(10)))
    assert answers.count(True) == 6
    assert await stores[0].today(KEY) == Day(used=18)
    assert await stores[1].charge(KEY, 3, background=False)
    assert await stores[0].today("another-key") == Day()
    await asyncio.gather(one.close(), other.close())


async def test_a_day_exhausted_for_one_worker_is_exhausted_for_all(broker: BusSettings) -> None:
    one, other = await connect_bus(broker, source="metadata/1"), await connect_bus(broker, source="metadata/2")
    assert await QuotaStore(one, PLENTY).charge(KEY, 1)
    await QuotaStore(one, PLENTY, late=timedelta(0)).end_day(KEY, datetime.now(UTC))
    assert not await QuotaStore(other, PLENTY).charge(KEY, 1, background=False)
    await asyncio.gather(one.close(), other.close())


async def test_an_existing_bucket_is_used_and_does_not_contain_the_key(broker: BusSettings) -> None:
    bus = await connect_bus(broker, source="metadata/1")
    await bus.js.create_key_value(bucket=BUCKET, history=5)
    store = QuotaStore(bus, PLENTY)
    assert await store.charge(KEY, 1)
    (name,) = await (await bus.js.key_value(BUCKET)).keys()
    assert KEY not in name
    await bus.close()


async def test_a_deleted_bucket_starts_a_new_count(tmp_path: Path) -> None:
    numbers = BusSettings(url="nats://unset", events_max_bytes=1024**2, logs_max_bytes=1024**2)
    server = EmbeddedServer(tmp_path / "nats", like=numbers)
    bus = await connect_bus(await server.start(), source="metadata/1")
    store = QuotaStore(bus, PLENTY)
    assert await store.charge(KEY, 7)
    await bus.js.delete_key_value(BUCKET)
    async with asyncio.timeout(60):
        assert await store.charge(KEY, 2)
        assert await store.today(KEY) == Day(used=2)
    await bus.close()
    await server.stop()
