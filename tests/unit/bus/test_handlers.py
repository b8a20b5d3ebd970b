"""The handler table of a service: registration, binding of dependencies, and refused declarations."""

import re
from collections.abc import AsyncIterator, Awaitable, Sequence
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

from bus import Envelope, Event, Handlers, handling
from bus.handlers import handling_of
from services.common.events import (
    DownloadClaim,
    JobCreated,
    LogRecorded,
    ServiceHeartbeat,
    SourceBlocked,
    SourceCleared,
)


async def clear(event: SourceBlocked, _context: object) -> AsyncIterator[Event]:
    yield SourceCleared(egress=event.egress)


async def ignore(_event: SourceBlocked, _context: str) -> None: ...


async def on_heartbeat(_event: Event, _context: object) -> None: ...


async def answer(_event: Event, _context: object) -> BaseModel:
    return SourceCleared(egress="x")


async def read(_envelopes: Sequence[Envelope], _context: object) -> None: ...


def test_a_handler_gets_a_durable_consumer_named_after_service_and_subject() -> None:
    handlers = Handlers("download")
    assert handlers.on(SourceBlocked, slots=3)(clear) is clear
    (consumption,) = handlers.consumptions
    assert (consumption.durable, consumption.slots()) == ("download-source_blocked", 3)
    assert (consumption.events, consumption.handler, consumption.inbox) == ((SourceBlocked,), clear, None)


def test_slots_can_be_computed_from_a_bound_part() -> None:
    def count(slots: list[int]) -> int:
        return len(slots)

    handlers = Handlers("download")
    handlers.on(SourceBlocked, slots=count)(ignore)
    assert handlers.bind([1, 2], "another part").consumptions[0].slots() == 2


def test_an_inbox_reads_several_subjects() -> None:
    handlers = Handlers("jobs")
    handlers.inbox(SourceBlocked, SourceCleared, size=7)(read)
    (consumption,) = handlers.consumptions
    assert (consumption.durable, consumption.slots()) == ("jobs-inbox", 7)
    assert consumption.events == (SourceBlocked, SourceCleared)


def test_an_inbox_reads_one_stream() -> None:
    with pytest.raises(TypeError, match="one stream"):
        Handlers("logging").inbox(SourceBlocked, LogRecorded)


@pytest.mark.parametrize("kind", [ServiceHeartbeat, DownloadClaim])
def test_only_stream_events_can_have_consumers(kind: type[Event]) -> None:
    with pytest.raises(TypeError, match="is delivered as"):
        Handlers("jobs").on(kind)
    with pytest.raises(TypeError, match="is delivered as"):
        Handlers("jobs").inbox(kind)


def test_only_core_events_can_be_subscribed_and_only_requests_answered() -> None:
    handlers = Handlers("jobs")
    handlers.subscribe(ServiceHeartbeat)(on_heartbeat)
    handlers.answer(DownloadClaim)(answer)
    assert handlers.core == {ServiceHeartbeat: on_heartbeat}
    assert handlers.requests == {DownloadClaim: answer}
    with pytest.raises(TypeError, match="is delivered as"):
        handlers.subscribe(JobCreated)
    with pytest.raises(TypeError, match="is delivered as"):
        handlers.answer(ServiceHeartbeat)


def test_a_second_handler_for_an_event_is_refused() -> None:
    handlers = Handlers("jobs")
    handlers.on(SourceBlocked)(ignore)
    handlers.subscribe(ServiceHeartbeat)(on_heartbeat)
    handlers.answer(DownloadClaim)(answer)
    with pytest.raises(TypeError, match="already"):
        handlers.on(SourceBlocked)(ignore)
    with pytest.raises(TypeError, match="already"):
        handlers.subscribe(ServiceHeartbeat)(on_heartbeat)
    with pytest.raises(TypeError, match="already"):
        handlers.answer(DownloadClaim)(answer)


def test_a_service_can_publish_only_its_own_subjects() -> None:
    cleared = SourceCleared(egress="home")
    Handlers("download").check_publishes(cleared)
    with pytest.raises(TypeError, match=r"storage does not publish source\.cleared"):
        Handlers("storage").check_publishes(cleared)


def test_handling_returns_the_envelope_only_during_its_handling() -> None:
    envelope = Envelope.around(SourceCleared(egress="home"), source="download/1", trace_id="t")
    with handling_of(envelope):
        assert handling() is envelope
    with pytest.raises(LookupError):
        handling()


class Archive: ...


class Plans: ...


def table() -> Handlers:
    handlers = Handlers("download")

    @handlers.on(SourceBlocked)
    async def work(_event: SourceBlocked, plans: Plans, archive: Archive) -> None:
        seen.append((plans, archive))

    return handlers


seen: list[tuple[Plans, Archive]] = []


async def test_each_handler_parameter_is_bound_to_the_part_of_its_type() -> None:
    archive, plans = Archive(), Plans()
    handler = table().bind(archive, plans).consumptions[0].handler
    assert handler is not None
    work = handler(SourceBlocked(egress="direct", reason="r", until=datetime.now(UTC)))
    assert isinstance(work, Awaitable)
    await work
    assert seen[-1] == (plans, archive)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((Archive(), "text"), "needs one Plans as 'plans'; there are 0 in: Archive, str"),
        ((Archive(), Plans(), Plans()), "needs one Plans as 'plans'; there are 2 in: Archive, Plans, Plans"),
    ],
)
def test_a_missing_or_ambiguous_part_is_named_in_the_error(parts: tuple[object, ...], message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        table().bind(*parts)
