"""Pure functions of the bus: purge limits, stream and consumer configuration, subject patterns."""

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


def consumer(name: str, floor: int, *, pending: int = 5, unacked: int = 0) -> ConsumerInfo:
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
        pytest.param(stream(500), [consumer("jobs-inbox", 50)], None, id="half full: nothing to purge"),
        pytest.param(stream(501), [consumer("jobs-inbox", 50)], 51, id="purge what all consumers have acknowledged"),
        pytest.param(
            stream(501),
            [consumer("jobs-inbox", 50), consumer("storage-x", 20)],
            21,
            id="the slowest consumer sets the limit",
        ),
        pytest.param(
            stream(501),
            [consumer("jobs-inbox", 50), consumer("logging-all", 2)],
            51,
            id="the logging consumer is ignored",
        ),
        pytest.param(stream(501), [consumer("logging-all", 99)], None, id="only the logging consumer exists"),
        pytest.param(stream(501), [], None, id="no consumers"),
        pytest.param(stream(501), [consumer("jobs-inbox", 0)], None, id="nothing acknowledged"),
        pytest.param(
            stream(501),
            [consumer("jobs-inbox", 50), consumer("storage-x", 3, pending=0)],
            51,
            id="an idle consumer does not limit the purge",
        ),
        pytest.param(
            stream(501),
            [consumer("jobs-inbox", 50), consumer("storage-x", 3, pending=0, unacked=1)],
            4,
            id="an in-flight message limits the purge",
        ),
        pytest.param(stream(501), [consumer("jobs-inbox", 7, pending=0)], 101, id="everything read"),
        pytest.param(stream(501, first=60), [consumer("jobs-inbox", 59)], None, id="already purged"),
        pytest.param(stream(501, first=60), [consumer("jobs-inbox", 60)], 61, id="one message to purge"),
    ],
)
def test_purge_up_to_what_all_consumers_have_acknowledged(
    info: StreamInfo, readers: list[ConsumerInfo], keep_from: int | None
) -> None:
    assert purge_up_to(info, readers, "logging-") == keep_from


def test_a_stream_without_a_limit_is_never_purged() -> None:
    info = stream(10**9)
    info.config.max_bytes = -1
    assert purge_up_to(info, [consumer("jobs-inbox", 50)], None) is None


def test_stream_configurations_list_their_subjects_without_wildcards() -> None:
    events, logs = stream_configs(SETTINGS, [JobCreated, DownloadCompleted, DownloadProgress, LogRecorded])
    assert (events.subjects, logs.subjects) == (["download.completed", "job.created"], ["log.recorded"])
    assert (events.max_bytes, events.max_age, events.duplicate_window) == (2_000_000, 14 * 86_400, 3600)
    assert (events.discard, logs.discard) == ("new", "old")


def test_merging_keeps_unknown_subjects_of_an_existing_stream() -> None:
    present = StreamConfig(name="EVENTS", subjects=["old.subject", "job.created"], max_bytes=5, description="theirs")
    (wanted,) = stream_configs(SETTINGS, [JobCreated, DownloadCompleted])
    merged = merge(present, wanted)
    assert merged.subjects == ["download.completed", "job.created", "old.subject"]
    assert (merged.max_bytes, merged.description) == (2_000_000, "theirs")
    assert merge(merged, wanted) == merged


def test_the_stream_of_an_event_that_is_not_stored_is_a_type_error() -> None:
    assert stream_of(JobCreated) == "EVENTS"
    assert stream_of(LogRecorded) == "LOGS"
    for kind in (DownloadProgress, DownloadClaim):
        with pytest.raises(TypeError, match="no stream stores it"):
            stream_of(kind)


def test_a_consumer_filters_by_its_subjects_and_has_no_delivery_limit() -> None:
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
def test_one_subject_pattern_covers_all_given_events(kinds: tuple[type[Event], ...], pattern: str) -> None:
    assert cover(kinds) == pattern


def test_a_pattern_for_no_events_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="at least one"):
        cover(())


def test_server_addresses_are_shown_without_credentials() -> None:
    assert without_credentials("nats://user:secret@one:4222, token@two,three:1") == "one:4222, two, three:1"
