"""Handlers that raise, messages that cannot be read, mistakes in our own code."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from bus import Bus, EmbeddedServer, Envelope, Event, Handlers, handling
from bus.message import UnreadableMessage
from bus.streams.configuration import EVENTS
from services.common.domain.videos import Wanted
from services.common.events import DeadLettered, DownloadRequested, SourceBlocked, SourceCleared

Connect = Callable[..., Awaitable[Bus]]
UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = 30.0  # seconds that anything here may take


def blocked(egress: str = "home") -> SourceBlocked:
    return SourceBlocked(egress=egress, reason="bot check", until=UNTIL)


async def graveyard(connect: Connect) -> "asyncio.Queue[Envelope]":
    """What is dead-lettered from now on."""
    jobs = Handlers("jobs")
    letters: asyncio.Queue[Envelope] = asyncio.Queue()

    @jobs.on(DeadLettered)
    async def collect(_event: DeadLettered, _context: object) -> None:

        letters.put_nowait(handling())

    await (await connect("jobs")).serve(jobs, None)
    return letters


async def idle(bus: Bus, durable: str) -> None:
    """Until the durable has delivered something, and has nothing pending and nothing unacked."""
    async with asyncio.timeout(LIMIT):
        while True:
            info = await bus.js.consumer_info(EVENTS, durable)
            delivered = info.delivered is not None and info.delivered.consumer_seq > 0
            if delivered and not info.num_pending and not info.num_ack_pending:
                return
            await asyncio.sleep(0.02)


async def test_a_handler_that_raised_gets_the_message_again_and_its_facts_are_not_doubled(connect: Connect) -> None:
    bus = await connect("download")
    tries: list[str] = []
    handlers = Handlers("download")

    @handlers.on(SourceBlocked)
    async def work(event: SourceBlocked, _context: object) -> AsyncIterator[Event]:
        tries.append(event.egress)
        yield SourceCleared(egress=event.egress)
        if len(tries) < 3:
            raise ValueError("not yet")

    await bus.serve(handlers, None)
    with capture_logs() as logs:
        await bus.publish(blocked(), trace_id="story")
        await idle(bus, "download-source_blocked")
    assert tries == ["home"] * 3
    assert (await bus.js.stream_info(EVENTS)).state.messages == 2, "the input and one fact"
    failures = [line for line in logs if line["event"] == "handler_failed"]
    assert [(line["times"], line["trace_id"]) for line in failures] == [(1, "story"), (2, "story")]


async def test_the_sixth_exception_makes_a_dead_letter(connect: Connect) -> None:
    letters = await graveyard(connect)
    bus = await connect("download")
    tries = 0
    handlers = Handlers("download")

    @handlers.on(DownloadRequested)
    async def work(_event: DownloadRequested, _context: object) -> None:
        nonlocal tries
        tries += 1
        raise ValueError("never")

    await bus.serve(handlers, None)
    request = DownloadRequested(
        dispatch_id="d1", fetch_id="f1", job_id="j1", video_id="aaaaaaaaaaa", root="/a", wanted=Wanted()
    )
    sent = await bus.publish(request, trace_id="story")
    async with asyncio.timeout(LIMIT):
        envelope = await letters.get()
    letter = DeadLettered.read(envelope)
    assert (tries, letter.error) == (6, "ValueError: never")
    assert (letter.type, letter.consumer) == ("download.requested", "download-download_requested")
    assert (letter.job_id, letter.dispatch_id) == ("j1", "d1")
    assert Envelope.from_bytes(letter.payload.encode(), "download.requested") == sent
    assert (envelope.trace_id, envelope.caused_by) == ("story", sent.id)
    await idle(bus, "download-download_requested")
    assert tries == 6


def message(**changes: Any) -> bytes:
    envelope = Envelope.around(blocked(), source="download/1", trace_id="story", id="m1").model_dump(mode="json")
    return json.dumps(envelope | changes).encode()


@pytest.mark.parametrize(
    ("raw", "complaint", "trace"),
    [
        pytest.param(b"\xff\x00 garbage", "not an envelope", None, id="not JSON"),
        pytest.param(b"[1, 2]", "not an envelope", None, id="not an object"),
        pytest.param(b"[" * 100_000, "not an envelope", None, id="nested without end"),
        pytest.param(message(version="2.0"), "version '2.0'", "story", id="a future major version"),
        pytest.param(message(type="job.created"), "does not match", "story", id="another type"),
        pytest.param(message(data={"job_id": "j9"}), "source.blocked: egress", "story", id="fields are missing"),
    ],
)
@pytest.mark.parametrize("kind", ["on", "inbox"])
async def test_an_unreadable_message_is_buried_at_once(
    connect: Connect, raw: bytes, complaint: str, trace: str | None, kind: str
) -> None:
    letters = await graveyard(connect)
    bus = await connect("storage")
    handled: asyncio.Queue[str] = asyncio.Queue()
    handlers = Handlers("storage")
    if kind == "on":

        @handlers.on(SourceBlocked)
        async def work(event: SourceBlocked, _context: object) -> None:
            handled.put_nowait(event.egress)
    else:

        @handlers.inbox(SourceBlocked)
        async def read(envelopes: Sequence[Envelope], _context: object) -> None:
            for envelope in envelopes:
                handled.put_nowait(SourceBlocked.read(envelope).egress)

    await bus.js.publish("source.blocked", raw)
    await bus.publish(blocked("next"), trace_id="t")
    await bus.serve(handlers, None)
    async with asyncio.timeout(LIMIT):
        envelope = await letters.get()
        assert await handled.get() == "next"
    letter = DeadLettered.read(envelope)
    assert complaint in letter.error
    assert letter.payload == raw[: 64 * 1024].decode(errors="replace")
    assert letter.job_id == ("j9" if b"j9" in raw else None)
    assert trace is None or envelope.trace_id == trace
    await idle(bus, handlers.consumptions[0].durable)
    assert letters.empty()


async def test_only_the_poisonous_message_of_a_batch_is_counted(connect: Connect, nats_server: EmbeddedServer) -> None:
    letters = await graveyard(connect)
    bus = await connect(
        "storage", nats_server.settings.model_copy(update={"ack_wait": 5.0})
    )  # a busy machine acks late
    handlers = Handlers("storage")
    handled: list[str] = []
    sizes: list[int] = []

    @handlers.inbox(SourceBlocked)
    async def read(envelopes: Sequence[Envelope], _context: object) -> None:
        sizes.append(len(envelopes))
        names = [SourceBlocked.read(envelope).egress for envelope in envelopes]
        if "poison" in names:
            raise ValueError("poison")
        handled.extend(names)

    for name in ("a", "b", "poison", "c"):
        await bus.publish(blocked(name), trace_id="t")
    await bus.serve(handlers, None)
    async with asyncio.timeout(LIMIT):
        letter = DeadLettered.read(await letters.get())
    await idle(bus, "storage-inbox")
    assert letter.error == "ValueError: poison"
    assert handled == ["a", "b", "c"], "in their order, each once"
    assert sizes[0] > 1, "it began as a batch"
    assert sizes.count(1) >= 6


async def test_a_dead_letter_that_cannot_be_handled_ends_there(connect: Connect) -> None:
    bus = await connect("jobs")
    handlers = Handlers("jobs")
    tries = 0

    @handlers.on(DeadLettered)
    async def work(_event: DeadLettered, _context: object) -> None:
        nonlocal tries
        tries += 1
        raise ValueError("this too")

    await bus.serve(handlers, None)
    letter = DeadLettered(type="job.created", consumer="x", sequence=1, error="e", payload="p")
    await bus.publish(letter, trace_id="t")
    await idle(bus, "jobs-dead_lettered")
    assert tries == 6
    assert (await bus.js.stream_info(EVENTS)).state.messages == 1


async def test_a_long_handler_keeps_its_message(connect: Connect) -> None:
    """ack_wait is 1 s here, the handlers take 2.5 s; the sleep is what is tested."""
    bus, other = await connect("jobs"), await connect("jobs")
    started: list[str] = []

    def slow() -> Handlers:
        handlers = Handlers("jobs")

        @handlers.on(SourceBlocked)
        async def work(event: SourceBlocked, _context: object) -> None:
            started.append(event.egress)
            await asyncio.sleep(2.5)

        @handlers.inbox(SourceCleared)
        async def read(envelopes: Sequence[Envelope], _context: object) -> None:
            started.extend(SourceCleared.read(envelope).egress for envelope in envelopes)
            await asyncio.sleep(2.5)

        return handlers

    await bus.serve(slow(), None)
    await bus.publish(blocked("one"), trace_id="t")
    await bus.publish(SourceCleared(egress="two"), trace_id="t")
    await other.serve(slow(), None)
    await idle(bus, "jobs-source_blocked")
    await idle(bus, "jobs-inbox")
    assert sorted(started) == ["one", "two"]


async def test_a_service_cannot_yield_what_it_does_not_own(connect: Connect) -> None:
    letters = await graveyard(connect)
    bus = await connect("storage")
    handlers = Handlers("storage")

    @handlers.on(SourceBlocked)
    async def work(event: SourceBlocked, _context: object) -> AsyncIterator[Event]:
        yield SourceCleared(egress=event.egress)

    await bus.serve(handlers, None)
    await bus.publish(blocked(), trace_id="t")
    async with asyncio.timeout(LIMIT):
        letter = DeadLettered.read(await letters.get())
    assert letter.error == "TypeError: storage does not publish source.cleared"


async def test_two_facts_with_one_id_are_a_mistake_that_is_told(connect: Connect) -> None:
    bus = await connect("download")
    handlers = Handlers("download")

    @handlers.on(SourceCleared)
    async def work(_event: SourceCleared, _context: object) -> AsyncIterator[Event]:
        yield blocked()
        yield blocked().model_copy(update={"reason": "another"})

    await bus.serve(handlers, None)
    with capture_logs() as logs:
        await bus.publish(SourceCleared(egress="home"), trace_id="t")
        await idle(bus, "download-source_cleared")
    (told,) = [line for line in logs if line["event"] == "two_facts_one_id"]
    assert (told["subject"], told["same"], told["log_level"]) == ("source.blocked", False, "error")
    assert (await bus.js.stream_info(EVENTS)).state.messages == 2


async def test_slots_that_raise_do_not_end_the_consumer(connect: Connect) -> None:
    bus = await connect("jobs")
    asked, handled = 0, asyncio.Event()

    def slots(_context: object) -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise ValueError("not counted yet")
        return 1

    handlers = Handlers("jobs")

    @handlers.on(SourceBlocked, slots=slots)
    async def work(_event: SourceBlocked, _context: object) -> None:
        handled.set()

    await bus.serve(handlers, None)
    await bus.publish(blocked(), trace_id="t")
    async with asyncio.timeout(LIMIT):
        await handled.wait()


async def test_an_inbox_may_call_a_message_unreadable_itself(connect: Connect) -> None:
    letters = await graveyard(connect)
    bus = await connect("storage")
    handlers = Handlers("storage")
    calls = 0

    @handlers.inbox(SourceBlocked)
    async def read(_envelopes: Sequence[Envelope], _context: object) -> None:
        nonlocal calls
        calls += 1
        raise UnreadableMessage("I cannot read this")

    await bus.serve(handlers, None)
    await bus.publish(blocked(), trace_id="t")
    async with asyncio.timeout(LIMIT):
        assert DeadLettered.read(await letters.get()).error == "UnreadableMessage: I cannot read this"
    assert calls == 1
