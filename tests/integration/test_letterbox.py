"""The dead letters that the stream keeps, and the way back from a letter to its message."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from bus import Bus, Handlers, handling
from bus.dead_letter_store import DeadLetterStore, NotReplayable, StoredDeadLetter
from services.common import events as e
from services.common.events import DeadLettered

Connect = Callable[..., Awaitable[Bus]]
Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


async def all_letters(box: DeadLetterStore[DeadLettered]) -> list[StoredDeadLetter[DeadLettered]]:
    return [letter async for letter in box.letters()]


@pytest.fixture
async def bus(connect: Connect) -> Bus:
    return await connect("jobs")


async def letter_about(bus: Bus, raw: bytes, eventually: Eventually) -> StoredDeadLetter[DeadLettered]:
    """Let a consumer bury a message that it cannot read."""
    metadata = Handlers("metadata")

    @metadata.on(e.JobQueued)
    async def never(event: e.JobQueued, _context: object) -> None:
        raise AssertionError(event)

    await bus.js.publish("job.queued", raw)
    await bus.serve(metadata, None)
    box = DeadLetterStore(bus, DeadLettered)
    found = await eventually(lambda: all_letters(box))
    assert isinstance(found, list)
    letter: StoredDeadLetter[DeadLettered] = found[-1]
    return letter


async def test_a_letter_leads_to_its_message_and_past_its_loss(bus: Bus, eventually: Eventually) -> None:
    letter = await letter_about(bus, b"hello", eventually)
    box = DeadLetterStore(bus, DeadLettered)
    assert await box.find(letter.number) == letter
    assert await box.find(letter.number + 1) is None
    assert await box.message(letter) == b"hello"
    await bus.js.delete_msg("EVENTS", letter.event.sequence)
    assert await box.message(letter) == b"hello"  # the letter holds the whole of it


async def test_a_long_message_that_is_gone_cannot_be_replayed(bus: Bus, eventually: Eventually) -> None:
    raw = b"x" * 200_000
    letter = await letter_about(bus, raw, eventually)
    box = DeadLetterStore(bus, DeadLettered)
    assert await box.message(letter) == raw
    await bus.js.delete_msg("EVENTS", letter.event.sequence)
    with pytest.raises(NotReplayable):
        await box.replay(letter)


async def test_a_replayed_message_reaches_its_consumer_with_its_own_id(bus: Bus, connect: Connect) -> None:
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
    box = DeadLetterStore(bus, DeadLettered)
    (letter,) = await all_letters(box)
    broken = False
    await box.replay(letter)
    assert await asyncio.wait_for(seen.get(), 30) == sent.id
    await box.drop(letter)
    await box.drop(letter)  # again: no error
    assert await all_letters(box) == []


async def test_a_forged_letter_makes_us_send_nothing(bus: Bus) -> None:
    box = DeadLetterStore(bus, DeadLettered)
    await bus.js.publish("dead.lettered", b"not even an envelope")
    for subject in ("credentials.offered", "download.progress", "$JS.API.STREAM.PURGE.EVENTS", "job.>"):
        forged = DeadLettered(type=subject, consumer="c", sequence=1, error="x", payload="{}", whole=True)
        await bus.publish(forged, trace_id="t")
    letters = await all_letters(box)
    assert len(letters) == 4
    for letter in letters:
        with pytest.raises(NotReplayable):
            await box.replay(letter)
