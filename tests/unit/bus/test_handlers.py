"""The table of a service: what it takes, and what it refuses when it is written down."""

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


async def listen(_event: SourceBlocked, _context: str) -> None: ...


async def hear(_event: Event, _context: object) -> None: ...


async def answer(_event: Event, _context: object) -> BaseModel:
    return SourceCleared(egress="x")


async def read(_envelopes: Sequence[Envelope], _context: object) -> None: ...


def test_a_handler_becomes_a_durable_named_after_service_and_subject() -> None:
    handlers = Handlers("download")
    assert handlers.on(SourceBlocked, slots=3)(clear) is clear
    (consumption,) = handlers.consumptions
    assert (consumption.durable, consumption.slots()) == ("download-source_blocked", 3)
    assert (consumption.events, consumption.handler, consumption.inbox) == ((SourceBlocked,), clear, None)


def test_slots_may_depend_on_the_service() -> None:
    def count(slots: list[int]) -> int:
        return len(slots)

    handlers = Handlers("download")
    handlers.on(SourceBlocked, slots=count)(listen)
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
def test_only_stream_events_are_consumed(kind: type[Event]) -> None:
    with pytest.raises(TypeError, match="is delivered as"):
        Handlers("jobs").on(kind)
    with pytest.raises(TypeError, match="is delivered as"):
        Handlers("jobs").inbox(kind)


def test_only_core_events_are_heard_and_only_requests_answered() -> None:
    handlers = Handlers("jobs")
    handlers.subscribe(ServiceHeartbeat)(hear)
    handlers.answer(DownloadClaim)(answer)
    assert handlers.core == {ServiceHeartbeat: hear}
    assert handlers.requests == {DownloadClaim: answer}
    with pytest.raises(TypeError, match="is delivered as"):
        handlers.subscribe(JobCreated)
    with pytest.raises(TypeError, match="is delivered as"):
        handlers.answer(ServiceHeartbeat)


def test_nothing_is_handled_twice() -> None:
    handlers = Handlers("jobs")
    handlers.on(SourceBlocked)(listen)
    handlers.subscribe(ServiceHeartbeat)(hear)
    handlers.answer(DownloadClaim)(answer)
    with pytest.raises(TypeError, match="already"):
        handlers.on(SourceBlocked)(listen)
    with pytest.raises(TypeError, match="already"):
        handlers.subscribe(ServiceHeartbeat)(hear)
    with pytest.raises(TypeError, match="already"):
        handlers.answer(DownloadClaim)(answer)


def test_a_service_publishes_its_own_subjects_only() -> None:
    cleared = SourceCleared(egress="home")
    Handlers("download").check_publishes(cleared)
    with pytest.raises(TypeError, match=r"storage does not publish source\.cleared"):
        Handlers("storage").check_publishes(cleared)


def test_handling_names_the_envelope_inside_only() -> None:
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


async def test_each_parameter_gets_the_part_of_its_type() -> None:
    archive, plans = Archive(), Plans()
    handler = table().bind(archive, plans).consumptions[0].handler
    assert handler is not None
    work = handler(SourceBlocked(egress="direct", reason="r", until=datetime.now(UTC)))
    assert isinstance(work, Awaitable)
    await work
    assert seen[-1] == (plans, archive)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((Archive(), "text"), "needs one Plans as 'plans'; there are 0 in: Archive, str"),
        ((Archive(), Plans(), Plans()), "needs one Plans as 'plans'; there are 2 in: Archive, Plans, Plans"),
    ],
)
def test_a_part_that_is_missing_or_not_the_only_one_is_named(parts: tuple[object, ...], says: str) -> None:
    with pytest.raises(TypeError, match=re.escape(says)):
        table().bind(*parts)
