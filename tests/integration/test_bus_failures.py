"""Failing handlers, unreadable messages and programming errors: redelivery and dead letters."""

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
LIMIT = 30.0  # seconds to wait for any step of a test


def blocked(egress: str = "home") -> SourceBlocked:
    return SourceBlocked(egress=egress, reason="bot check", until=UNTIL)


async def collect_dead_letters(connect: Connect) -> "asyncio.Queue[Envelope]":
    """Return a queue of the dead letters that are published from now on."""
    jobs = Handlers("jobs")
    dead_letters: asyncio.Queue[Envelope] = asyncio.Queue()

    @jobs.on(DeadLettered)
    async def collect(_event: DeadLettered, _context: object) -> None:

        dead_letters.put_nowait(handling())

    await (await connect("jobs")).serve(jobs, None)
    return dead_letters


async def wait_until_idle(bus: Bus, durable: str) -> None:
    """Wait until the consumer has delivered something and has nothing pending or unacknowledged."""
    async with asyncio.timeout(LIMIT):
        while True:
            info = await bus.js.consumer_info(EVENTS, durable)
            delivered = info.delivered is not None and info.delivered.consumer_seq > 0
            if delivered and not info.num_pending and not info.num_ack_pending:
                return
            await asyncio.sleep(0.02)


async def test_a_failed_handler_is_retried_without_publishing_its_events_twice(connect: Connect) -> None:
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
        await bus.publish(blocked(), trace_id="trace")
        await wait_until_idle(bus, "download-source_blocked")
    assert tries == ["home"] * 3
    assert (await bus.js.stream_info(EVENTS)).state.messages == 2, "the input and one event"
    failures = [line for line in logs if line["event"] == "handler_failed"]
    assert [(line["times"], line["trace_id"]) for line in failures] == [(1, "trace"), (2, "trace")]


async def test_the_sixth_exception_turns_the_message_into_a_dead_letter(connect: Connect) -> None:
    dead_letters = await collect_dead_letters(connect)
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
    sent = await bus.publish(request, trace_id="trace")
    async with asyncio.timeout(LIMIT):
        envelope = await dead_letters.get()
    dead_letter = DeadLettered.read(envelope)
    assert (tries, dead_letter.error) == (6, "ValueError: never")
    assert (dead_letter.type, dead_letter.consumer) == ("download.requested", "download-download_requested")
    assert (dead_letter.job_id, dead_letter.dispatch_id) == ("j1", "d1")
    assert Envelope.from_bytes(dead_letter.payload.encode(), "download.requested") == sent
    assert (envelope.trace_id, envelope.caused_by) == ("trace", sent.id)
    await wait_until_idle(bus, "download-download_requested")
    assert tries == 6


def message(**changes: Any) -> bytes:
    envelope = Envelope.around(blocked(), source="download/1", trace_id="trace", id="m1").model_dump(mode="json")
    return json.dumps(envelope | changes).encode()


@pytest.mark.parametrize(
    ("raw", "complaint", "trace"),
    [
        pytest.param(b"\xff\x00 garbage", "not an envelope", None, id="not JSON"),
        pytest.param(b"[1, 2]", "not an envelope", None, id="not an object"),
        pytest.param(b"[" * 100_000, "not an envelope", None, id="nested too deeply"),
        pytest.param(message(version="2.0"), "version '2.0'", "trace", id="a future major version"),
        pytest.param(message(type="job.created"), "does not match", "trace", id="another type"),
        pytest.param(message(data={"job_id": "j9"}), "source.blocked: egress", "trace", id="fields are missing"),
    ],
)
@pytest.mark.parametrize("kind", ["on", "inbox"])
async def test_an_unreadable_message_becomes_a_dead_letter_at_once(
    connect: Connect, raw: bytes, complaint: str, trace: str | None, kind: str
) -> None:
    dead_letters = await collect_dead_letters(connect)
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
        envelope = await dead_letters.get()
        assert await handled.get() == "next"
    dead_letter = DeadLettered.read(envelope)
    assert complaint in dead_letter.error
    assert dead_letter.payload == raw[: 64 * 1024].decode(errors="replace")
    assert dead_letter.job_id == ("j9" if b"j9" in raw else None)
    assert trace is None or envelope.trace_id == trace
    await wait_until_idle(bus, handlers.consumptions[0].durable)
    assert dead_letters.empty()


async def test_only_the_failing_message_of_a_batch_becomes_a_dead_letter(
    connect: Connect, nats_server: EmbeddedServer
) -> None:
    dead_letters = await collect_dead_letters(connect)
    patient = nats_server.settings.model_copy(update={"ack_wait": 5.0})  # a busy machine acknowledges late
    bus = await connect("storage", patient)
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
        dead_letter = DeadLettered.read(await dead_letters.get())
    await wait_until_idle(bus, "storage-inbox")
    assert dead_letter.error == "ValueError: poison"
    assert handled == ["a", "b", "c"], "in their order, each once"
    assert sizes[0] > 1, "the messages were first delivered as a batch"
    assert sizes.count(1) >= 6


async def test_a_dead_letter_whose_handler_fails_causes_no_other_dead_letter(connect: Connect) -> None:
    bus = await connect("jobs")
    handlers = Handlers("jobs")
    tries = 0

    @handlers.on(DeadLettered)
    async def work(_event: DeadLettered, _context: object) -> None:
        nonlocal tries
        tries += 1
        raise ValueError("this too")

    await bus.serve(handlers, None)
    dead_letter = DeadLettered(type="job.created", consumer="x", sequence=1, error="e", payload="p")
    await bus.publish(dead_letter, trace_id="t")
    await wait_until_idle(bus, "jobs-dead_lettered")
    assert tries == 6
    assert (await bus.js.stream_info(EVENTS)).state.messages == 1


async def test_a_message_is_not_redelivered_while_its_handler_exceeds_ack_wait(connect: Connect) -> None:
    """ack_wait is 1 s and the handlers take 2.5 s, so the sleeps are part of the scenario."""
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
    await wait_until_idle(bus, "jobs-source_blocked")
    await wait_until_idle(bus, "jobs-inbox")
    assert sorted(started) == ["one", "two"]


async def test_a_handler_cannot_yield_an_event_that_its_service_does_not_publish(connect: Connect) -> None:
    dead_letters = await collect_dead_letters(connect)
    bus = await connect("storage")
    handlers = Handlers("storage")

    @handlers.on(SourceBlocked)
    async def work(event: SourceBlocked, _context: object) -> AsyncIterator[Event]:
        yield SourceCleared(egress=event.egress)

    await bus.serve(handlers, None)
    await bus.publish(blocked(), trace_id="t")
    async with asyncio.timeout(LIMIT):
        dead_letter = DeadLettered.read(await dead_letters.get())
    assert dead_letter.error == "TypeError: storage does not publish source.cleared"


async def test_two_different_events_with_one_id_are_logged_as_an_error(connect: Connect) -> None:
    bus = await connect("download")
    handlers = Handlers("download")

    @handlers.on(SourceCleared)
    async def work(_event: SourceCleared, _context: object) -> AsyncIterator[Event]:
        yield blocked()
        yield blocked().model_copy(update={"reason": "another"})

    await bus.serve(handlers, None)
    with capture_logs() as logs:
        await bus.publish(SourceCleared(egress="home"), trace_id="t")
        await wait_until_idle(bus, "download-source_cleared")
    (told,) = [line for line in logs if line["event"] == "two_facts_one_id"]
    assert (told["subject"], told["same"], told["log_level"]) == ("source.blocked", False, "error")
    assert (await bus.js.stream_info(EVENTS)).state.messages == 2


async def test_an_exception_of_the_slots_function_does_not_stop_the_consumer(connect: Connect) -> None:
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


async def test_an_inbox_handler_can_declare_a_message_unreadable(connect: Connect) -> None:
    dead_letters = await collect_dead_letters(connect)
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
        assert DeadLettered.read(await dead_letters.get()).error == "UnreadableMessage: I cannot read this"
    assert calls == 1
