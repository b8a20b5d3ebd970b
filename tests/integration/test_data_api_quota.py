"""The quota ledger on a real broker, several workers at once."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bus import BusSettings, EmbeddedServer
from services.common.messaging import connect_bus
from services.metadata.data_api.quota import Budget, Day, next_reset
from services.metadata.data_api.quota_store import BUCKET, QuotaStore

KEY = "a-key-of-the-tests"
PLENTY = Budget(limit=10_000, reserve=1_000)


async def test_a_refusal_right_after_midnight_ends_no_day(broker: BusSettings) -> None:
    """It is one of the day before: of a clock that is late, or of a question that was asked before midnight."""
    bus = await connect_bus(broker, source="metadata/1")
    ledger = QuotaStore(bus, PLENTY)
    now = datetime.now(UTC)
    midnight = next_reset(now) - timedelta(days=1)
    await ledger.end_day(KEY, midnight + timedelta(seconds=1))
    assert not (await ledger.today(KEY)).exhausted
    await ledger.end_day(KEY, midnight - timedelta(seconds=1))  # asked yesterday, answered today
    assert not (await ledger.today(KEY)).exhausted
    assert await ledger.charge(KEY, 1)
    await bus.close()


async def test_two_workers_that_spend_at_once_are_both_counted(broker: BusSettings) -> None:
    one, other = await connect_bus(broker, source="metadata/1"), await connect_bus(broker, source="metadata/2")
    ledgers = [QuotaStore(bus, PLENTY) for bus in (one, other)]
    answers = await asyncio.gather(*(ledger.charge(KEY, cost) for ledger in ledgers for cost in [1] * 30 + [50]))
    assert all(answers)
    assert [await ledger.today(KEY) for ledger in ledgers] == [Day(used=160)] * 2
    await asyncio.gather(one.close(), other.close())


async def test_together_they_never_spend_more_than_there_is(broker: BusSettings) -> None:
    one, other = await connect_bus(broker, source="metadata/1"), await connect_bus(broker, source="metadata/2")
    ledgers = [QuotaStore(bus, Budget(limit=30, reserve=10)) for bus in (one, other)]
    answers = await asyncio.gather(*(ledger.charge(KEY, 3) for ledger in ledgers for _ in range(10)))
    assert answers.count(True) == 6
    assert await ledgers[0].today(KEY) == Day(used=18)
    assert await ledgers[1].charge(KEY, 3, background=False)
    assert await ledgers[0].today("another-key") == Day()
    await asyncio.gather(one.close(), other.close())


async def test_a_day_that_youtube_ended_is_ended_for_all(broker: BusSettings) -> None:
    one, other = await connect_bus(broker, source="metadata/1"), await connect_bus(broker, source="metadata/2")
    assert await QuotaStore(one, PLENTY).charge(KEY, 1)
    await QuotaStore(one, PLENTY, late=timedelta(0)).end_day(KEY, datetime.now(UTC))
    assert not await QuotaStore(other, PLENTY).charge(KEY, 1, background=False)
    await asyncio.gather(one.close(), other.close())


async def test_the_bucket_does_not_hold_the_key_and_may_have_other_numbers(broker: BusSettings) -> None:
    bus = await connect_bus(broker, source="metadata/1")
    await bus.js.create_key_value(bucket=BUCKET, history=5)
    ledger = QuotaStore(bus, PLENTY)
    assert await ledger.charge(KEY, 1)
    (name,) = await (await bus.js.key_value(BUCKET)).keys()
    assert KEY not in name
    await bus.close()


async def test_a_lost_store_begins_a_new_count(tmp_path: Path) -> None:
    numbers = BusSettings(url="nats://unset", events_max_bytes=1024**2, logs_max_bytes=1024**2)
    server = EmbeddedServer(tmp_path / "nats", like=numbers)
    bus = await connect_bus(await server.start(), source="metadata/1")
    ledger = QuotaStore(bus, PLENTY)
    assert await ledger.charge(KEY, 7)
    await bus.js.delete_key_value(BUCKET)
    async with asyncio.timeout(60):
        assert await ledger.charge(KEY, 2)
        assert await ledger.today(KEY) == Day(used=2)
    await bus.close()
    await server.stop()
