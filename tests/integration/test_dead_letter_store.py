"""The store of dead letters: reading them, finding their messages, replaying and dropping them."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from bus import Bus, Handlers, handling
from bus.dead_letter_store import DeadLetterStore, NotReplayable, StoredDeadLetter
from services.common import events as e
from services.common.events import DeadLettered

Connect = Callable[..., Awaitable[Bus]]
Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


async def all_dead_letters(store: DeadLetterStore[DeadLettered]) -> list[StoredDeadLetter[DeadLettered]]:
    return [dead_letter async for dead_letter in store.letters()]


@pytest.fixture
async def bus(connect: Connect) -> Bus:
    return await connect("jobs")


async def dead_letter_of(bus: Bus, raw: bytes, eventually: Eventually) -> StoredDeadLetter[DeadLettered]:
    """Publish a message that its consumer cannot read, and return its dead letter."""
    metadata = Handlers("metadata")

    @metadata.on(e.JobQueued)
    async def never(event: e.JobQueued, _context: object) -> None:
        raise AssertionError(event)

    await bus.js.publish("job.queued", raw)
    await bus.serve(metadata, None)
    store = DeadLetterStore(bus, DeadLettered)
    found = await eventually(lambda: all_dead_letters(store))
    assert isinstance(found, list)
    dead_letter: StoredDeadLetter[DeadLettered] = found[-1]
    return dead_letter


async def test_a_dead_letter_yields_its_message_even_after_its_deletion(bus: Bus, eventually: Eventually) -> None:
    dead_letter = await dead_letter_of(bus, b"hello", eventually)
    store = DeadLetterStore(bus, DeadLettered)
    assert await store.find(dead_letter.number) == dead_letter
    assert await store.find(dead_letter.number + 1) is None
    assert await store.message(dead_letter) == b"hello"
    await bus.js.delete_msg("EVENTS", dead_letter.event.sequence)
    assert await store.message(dead_letter) == b"hello"  # the dead letter holds a copy


async def test_a_deleted_message_too_long_for_its_dead_letter_cannot_be_replayed(
    bus: Bus, eventually: Eventually
) -> None:
    raw = b"x" * 200_000
    dead_letter = await dead_letter_of(bus, raw, eventually)
    store = DeadLetterStore(bus, DeadLettered)
    assert await store.message(dead_letter) == raw
    await bus.js.delete_msg("EVENTS", dead_letter.event.sequence)
    with pytest.raises(NotReplayable):
        await store.replay(dead_letter)


async def test_a_replayed_message_reaches_its_consumer_with_its_original_id(bus: Bus, connect: Connect) -> None:
    broken, seen = True, asyncio.Queue[str]()
    logging = Handlers("logging")

    @logging.on(e.JobPauseRequested)
    async def read(event: e.JobPauseRequested, _context: object) -> None:
        if broken:
            raise ValueError(event.job_id)
        seen.put_nowait(handling().id)

    worker = await connect("logging")
    async with bus.tail(DeadLettered) as told:
        sent = await bus.publish(e.JobPauseRequested(job_id="j"), trace_id="t")
        await worker.serve(logging, None)
        await asyncio.wait_for(anext(told), 30)
    store = DeadLetterStore(bus, DeadLettered)
    (dead_letter,) = await all_dead_letters(store)
    broken = False
    await store.replay(dead_letter)
    assert await asyncio.wait_for(seen.get(), 30) == sent.id
    await store.drop(dead_letter)
    await store.drop(dead_letter)  # a second call is not an error
    assert await all_dead_letters(store) == []


async def test_a_forged_dead_letter_cannot_be_replayed(bus: Bus) -> None:
    store = DeadLetterStore(bus, DeadLettered)
    await bus.js.publish("dead.lettered", b"not even an envelope")
    for subject in ("credentials.offered", "download.progress", "$JS.API.STREAM.PURGE.EVENTS", "job.>"):
        forged = DeadLettered(type=subject, consumer="c", sequence=1, error="x", payload="{}", whole=True)
        await bus.publish(forged, trace_id="t")
    dead_letters = await all_dead_letters(store)
    assert len(dead_letters) == 4
    for dead_letter in dead_letters:
        with pytest.raises(NotReplayable):
            await store.replay(dead_letter)
