"""Permissions of the broker's users, derived from handler tables."""

from bus import BusSchema, Handlers
from bus.connection.permissions import Permissions, of_commands, of_service
from services.common import events as e

SCHEMA = BusSchema(
    events=(e.JobCreated, e.DownloadClaim, e.DownloadProgress, e.LogRecorded, e.VideoArchived, e.DeadLettered),
    dead_letter=e.DeadLettered,
    stream_owner="jobs",
)


def jobs() -> Handlers:
    table = Handlers("jobs")

    @table.inbox(e.JobCreated, e.VideoArchived)
    async def take(_envelopes: object) -> None: ...

    @table.answer(e.DownloadClaim)
    async def claim(_event: e.DownloadClaim) -> e.JobCreated:
        raise NotImplementedError

    return table


def download() -> Handlers:
    table = Handlers("download")

    @table.on(e.VideoArchived)
    async def archived(_event: e.VideoArchived) -> None: ...

    return table


def permissions(table: Handlers, *buckets: str) -> Permissions:
    return of_service(table, buckets, [jobs(), download()], SCHEMA)


def test_a_service_publishes_what_it_declares_and_reads_its_own_durables() -> None:
    granted = permissions(download())
    events = {"dead.lettered", "download.claim", "download.progress", "job.created", "log.recorded"}
    assert {subject for subject in granted.publish if not subject.startswith("$")} == events
    name = "EVENTS.download-video_archived"
    assert {subject for subject in granted.publish if "download-" in subject} == {
        f"$JS.ACK.{name}.>",
        f"$JS.API.CONSUMER.CREATE.{name}.video.archived",
        f"$JS.API.CONSUMER.INFO.{name}",
        f"$JS.API.CONSUMER.MSG.NEXT.{name}",
    }
    assert granted.subscribe == ("_INBOX.download.>", "dead.lettered")
    assert not granted.responses


def test_only_the_owner_of_the_streams_changes_and_purges_them() -> None:
    owned = {f"$JS.API.STREAM.{request}.EVENTS" for request in ("UPDATE", "PURGE", "MSG.DELETE")}
    assert owned <= set(permissions(jobs()).publish)
    assert not owned & set(permissions(download()).publish)


def test_who_answers_requests_receives_them_and_may_respond() -> None:
    granted = permissions(jobs())
    assert granted.subscribe == ("_INBOX.jobs.>", "dead.lettered", "download.claim")
    assert granted.responses


def test_durables_that_are_declared_cannot_be_removed() -> None:
    for table in (jobs(), download()):
        granted = permissions(table)
        assert "$JS.API.CONSUMER.DELETE.EVENTS.*" in granted.publish
        assert granted.publish_denied == (
            "$JS.API.CONSUMER.DELETE.EVENTS.download-video_archived",
            "$JS.API.CONSUMER.DELETE.EVENTS.jobs-inbox",
        )


def test_a_bucket_belongs_to_the_service_that_names_it() -> None:
    assert "$KV.LEASES.>" in permissions(jobs(), "LEASES").publish
    assert not [subject for subject in permissions(jobs()).publish if "KV" in subject]


def test_commands_replay_stored_events_and_receive_no_requests() -> None:
    granted = of_commands("cli", SCHEMA)
    events = {subject for subject in granted.publish if not subject.startswith("$")}
    assert events == {"job.created", "log.recorded", "video.archived"}
    assert granted.subscribe == ("*.*", "_INBOX.cli.>")
    assert granted.subscribe_denied == ("_INBOX.*", "download.claim")
    assert not [subject for subject in granted.publish if "CONSUMER" in subject]
