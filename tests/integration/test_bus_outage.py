"""Outages of the broker: a restart with or without its store, lost connections, and full streams."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bus import BrokerUnavailable, Bus, BusSettings, EmbeddedServer, Envelope, Event, Handlers
from bus.connection.connection_manager import API_TIMEOUT
from bus.streams.configuration import EVENTS
from bus.streams.stream_gc import StreamGC
from services.common.domain.registry import ServiceInfo
from services.common.domain.replies import ClaimAnswer, ClaimVerdict
from services.common.events import DownloadClaim, ServiceHeartbeat, SourceBlocked, SourceCleared
from services.common.messaging import SCHEMA

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]
Connect = Callable[..., Awaitable[Bus]]
UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = 30.0  # seconds to wait for any step of a test


@pytest.fixture
def broker_settings() -> BusSettings:
    return BusSettings(url="nats://unset", ack_wait=1.0, events_max_bytes=1024**2, logs_max_bytes=1024**2)


def blocked(egress: str = "home", reason: str = "bot check") -> SourceBlocked:
    return SourceBlocked(egress=egress, reason=reason, until=UNTIL)


def collecting(service: str, *kinds: type[Event]) -> tuple[Handlers, "asyncio.Queue[str]"]:
    handlers = Handlers(service)
    queue: asyncio.Queue[str] = asyncio.Queue()

    @handlers.inbox(*kinds)
    async def collect(envelopes: Sequence[Envelope], _context: object) -> None:
        for envelope in envelopes:
            queue.put_nowait(str(envelope.data["egress"]))

    return handlers, queue


async def wait_for_names(queue: "asyncio.Queue[str]", wanted: set[str]) -> None:
    """Wait until all names have arrived; at-least-once delivery may repeat some."""
    missing = set(wanted)
    async with asyncio.timeout(LIMIT):
        while missing:
            missing.discard(await queue.get())


async def test_a_broker_that_answers_late_does_not_fail_a_start(connect: Connect, nats_server: EmbeddedServer) -> None:
    """A broker with a busy disk answers late, and its state is unchanged."""
    reader = await connect("jobs")
    handlers, queue = collecting("jobs", SourceBlocked)
    os.kill(nats_server.pid, signal.SIGSTOP)
    # it may still run on another core until then
    await asyncio.to_thread(os.waitid, os.P_PID, nats_server.pid, os.WSTOPPED | os.WNOWAIT)
    serving = asyncio.create_task(reader.serve(handlers, None))
    _, waiting = await asyncio.wait({serving}, timeout=API_TIMEOUT * 1.5)
    os.kill(nats_server.pid, signal.SIGCONT)
    assert waiting
    async with asyncio.timeout(LIMIT):
        await serving
    await reader.publish(blocked(), trace_id="t")
    await wait_for_names(queue, {"home"})


async def test_a_killed_broker_loses_no_published_event(connect: Connect, nats_server: EmbeddedServer) -> None:
    sender, reader = await connect("download"), await connect("jobs")
    handlers, queue = collecting("jobs", SourceBlocked)
    reconnected = asyncio.Event()

    async def note() -> None:
        reconnected.set()

    reader.on_reconnect.append(note)
    await reader.serve(handlers, None)

    async def publish_all() -> None:
        for number in range(60):
            await sender.publish(blocked(f"e{number}"), trace_id="t")
            if number in {20, 40}:
                os.kill(nats_server.pid, signal.SIGKILL)

    async with asyncio.timeout(LIMIT):
        await publish_all()
    await wait_for_names(queue, {f"e{number}" for number in range(60)})
    async with asyncio.timeout(LIMIT):
        await reconnected.wait()
        assert await reader.reachable()
    assert (await reader.js.stream_info(EVENTS)).state.messages == 60


async def test_an_event_yielded_during_an_outage_is_published_once_the_broker_returns(
    connect: Connect, nats_server: EmbeddedServer
) -> None:
    bus = await connect("download")
    handlers, runs = Handlers("download"), 0
    begun, go = asyncio.Event(), asyncio.Event()

    @handlers.on(SourceBlocked)
    async def work(event: SourceBlocked, _context: object) -> AsyncIterator[Event]:
        nonlocal runs
        runs += 1
        begun.set()
        await go.wait()
        yield SourceCleared(egress=event.egress)

    await bus.serve(handlers, None)
    listener, queue = collecting("jobs", SourceCleared)
    await (await connect("jobs")).serve(listener, None)
    await bus.publish(blocked(), trace_id="t")
    async with asyncio.timeout(LIMIT):
        await begun.wait()
        os.kill(nats_server.pid, signal.SIGKILL)
        go.set()
    await wait_for_names(queue, {"home"})
    assert (await bus.js.stream_info(EVENTS)).state.messages == 2


async def test_subscriptions_request_handlers_and_tails_resume_after_an_outage(
    connect: Connect, nats_server: EmbeddedServer
) -> None:
    jobs, other = await connect("jobs"), await connect("download")
    handlers = Handlers("jobs")
    received = asyncio.Event()

    @handlers.subscribe(ServiceHeartbeat)
    async def receive(_event: ServiceHeartbeat, _context: object) -> None:
        received.set()

    @handlers.answer(DownloadClaim)
    async def decide(_claim: DownloadClaim, _context: object) -> ClaimAnswer:
        return ClaimAnswer(verdict=ClaimVerdict.GO)

    await jobs.serve(handlers, None)
    async with other.tail(SourceBlocked) as tail, asyncio.timeout(LIMIT):
        os.kill(nats_server.pid, signal.SIGKILL)
        sent = await jobs.publish(blocked(), trace_id="t")
        claim = DownloadClaim(instance="1", egress="home")
        assert (await other.request(claim, ClaimAnswer, trace_id="t", timeout=LIMIT)).verdict is ClaimVerdict.GO
        service = ServiceInfo(name="download", instance="1", url="http://x", version="1", pid=1, started_at=UNTIL)
        await other.publish(ServiceHeartbeat(service=service), trace_id="t")
        await received.wait()
        later = await jobs.publish(blocked("later"), trace_id="t")
        async for envelope in tail:
            if envelope == later:
                break
            assert envelope == sent, "the tail may miss an event of the outage, and yields no other"


async def test_a_lost_store_is_recreated_and_its_hooks_are_called(
    connect: Connect, nats_server: EmbeddedServer, tmp_path: Path
) -> None:
    sender, reader = await connect("download"), await connect("jobs")
    handlers, queue = collecting("jobs", SourceBlocked)
    told: list[str] = []

    async def lost() -> None:
        told.append("lost")

    async def reconnected() -> None:
        told.append("reconnected")

    reader.on_store_lost.append(lost)
    reader.on_reconnect.append(reconnected)
    await reader.serve(handlers, None)
    await sender.publish(blocked("before"), trace_id="t")
    await wait_for_names(queue, {"before"})

    await nats_server.stop()
    shutil.rmtree(tmp_path / "nats" / "jetstream")
    await nats_server.start()

    await sender.publish(blocked("after"), trace_id="t")
    await wait_for_names(queue, {"after"})
    async with asyncio.timeout(LIMIT):
        while len(told) < 2:  # noqa: ASYNC110 - the hooks run one after the other
            await asyncio.sleep(0.01)
    assert told == ["lost", "reconnected"]


async def test_a_message_of_a_lost_store_does_not_acknowledge_a_new_one(
    connect: Connect, nats_server: EmbeddedServer, tmp_path: Path
) -> None:
    """Both messages have sequence 1 in their stores."""
    bus = await connect("jobs")
    handlers = Handlers("jobs")
    go = {"old": asyncio.Event(), "new": asyncio.Event()}
    begun: asyncio.Queue[str] = asyncio.Queue()

    @handlers.on(SourceBlocked, slots=2)
    async def work(event: SourceBlocked, _context: object) -> None:
        begun.put_nowait(event.egress)
        await go[event.egress].wait()
        begun.put_nowait(f"{event.egress} done")

    await bus.serve(handlers, None)
    await bus.publish(blocked("old"), trace_id="t")
    async with asyncio.timeout(LIMIT):
        assert await begun.get() == "old"
        await nats_server.stop()
        shutil.rmtree(tmp_path / "nats" / "jetstream")
        await nats_server.start()
        await bus.publish(blocked("new"), trace_id="t")
        assert await begun.get() == "new"
        go["old"].set()
        assert await begun.get() == "old done"
        await bus.publish(SourceCleared(egress="home"), trace_id="t")  # an ack would have been sent before this
        await bus.publish(SourceCleared(egress="home"), trace_id="t")
        assert (await bus.js.consumer_info(EVENTS, "jobs-source_blocked")).num_ack_pending == 1
        go["new"].set()
        assert await begun.get() == "new done"
        while (await bus.js.consumer_info(EVENTS, "jobs-source_blocked")).num_ack_pending:  # noqa: ASYNC110 - the broker's
            await asyncio.sleep(0.01)


async def test_a_deleted_durable_consumer_or_stream_is_recreated(connect: Connect) -> None:
    bus = await connect("jobs")
    handlers, queue = collecting("jobs", SourceBlocked)
    await bus.serve(handlers, None)
    await bus.js.delete_consumer(EVENTS, "jobs-inbox")
    await bus.publish(blocked("one"), trace_id="t")
    await wait_for_names(queue, {"one"})
    await bus.js.delete_stream(EVENTS)
    await bus.publish(blocked("two"), trace_id="t")
    await wait_for_names(queue, {"two"})


async def test_publishing_without_a_broker_fails_after_the_given_time(
    connect: Connect, nats_server: EmbeddedServer
) -> None:
    bus = await connect("download")
    await nats_server.stop()
    async with asyncio.timeout(LIMIT):
        while bus.connected:  # noqa: ASYNC110 - a closed socket is noticed only when it is used
            await asyncio.sleep(0.01)
        assert not await bus.reachable()
        with pytest.raises(BrokerUnavailable, match=r"source\.blocked is not stored"):
            await bus.publish(blocked(), trace_id="t", patience=0.3)
        await bus.close()


async def test_a_permanently_closed_connection_is_opened_again(connect: Connect) -> None:
    """After a protocol violation the server closes the connection and nats-py gives up."""
    bus, sender = await connect("jobs"), await connect("download")
    handlers, queue = collecting("jobs", SourceBlocked)
    received = asyncio.Event()

    @handlers.subscribe(ServiceHeartbeat)
    async def receive(_event: ServiceHeartbeat, _context: object) -> None:
        received.set()

    await bus.serve(handlers, None)
    back = asyncio.Event()

    async def note() -> None:
        back.set()

    bus.on_reconnect.append(note)
    await bus.js._nc._process_err("'unknown protocol operation'")
    async with asyncio.timeout(LIMIT):
        await back.wait()
        await sender.publish(blocked("after"), trace_id="t")
        await wait_for_names(queue, {"after"})
        service = ServiceInfo(name="download", instance="1", url="http://x", version="1", pid=1, started_at=UNTIL)
        await sender.publish(ServiceHeartbeat(service=service), trace_id="t")
        await received.wait()
        await bus.publish(SourceCleared(egress="home"), trace_id="t")


async def test_a_bus_closed_during_a_failing_reconnect_makes_no_further_attempt(
    connect: Connect, nats_server: EmbeddedServer, eventually: Callable[..., Awaitable[object]]
) -> None:
    before = asyncio.all_tasks()
    bus = await connect("jobs")
    closed = asyncio.Event()

    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()  # the attempt fails at the moment of its cancellation
        if not closed.is_set():
            await bus.close()
            closed.set()

    await nats_server.stop()
    place = urlsplit(bus.settings.url)
    async with await asyncio.start_server(close, place.hostname, place.port) as imposter:
        await closed.wait()
        imposter.close()

        async def nothing_runs() -> bool:
            return asyncio.all_tasks() <= before | {asyncio.current_task()}

        await eventually(nothing_runs)


async def test_a_full_stream_is_purged_of_what_all_consumers_have_acknowledged(
    connect: Connect, eventually: Eventually
) -> None:
    """The stream holds 1 MiB; 4 MiB are published to it."""
    bus = await connect("jobs")
    handlers, queue = collecting("jobs", SourceBlocked, SourceCleared)
    idle, _nothing = collecting("storage", SourceCleared)
    await bus.serve(handlers, None)
    await (await connect("storage")).serve(idle, None)
    await bus.publish(SourceCleared(egress="first"), trace_id="t")
    async with asyncio.timeout(LIMIT):
        for number in range(128):
            await bus.publish(blocked(f"e{number}", reason="x" * 32_768), trace_id="t", patience=LIMIT)
    await wait_for_names(queue, {f"e{number}" for number in range(128)})

    async def all_acknowledged() -> bool:  # a handler has ended before its acknowledgement arrives
        consumers = await bus.js.consumers_info(EVENTS)
        return not any(one.num_pending or one.num_ack_pending for one in consumers)

    await eventually(all_acknowledged)
    await StreamGC(SCHEMA, lambda: bus.js, purges=True).collect()
    state = (await bus.js.stream_info(EVENTS)).state
    assert state.bytes <= 1024**2 // 2
    assert state.last_seq == 129


async def test_a_filtered_durable_holds_the_stream_only_from_its_first_unread_message(connect: Connect) -> None:
    """The ack floor of storage stays before the first message of the stream, and its only message is the newest."""
    bus = await connect("jobs")
    handlers, queue = collecting("jobs", SourceBlocked, SourceCleared)
    rare, cleared = collecting("storage", SourceCleared)
    await bus.serve(handlers, None)
    storage = await connect("storage")
    await storage.serve(rare, None)
    await bus.publish(SourceCleared(egress="first"), trace_id="t")
    await wait_for_names(cleared, {"first"})

    async def publish(first: int, number: int) -> None:
        async with asyncio.timeout(LIMIT):
            for index in range(first, first + number):
                await bus.publish(blocked(f"e{index}", reason="x" * 32_768), trace_id="t", patience=5.0)
        await wait_for_names(queue, {f"e{index}" for index in range(first, first + number)})

    await publish(0, 40)  # purged in between: the stream begins behind the message that storage has read
    assert (await bus.js.stream_info(EVENTS)).state.first_seq > 1
    await storage.stop_serving(timeout=1.0)
    await publish(40, 20)
    await bus.publish(SourceCleared(egress="last"), trace_id="t")
    last = (await bus.js.stream_info(EVENTS)).state.last_seq
    await publish(60, 25)  # they fit when the stream is purged up to the open message of storage
    assert (await bus.js.stream_info(EVENTS)).state.first_seq <= last
    await storage.serve(rare, None)
    await wait_for_names(cleared, {"last"})


async def test_a_full_stream_with_unread_messages_refuses_new_ones(connect: Connect) -> None:
    bus = await connect("download")
    handlers, _queue = collecting("jobs", SourceBlocked)
    reader = await connect("jobs")
    await reader.serve(handlers, None)
    await reader.stop_serving(timeout=1.0)
    with pytest.raises(BrokerUnavailable, match="maximum bytes exceeded"):
        for _ in range(40):
            await bus.publish(blocked(reason="x" * 32_768), trace_id="t", patience=3)
    assert (await bus.js.stream_info(EVENTS)).state.first_seq == 1


async def test_connecting_keeps_foreign_subjects_and_updates_the_stream_limits(connect: Connect) -> None:
    bus = await connect("jobs")
    info = await bus.js.stream_info(EVENTS)
    await bus.js.update_stream(info.config.evolve(subjects=[*(info.config.subjects or ()), "other.version"]))
    await connect("storage")
    after = (await bus.js.stream_info(EVENTS)).config
    assert "other.version" in (after.subjects or ())
    assert "download.progress" not in (after.subjects or ())
    wider = bus.settings.model_copy(update={"events_max_bytes": 2 * 1024**2, "ack_wait": 3.0})
    await connect("download", wider)
    assert (await bus.js.stream_info(EVENTS)).config.max_bytes == bus.settings.events_max_bytes
    await connect("jobs", wider)
    assert (await bus.js.stream_info(EVENTS)).config.max_bytes == 2 * 1024**2


async def test_a_durable_consumer_follows_the_subjects_of_its_handlers(connect: Connect) -> None:
    bus = await connect("jobs")
    tables: list[list[type[Event]]] = [[SourceBlocked], [SourceBlocked, SourceCleared], [SourceCleared]]
    for kinds in tables:
        handlers, _queue = collecting("jobs", *kinds)
        await bus.serve(handlers, None)
        await bus.stop_serving(timeout=1.0)
        config = (await bus.js.consumer_info(EVENTS, "jobs-inbox")).config
        found = [config.filter_subject] if config.filter_subject else config.filter_subjects
        assert found == sorted(kind.subject for kind in kinds)
