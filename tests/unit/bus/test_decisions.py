"""Pure functions of the bus: purge limits, stream and consumer configuration, subject patterns."""

from datetime import UTC, datetime

import pytest
from nats.js.api import (
    ClusterInfo,
    ConsumerConfig,
    ConsumerInfo,
    PeerInfo,
    SequenceInfo,
    StreamConfig,
    StreamInfo,
    StreamState,
)

from bus import BusSettings, Event, Handlers
from bus.connection.nats_client import without_credentials
from bus.core_subscriptions import cover
from bus.streams.configuration import consumer_config, has_quorum, merge, stream_configs, stream_of
from bus.streams.durable_floor import known_floor
from bus.streams.durables import declared_by
from bus.streams.stream_gc import counted, purge_up_to
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
from services.common.messaging import SCHEMA

SETTINGS = BusSettings(url="nats://localhost", events_max_bytes=2_000_000, ack_wait=9)


def stream(size: int, *, first: int = 1, last: int = 100) -> StreamInfo:
    return StreamInfo(
        config=StreamConfig(name="EVENTS", max_bytes=1000),
        state=StreamState(messages=last - first + 1, bytes=size, first_seq=first, last_seq=last, consumer_count=0),
    )


@pytest.mark.parametrize(
    ("info", "lowest", "keep_from"),
    [
        pytest.param(stream(500), 50, None, id="half full is not yet full"),
        pytest.param(stream(501), 50, 51, id="what all have acked goes"),
        pytest.param(stream(501), None, None, id="nobody has read it yet"),
        pytest.param(stream(501), 0, None, id="nothing was acked"),
        pytest.param(stream(501), 100, 101, id="all is read"),
        pytest.param(stream(501, first=60), 59, None, id="it went already"),
        pytest.param(stream(501, first=60), 60, 61, id="one message"),
    ],
)
def test_what_may_be_purged(info: StreamInfo, lowest: int | None, keep_from: int | None) -> None:
    assert purge_up_to(info, lowest) == keep_from


def reader(name: str, acked: int, delivered: int, *, unacked: int = 0) -> ConsumerInfo:
    return ConsumerInfo(
        name=name,
        stream_name="EVENTS",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        config=ConsumerConfig(),
        delivered=SequenceInfo(consumer_seq=0, stream_seq=delivered),
        ack_floor=SequenceInfo(consumer_seq=0, stream_seq=acked),
        num_ack_pending=unacked,
    )


def test_delivered_messages_count_as_acknowledged_unless_one_is_not() -> None:
    assert known_floor(reader("storage-x", 3, 20)) == 20
    assert known_floor(reader("storage-x", 3, 20, unacked=1)) == 3


def test_the_logging_service_keeps_nothing() -> None:
    both = [reader("jobs-inbox", 50, 50), reader("logging-all", 2, 2)]
    assert counted(both, "logging-") == both[:1]
    assert counted(both, None) == both


def replica(seconds: float, *, offline: bool | None = None) -> PeerInfo:
    return PeerInfo(name="n", current=True, offline=offline, active=int(seconds * 10**9))


@pytest.mark.parametrize(
    ("cluster", "stores"),
    [
        pytest.param(None, True, id="no cluster"),
        pytest.param(ClusterInfo(leader="n0"), True, id="one replica"),
        pytest.param(ClusterInfo(leader="n0", replicas=[replica(0.9), replica(0.8)]), True, id="all"),
        pytest.param(ClusterInfo(leader="n0", replicas=[replica(0.9), replica(60)]), True, id="two of three"),
        pytest.param(ClusterInfo(leader="n0", replicas=[replica(6), replica(60)]), False, id="a leader on its own"),
        pytest.param(ClusterInfo(leader="n0", replicas=[replica(1, offline=True)]), False, id="one of two"),
        pytest.param(ClusterInfo(replicas=[replica(0), replica(0), replica(0)]), False, id="no leader"),
    ],
)
def test_a_stream_without_a_quorum(cluster: ClusterInfo | None, stores: bool) -> None:
    info = stream(1)
    info.cluster = cluster
    assert has_quorum(info) is stores


def test_the_durables_that_a_service_can_judge() -> None:
    table = Handlers("jobs")

    @table.inbox(SourceBlocked)
    async def take(_envelopes: object) -> None: ...

    declared = declared_by(SCHEMA, [table])
    assert declared("jobs-inbox")
    assert declared("storage-removed"), "only storage can judge it"
    assert not declared("jobs-removed")
    assert not declared("cron-inbox"), "there is no such service"


def test_a_stream_without_a_limit_is_never_purged() -> None:
    info = stream(10**9)
    info.config.max_bytes = -1
    assert purge_up_to(info, 50) is None


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
