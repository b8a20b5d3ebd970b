"""The pure decisions of the bus: what to purge, how a stream is to look, which pattern covers a tail."""

from datetime import UTC, datetime

import pytest
from nats.js.api import ConsumerConfig, ConsumerInfo, SequenceInfo, StreamConfig, StreamInfo, StreamState

from bus import BusSettings, Event, Handlers
from bus.connection.nats_client import without_credentials
from bus.core_subscriptions import cover
from bus.streams.configuration import consumer_config, merge, stream_configs, stream_of
from bus.streams.stream_gc import purge_up_to
from services.common.events import (
    DownloadClaim,
    DownloadCompleted,
    DownloadProgress,
    JobCompleted,
    JobCreated,
    JobProgress,
    LogRecorded,
    SourceBlocked,
    SourceCleared,
)

SETTINGS = BusSettings(url="nats://localhost", events_max_bytes=2_000_000, ack_wait=9)


def stream(size: int, *, first: int = 1, last: int = 100) -> StreamInfo:
    return StreamInfo(
        config=StreamConfig(name="EVENTS", max_bytes=1000),
        state=StreamState(messages=last - first + 1, bytes=size, first_seq=first, last_seq=last, consumer_count=0),
    )


def reader(name: str, floor: int, *, pending: int = 5, unacked: int = 0) -> ConsumerInfo:
    return ConsumerInfo(
        name=name,
        stream_name="EVENTS",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        config=ConsumerConfig(),
        ack_floor=SequenceInfo(consumer_seq=0, stream_seq=floor),
        num_pending=pending,
        num_ack_pending=unacked,
    )


@pytest.mark.parametrize(
    ("info", "readers", "keep_from"),
    [
        pytest.param(stream(500), [reader("jobs-inbox", 50)], None, id="half full is not yet full"),
        pytest.param(stream(501), [reader("jobs-inbox", 50)], 51, id="what all have acked goes"),
        pytest.param(stream(501), [reader("jobs-inbox", 50), reader("storage-x", 20)], 21, id="the slowest decides"),
        pytest.param(stream(501), [reader("jobs-inbox", 50), reader("logging-all", 2)], 51, id="but not the logger"),
        pytest.param(stream(501), [reader("logging-all", 99)], None, id="the logger alone decides nothing"),
        pytest.param(stream(501), [], None, id="nobody has read it yet"),
        pytest.param(stream(501), [reader("jobs-inbox", 0)], None, id="nothing was acked"),
        pytest.param(
            stream(501), [reader("jobs-inbox", 50), reader("storage-x", 3, pending=0)], 51, id="idle: counts as told"
        ),
        pytest.param(
            stream(501), [reader("jobs-inbox", 50), reader("storage-x", 3, pending=0, unacked=1)], 4, id="at work"
        ),
        pytest.param(stream(501), [reader("jobs-inbox", 7, pending=0)], 101, id="all is read"),
        pytest.param(stream(501, first=60), [reader("jobs-inbox", 59)], None, id="it went already"),
        pytest.param(stream(501, first=60), [reader("jobs-inbox", 60)], 61, id="one message"),
    ],
)
def test_what_may_be_purged(info: StreamInfo, readers: list[ConsumerInfo], keep_from: int | None) -> None:
    assert purge_up_to(info, readers, "logging-") == keep_from


def test_a_stream_without_a_limit_is_never_purged() -> None:
    info = stream(10**9)
    info.config.max_bytes = -1
    assert purge_up_to(info, [reader("jobs-inbox", 50)], None) is None


def test_durable_subjects_are_spelled_out() -> None:
    events, logs = stream_configs(SETTINGS, [JobCreated, DownloadCompleted, DownloadProgress, LogRecorded])
    assert (events.subjects, logs.subjects) == (["download.completed", "job.created"], ["log.recorded"])
    assert (events.max_bytes, events.max_age, events.duplicate_window) == (2_000_000, 14 * 86_400, 3600)
    assert (events.discard, logs.discard) == ("new", "old")


def test_subjects_of_another_version_stay() -> None:
    present = StreamConfig(name="EVENTS", subjects=["old.subject", "job.created"], max_bytes=5, description="theirs")
    (wanted,) = stream_configs(SETTINGS, [JobCreated, DownloadCompleted])
    merged = merge(present, wanted)
    assert merged.subjects == ["download.completed", "job.created", "old.subject"]
    assert (merged.max_bytes, merged.description) == (2_000_000, "theirs")
    assert merge(merged, wanted) == merged


def test_events_that_no_stream_keeps_have_no_stream() -> None:
    assert stream_of(JobCreated) == "EVENTS"
    assert stream_of(LogRecorded) == "LOGS"
    for kind in (DownloadProgress, DownloadClaim):
        with pytest.raises(TypeError, match="no stream stores it"):
            stream_of(kind)


def test_a_durable_filters_by_its_subjects_and_never_gives_up() -> None:
    handlers = Handlers("jobs")

    @handlers.on(SourceBlocked)
    async def one(_event: SourceBlocked, _context: object) -> None: ...

    @handlers.inbox(SourceCleared, JobCreated)
    async def several(_envelopes: object, _context: object) -> None: ...

    first, second = (consumer_config(one, SETTINGS) for one in handlers.consumptions)
    assert (first.filter_subject, first.filter_subjects) == ("source.blocked", None)
    assert (second.filter_subject, second.filter_subjects) == (None, ["job.created", "source.cleared"])
    assert (first.max_deliver, first.ack_wait, first.durable_name) == (-1, 9, "jobs-source_blocked")


@pytest.mark.parametrize(
    ("kinds", "pattern"),
    [
        ((JobCreated,), "job.created"),
        ((JobCreated, JobProgress), "job.*"),
        ((JobCompleted, DownloadCompleted), "*.completed"),
        ((JobProgress, DownloadCompleted), "*.*"),
    ],
)
def test_one_pattern_covers_a_tail(kinds: tuple[type[Event], ...], pattern: str) -> None:
    assert cover(kinds) == pattern


def test_a_tail_of_nothing_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="at least one"):
        cover(())


def test_addresses_are_shown_without_their_secrets() -> None:
    assert without_credentials("nats://user:secret@one:4222, token@two,three:1") == "one:4222, two, three:1"
