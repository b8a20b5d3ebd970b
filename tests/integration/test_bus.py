"""The bus between services and a real broker: delivery, requests, tails, shutdown and redelivery."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime

import pytest
from structlog.contextvars import get_contextvars

from bus import BrokerUnavailable, Bus, EmbeddedServer, Envelope, Event, Handlers, MessageTooLarge, NoAnswer, handling
from bus.streams.configuration import EVENTS, LOGS
from services.common.domain.registry import ServiceInfo
from services.common.domain.replies import ClaimAnswer, ClaimVerdict
from services.common.events import (
    DownloadClaim,
    LogRecorded,
    ServiceHeartbeat,
    ServiceStopped,
    SourceBlocked,
    SourceCleared,
)
from services.common.models import HealthCheck

Connect = Callable[..., Awaitable[Bus]]
UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = 30.0  # seconds to wait for any step of a test


def blocked(egress: str = "home") -> SourceBlocked:
    return SourceBlocked(egress=egress, reason="bot check", until=UNTIL)


def heartbeat() -> ServiceHeartbeat:
    return ServiceHeartbeat(
        service=ServiceInfo(name="download", instance="1", url="http://x", version="1", pid=1, started_at=UNTIL)
    )


def collecting(service: str, *kinds: type[Event]) -> tuple[Handlers, "asyncio.Queue[Envelope]"]:
    """Return handlers that put every received envelope into a queue, and the queue."""
    handlers = Handlers(service)
    queue: asyncio.Queue[Envelope] = asyncio.Queue()

    @handlers.inbox(*kinds)
    async def collect(envelopes: Sequence[Envelope], _context: object) -> None:
        for envelope in envelopes:
            queue.put_nowait(envelope)

    return handlers, queue


async def test_an_event_yielded_by_a_handler_keeps_the_trace_and_names_its_cause(connect: Connect) -> None:
    download, jobs = await connect("download"), await connect("jobs")
    seen: list[tuple[Envelope, object, object]] = []
    handlers = Handlers("download")

    @handlers.on(SourceBlocked)
    async def clear(event: SourceBlocked, context: object) -> AsyncIterator[Event]:
        seen.append((handling(), get_contextvars().get("trace_id"), context))
        yield SourceCleared(egress=event.egress)

    listener, inbox = collecting("jobs", SourceCleared)
    await download.serve(handlers, "the service")
    await jobs.serve(listener, None)

    asked = await jobs.publish(blocked(), trace_id="trace")
    async with asyncio.timeout(LIMIT):
        answer = await inbox.get()

    assert seen == [(asked, "trace", "the service")]
    assert (answer.type, answer.trace_id, answer.caused_by) == ("source.cleared", "trace", asked.id)
    assert answer.id == SourceCleared(egress="home").id_after(asked.id)
    assert answer.source == download.source
    assert SourceCleared.read(answer) == SourceCleared(egress="home")


async def test_services_that_connect_later_receive_all_earlier_events(connect: Connect) -> None:
    sender = await connect("download")
    sent = [await sender.publish(blocked(f"e{number}"), trace_id="t") for number in range(3)]
    for service in ("jobs", "storage"):
        handlers, inbox = collecting(service, SourceBlocked)
        await (await connect(service)).serve(handlers, None)
        async with asyncio.timeout(LIMIT):
            assert [await inbox.get() for _ in sent] == sent


async def test_an_event_with_the_same_id_is_stored_once(connect: Connect) -> None:
    bus = await connect("download")
    first = await bus.publish(SourceCleared(egress="home"), trace_id="t", caused_by="cause")
    again = await bus.publish(SourceCleared(egress="home"), trace_id="t", caused_by="cause")
    await bus.send(first, SourceCleared)
    await bus.publish(SourceCleared(egress="office"), trace_id="t", caused_by="cause")
    assert first.id == again.id
    assert (await bus.js.stream_info(EVENTS)).state.messages == 2


async def test_log_records_have_a_stream_of_their_own(connect: Connect) -> None:
    bus = await connect("logging")
    handlers, inbox = collecting("logging", LogRecorded)
    await bus.serve(handlers, None)
    await bus.publish(LogRecorded(records=({"event": "x"},)), trace_id="t")
    async with asyncio.timeout(LIMIT):
        assert LogRecorded.read(await inbox.get()).records == ({"event": "x"},)
    assert (await bus.js.stream_info(LOGS)).state.messages == 1
    assert (await bus.js.stream_info(EVENTS)).state.messages == 0


async def test_a_consumer_handles_as_many_messages_at_once_as_it_has_slots(connect: Connect) -> None:
    bus = await connect("jobs")
    handlers = Handlers("jobs")
    running, most, done = 0, 0, 0
    full, go, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @handlers.on(SourceBlocked, slots=3)
    async def work(_event: SourceBlocked, _context: object) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        if running == 3:
            full.set()
        await go.wait()
        running -= 1
        done += 1
        if done == 8:
            finished.set()

    for number in range(8):
        await bus.publish(blocked(f"e{number}"), trace_id="t")
    await bus.serve(handlers, None)
    async with asyncio.timeout(LIMIT):
        await full.wait()
        consumer = await bus.js.consumer_info(EVENTS, "jobs-source_blocked")
        assert consumer.num_ack_pending == 3, "messages without a slot stay in the stream, for other instances"
        go.set()
        await finished.wait()
    assert most == 3


async def test_a_service_that_is_not_ready_does_not_pull(connect: Connect) -> None:
    bus = await connect("jobs")
    handlers = Handlers("jobs")
    asked, allowed, handled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def ready(_context: object) -> None:
        asked.set()
        await allowed.wait()

    @handlers.on(SourceBlocked, ready=ready)
    async def work(_event: SourceBlocked, _context: object) -> None:
        handled.set()

    await bus.publish(blocked(), trace_id="t")
    await bus.serve(handlers, None)
    async with asyncio.timeout(LIMIT):
        await asked.wait()
        assert (await bus.js.consumer_info(EVENTS, "jobs-source_blocked")).delivered.stream_seq == 0
        allowed.set()
        await handled.wait()


async def test_two_instances_of_a_service_share_the_messages(connect: Connect) -> None:
    handled: list[str] = []
    both, all_done = asyncio.Event(), asyncio.Event()

    def instance(name: str) -> Handlers:
        handlers = Handlers("download")

        @handlers.on(SourceBlocked)
        async def work(event: SourceBlocked, _context: object) -> None:
            handled.append(f"{name} {event.egress}")
            if len({line.split()[0] for line in handled}) == 2:
                both.set()
            await both.wait()
            if len(handled) == 4:
                all_done.set()

        return handlers

    first, second = await connect("download"), await connect("download")
    await first.serve(instance("first"), None)
    await second.serve(instance("second"), None)
    for number in range(4):
        await first.publish(blocked(f"e{number}"), trace_id="t")
    async with asyncio.timeout(LIMIT):
        await all_done.wait()
    assert sorted(line.split()[1] for line in handled) == ["e0", "e1", "e2", "e3"]


async def test_a_request_returns_the_answer_or_raises_the_reason_for_none(connect: Connect) -> None:
    jobs, download = await connect("jobs"), await connect("download")
    handlers = Handlers("jobs")
    traces = []

    @handlers.answer(DownloadClaim)
    async def decide(claim: DownloadClaim, _context: object) -> ClaimAnswer:
        traces.append(get_contextvars()["trace_id"])
        if claim.dispatch_id == "bad":
            raise ValueError("some secret detail")
        return ClaimAnswer(verdict=ClaimVerdict.GO)

    claim = DownloadClaim(instance="1", egress="home", dispatch_id="d")
    with pytest.raises(NoAnswer, match=r"download\.claim: .*no responders"):
        await download.request(claim, ClaimAnswer, trace_id="t", timeout=LIMIT)
    await jobs.serve(handlers, None)
    answer = await download.request(claim, ClaimAnswer, trace_id="trace", timeout=LIMIT)
    assert (answer.verdict, traces) == (ClaimVerdict.GO, ["trace"])
    with pytest.raises(NoAnswer, match=r"the answering service failed: ValueError$"):
        await download.request(
            claim.model_copy(update={"dispatch_id": "bad"}), ClaimAnswer, trace_id="t", timeout=LIMIT
        )
    with pytest.raises(NoAnswer, match="not a HealthCheck"):
        await download.request(claim, HealthCheck, trace_id="t", timeout=LIMIT)


async def test_a_slow_request_times_out_and_does_not_block_others(connect: Connect) -> None:
    jobs, download = await connect("jobs"), await connect("download")
    handlers = Handlers("jobs")

    @handlers.answer(DownloadClaim)
    async def decide(claim: DownloadClaim, _context: object) -> ClaimAnswer:
        if claim.dispatch_id == "slow":
            await asyncio.Event().wait()
        return ClaimAnswer(verdict=ClaimVerdict.GO)

    await jobs.serve(handlers, None)
    slow, quick = (DownloadClaim(instance="1", egress="home", dispatch_id=name) for name in ("slow", "quick"))
    waiting = asyncio.create_task(download.request(slow, ClaimAnswer, trace_id="t", timeout=1.0))
    await asyncio.sleep(0)
    assert (await download.request(quick, ClaimAnswer, trace_id="t", timeout=LIMIT)).verdict is ClaimVerdict.GO
    with pytest.raises(NoAnswer, match=r"download\.claim"):
        await waiting


async def test_every_instance_receives_core_events_also_after_a_handler_failed(connect: Connect) -> None:
    received: asyncio.Queue[str] = asyncio.Queue()
    for name in ("first", "second"):
        handlers = Handlers("jobs")

        @handlers.subscribe(ServiceHeartbeat)
        async def receive(event: ServiceHeartbeat, context: object) -> None:
            if event.service.url == "http://bad":
                raise ValueError("a failing handler")
            received.put_nowait(f"{context} {event.service.instance} {handling().trace_id}")

        await (await connect("jobs")).serve(handlers, name)
    sender = await connect("download")
    bad = heartbeat().service.model_copy(update={"url": "http://bad"})
    await sender.publish(ServiceHeartbeat(service=bad), trace_id="t")
    await sender.publish(heartbeat(), trace_id="t")
    async with asyncio.timeout(LIMIT):
        assert sorted([await received.get(), await received.get()]) == ["first 1 t", "second 1 t"]
    assert (await sender.js.stream_info(EVENTS)).state.messages == 0


async def test_a_tail_yields_its_stream_and_core_events_once_and_in_order(connect: Connect) -> None:
    sender, reader = await connect("download"), await connect("cli")
    async with reader.tail(SourceBlocked, ServiceHeartbeat) as tail:
        wanted = []
        for number in range(50):
            wanted.append(await sender.publish(blocked(f"e{number}"), trace_id="t"))
            wanted.append(await sender.publish(heartbeat(), trace_id="t"))
        await sender.publish(SourceCleared(egress="home"), trace_id="t")
        await sender.send(wanted[0], SourceBlocked)  # a duplicate, as after a late acknowledgement
        await sender.js.publish("source.blocked", b"not one of ours")
        wanted.append(await sender.publish(blocked("last"), trace_id="t"))
        async with asyncio.timeout(LIMIT):
            assert [await anext(tail) for _ in wanted] == wanted


async def test_a_tail_ends_when_its_bus_is_closed(connect: Connect) -> None:
    reader = await connect("cli")
    async with reader.tail(SourceBlocked) as tail, asyncio.timeout(LIMIT):
        await reader.close()
        assert [envelope async for envelope in tail] == []


async def test_an_event_larger_than_the_message_limit_is_refused_at_once(connect: Connect) -> None:
    bus = await connect("download")
    with pytest.raises(MessageTooLarge, match=r"source\.blocked of 83\d{5} bytes"):
        await bus.publish(SourceBlocked(egress="x" * 8_385_000, reason="", until=UNTIL), trace_id="t")
    await bus.publish(SourceBlocked(egress="x" * 8_384_000, reason="", until=UNTIL), trace_id="t")
    assert bus.connected


async def test_events_cannot_be_requested_and_requests_cannot_be_published(connect: Connect) -> None:
    bus = await connect("download")
    claim = DownloadClaim(instance="1", egress="home")
    with pytest.raises(TypeError, match=r"use request\(\)"):
        await bus.publish(claim, trace_id="t")
    with pytest.raises(TypeError, match="not as a request"):
        await bus.request(blocked(), ClaimAnswer, trace_id="t", timeout=1.0)


async def test_a_stopping_service_finishes_its_message_and_takes_no_new_one(connect: Connect) -> None:
    bus, other = await connect("jobs"), await connect("storage")
    handlers = Handlers("jobs")
    begun, go, both = asyncio.Event(), asyncio.Event(), asyncio.Event()
    handled: list[str] = []

    @handlers.on(SourceBlocked)
    async def work(event: SourceBlocked, _context: object) -> None:
        begun.set()
        await go.wait()
        handled.append(event.egress)
        if len(handled) == 2:
            both.set()

    await bus.serve(handlers, None)
    await other.publish(blocked("first"), trace_id="t")
    await other.publish(blocked("second"), trace_id="t")
    async with asyncio.timeout(LIMIT):
        await begun.wait()
        stopping = asyncio.create_task(bus.stop_serving(timeout=LIMIT))
        await asyncio.sleep(0)
        assert not stopping.done()
        go.set()
        await stopping
    assert handled == ["first"]
    assert await bus.reachable(), "the bus can publish until it is closed"
    await bus.close()
    again = await connect("jobs")
    await again.serve(handlers, None)
    async with asyncio.timeout(LIMIT):
        await both.wait()
    assert handled == ["first", "second"]


async def test_messages_in_transit_to_a_stopping_service_are_redelivered_at_once(
    connect: Connect, nats_server: EmbeddedServer
) -> None:
    """The broker may send a message before it reads that its consumer stopped. ack_wait is longer than the test, so
    only an immediate redelivery passes."""
    patient = nats_server.settings.model_copy(update={"ack_wait": LIMIT * 2})
    other = await connect("storage")
    handlers = Handlers("jobs")
    handled: asyncio.Queue[str] = asyncio.Queue()

    @handlers.on(SourceBlocked)
    async def work(event: SourceBlocked, _context: object) -> None:
        handled.put_nowait(event.egress)

    for turn in range(30):
        bus = await connect("jobs", patient)
        await bus.serve(handlers, None)
        published = asyncio.create_task(other.publish(blocked(f"{turn}"), trace_id="t"))
        for _ in range(turn % 15):
            await asyncio.sleep(0)
        await bus.stop_serving(timeout=LIMIT)
        await published
        await bus.close()
    last = await connect("jobs", patient)
    await last.serve(handlers, None)
    missing = {f"{turn}" for turn in range(30)}
    async with asyncio.timeout(LIMIT):
        while missing:
            missing.discard(await handled.get())


async def test_a_handler_beyond_the_stop_timeout_is_cancelled_and_its_message_released(
    connect: Connect, nats_server: EmbeddedServer
) -> None:
    patient = nats_server.settings.model_copy(update={"ack_wait": LIMIT * 2})
    first, second = await connect("jobs", patient), await connect("jobs", patient)
    begun, cleaned, handled = asyncio.Event(), asyncio.Event(), asyncio.Event()
    stuck, quick = Handlers("jobs"), Handlers("jobs")

    @stuck.on(SourceBlocked)
    async def wait(_event: SourceBlocked, _context: object) -> AsyncIterator[Event]:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()
        yield SourceCleared(egress="never")

    @quick.on(SourceBlocked)
    async def work(_event: SourceBlocked, _context: object) -> None:
        handled.set()

    await first.serve(stuck, None)
    await first.publish(blocked(), trace_id="t")
    async with asyncio.timeout(LIMIT):
        await begun.wait()
        await first.stop_serving(timeout=0.01)
        assert cleaned.is_set()
        await second.serve(quick, None)
    async with asyncio.timeout(LIMIT):  # less than ack_wait: the message was released
        await handled.wait()


@pytest.mark.parametrize("killed", [False, True])
async def test_in_flight_messages_are_redelivered_at_once_after_a_broker_restart(
    connect: Connect, nats_server: EmbeddedServer, killed: bool
) -> None:
    """At a restart JetStream forgets that a message was released, and would wait for the rest of ack_wait."""
    patient = nats_server.settings.model_copy(update={"ack_wait": LIMIT * 2})
    first = await connect("jobs", patient)
    begun, handled = asyncio.Event(), asyncio.Event()
    stuck, quick = Handlers("jobs"), Handlers("jobs")

    @stuck.on(SourceBlocked)
    async def wait(_event: SourceBlocked, _context: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    @quick.on(SourceBlocked)
    async def work(_event: SourceBlocked, _context: object) -> None:
        handled.set()

    await first.serve(stuck, None)
    await first.publish(blocked(), trace_id="t")
    async with asyncio.timeout(LIMIT):
        await begun.wait()
        if killed:
            os.kill(nats_server.pid, signal.SIGKILL)
        else:
            await first.close()
        await nats_server.stop()
        await first.close()
        await nats_server.start()
        second = await connect("jobs", patient)
        await second.serve(quick, None)
        await handled.wait()


async def test_stopping_twice_or_without_serving_is_allowed(connect: Connect) -> None:
    bus = await connect("jobs")
    await bus.stop_serving(timeout=1.0)
    await bus.close()
    await bus.close()
    assert not bus.connected
    assert not await bus.reachable()
    with pytest.raises(BrokerUnavailable, match=r"service\.stopped is not stored"):
        await bus.publish(ServiceStopped(instance="1", name="jobs"), trace_id="t", patience=0.2)


async def test_a_service_has_caught_up_once_all_messages_are_acknowledged(connect: Connect) -> None:
    jobs, download = await connect("jobs"), await connect("download")
    at_work, go_on = asyncio.Event(), asyncio.Event()
    handlers = Handlers("jobs")

    @handlers.on(SourceBlocked)
    async def take(_event: SourceBlocked, _context: object) -> None:
        at_work.set()
        await go_on.wait()

    await jobs.serve(handlers, None)
    assert await jobs.caught_up(handlers)
    await download.publish(blocked(), trace_id="t")
    async with asyncio.timeout(LIMIT):
        await at_work.wait()
        assert not await jobs.caught_up(handlers)
        go_on.set()
        while not await jobs.caught_up(handlers):  # noqa: ASYNC110 - the broker has no event for it
            await asyncio.sleep(0.02)


async def test_a_tail_cannot_subscribe_to_requests(connect: Connect) -> None:
    """They may carry an API key."""
    bus = await connect("cli")
    with pytest.raises(TypeError, match="requests"):
        async with bus.tail(SourceBlocked, DownloadClaim):
            raise AssertionError("the tail was opened")
