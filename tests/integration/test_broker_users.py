"""The users of docs/nats-users.conf: all that the services and commands do is permitted, and nothing else."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats
import pytest
import trustme
from nats.aio.client import Client

from bus import Bus, BusSettings, Delivery, Envelope, Handlers, NoAnswer
from bus.errors import BrokerRefuses
from bus.streams.configuration import EVENTS
from bus.streams.stream_gc import StreamGC
from services.common.domain.archive import Held
from services.common.domain.replies import ClaimAnswer
from services.common.events import (
    DownloadClaim,
    DownloadProgress,
    JobCreated,
    JobQueued,
    ServiceHeartbeat,
    SourceBlocked,
    SourceCleared,
    VideoArchived,
    catalogue,
)
from services.common.messaging import SCHEMA, connect_bus
from services.common.models import Progress
from services.common.names import SERVICES
from services.common.settings.load import Config
from services.storage.service import StorageService
from tests.conftest import Cli, Eventually
from tests.fixtures.broker_with_users import BrokerWithUsers
from tests.fixtures.cluster import Cluster, new_cluster, until
from tests.fixtures.processes import ProcessPool
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

LIMIT = 30.0  # seconds for any step
AT_ONCE = 10.0  # seconds; a request that is refused silently ends after 30


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[BrokerWithUsers]:
    broker = BrokerWithUsers(tmp_path / "nats")
    await broker.start()
    yield broker
    broker.kill()


@asynccontextmanager
async def connected(settings: BusSettings, service: str) -> AsyncIterator[Bus]:
    bus = await connect_bus(settings, source=f"{service}/1")
    try:
        yield bus
    finally:
        await bus.close()


@asynccontextmanager
async def plain_client(broker: BrokerWithUsers, user: str) -> AsyncIterator[tuple[Client, list[str]]]:
    """Connect with plain nats-py. The list gets what the broker refuses."""
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error))

    client = await nats.connect(
        broker.url, user=user, password=broker.passwords[user], error_cb=note, inbox_prefix=f"_INBOX.{user}"
    )
    try:
        yield client, refused
    finally:
        await client.close()


async def settle(client: Client) -> None:
    """Return when the broker has processed what was sent: the first ping overtakes what nats-py still buffers."""
    await client.flush()
    await client.flush()


# --- what they do -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
async def cluster(
    request: pytest.FixtureRequest, tmp_path: Path, emulator: EmulatorClient, process_pool: ProcessPool
) -> AsyncIterator[tuple[Cluster, BrokerWithUsers]]:
    """Five services, each with its own user, which start at the same time on a broker without streams."""
    settings = {
        "YTARCHIVE_NATS__ACK_WAIT": "2",
        "YTARCHIVE_YOUTUBE__API_KEY": "k-configured-4711",
        "YTARCHIVE_YOUTUBE__API_ENDPOINT": emulator.api_endpoint,
    }

    def make_broker(home: Path) -> BrokerWithUsers:
        return BrokerWithUsers(home, tls=request.param)

    cluster = new_cluster(tmp_path / "cluster", emulator, process_pool, make_broker, **settings)
    broker = cluster.broker
    assert isinstance(broker, BrokerWithUsers)
    await broker.start()
    try:
        await asyncio.gather(*(cluster.start(name, replaces=True, **broker.variables_of(name)) for name in SERVICES))
        yield cluster, broker
    finally:
        cluster.end()


async def test_a_whole_job_and_the_commands_need_no_other_permission(
    cluster: tuple[Cluster, BrokerWithUsers], emulator: EmulatorClient, process_pool: ProcessPool
) -> None:
    services, broker = cluster
    playlist = f"PL{uuid4().hex}"
    emulator.put_playlist(playlist, count=3, channel=sample.CHANNEL, private=[1])
    with ExitStack() as resources:
        cli = Cli(services.home, services.env, resources, process_pool)

        async def run(*words: str, code: int = 0) -> str:
            ran = await asyncio.to_thread(cli, *words)
            assert ran.code == code, (words, ran.out, ran.err)
            return ran.out

        tail = cli.start("events", "tail", "--json")
        async with connected(broker.settings, "cli") as bus:

            async def follows() -> bool:
                await bus.publish(SourceCleared(egress="other"), trace_id="t")
                return "source.cleared" in tail.out.read_text()

            await until(follows, "the tail has subscribed")
            await bus.js.publish("job.created", b"unreadable")
        await run("download", playlist, "--quality", "144p", code=3)
        (job,) = json.loads(await run("jobs", "list", "--json"))["jobs"]
        await run("jobs", "watch", job["job_id"], code=3)
        await run("jobs", "pause", job["job_id"], code=2)  # it has ended
        await run("jobs", "retry", job["job_id"])
        assert job["job_id"] in await run("workplan", "list", "--json")
        await run("quota")
        await run("health")
        letters = json.loads(await run("events", "dead", "list", "--json"))["letters"]
        assert {letter["consumer"] for letter in letters} == {"jobs-inbox", "logging-events"}
        await run("events", "dead", "show", str(letters[0]["id"]))
        await run("events", "dead", "replay", str(letters[0]["id"]))
        await run("events", "dead", "drop", "--all")
        tail.signal(signal.SIGINT)
        assert (await asyncio.to_thread(tail.end)).code == 130
        seen = {json.loads(line)["type"] for line in tail.out.read_text().splitlines()}
        assert {"download.progress", "video.archived", "work_plan.updated", "job.completed", "dead.lettered"} <= seen
        other = Cli(services.home, services.env | broker.variables_of("storage"), resources, process_pool)
        refused = await asyncio.to_thread(other, "events", "dead", "list")
        assert refused.code == 1
        assert "does not permit the user storage to subscribe to _inbox.cli." in refused.err
        assert "set [nats] user and password to those of cli" in refused.err
    for process in services.processes.values():
        process.terminate()
    for process in services.processes.values():
        assert await asyncio.to_thread(process.wait) == 0, process.output()
    (of_other,) = broker.violations()
    assert ":cli/" in of_other and "user:storage" in of_other


async def test_the_garbage_collector_may_do_its_work_as_each_service(broker: BrokerWithUsers) -> None:
    """Jobs purges; the others look for what holds the stream."""
    small = {"events_max_bytes": 1024**2}
    async with AsyncExitStack() as open_buses:
        buses = {
            name: await open_buses.enter_async_context(connected(broker.settings_of(name, **small), name))
            for name in SERVICES
        }
        table = Handlers("jobs")

        @table.inbox(JobCreated, SourceBlocked)
        async def take(_envelopes: object) -> None: ...

        jobs = buses["jobs"]
        await jobs.serve(table)
        for _ in range(24):
            await jobs.js.publish("job.queued", b"x" * 32_768)
        for name, bus in buses.items():
            await StreamGC(SCHEMA, lambda bus=bus: bus.js, purges=name == "jobs").collect()  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        assert (await jobs.js.stream_info(EVENTS)).state.messages == 0
    assert broker.violations() == []


# --- what they must not do --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_publishes_its_own_events_and_no_others(broker: BrokerWithUsers, service: str) -> None:
    own = {kind.subject for kind in catalogue() if service in kind.publishers} | {"dead.lettered"}
    async with plain_client(broker, service) as (client, refused):
        for kind in catalogue():
            await client.publish(kind.subject, b"{}")
        await settle(client)
    found = {text.split('"')[1] for text in refused}
    assert found == {kind.subject for kind in catalogue()} - own


_JS = "$JS.API"
_OTHERS = tuple(name for name in SERVICES if name != "jobs")
_MUST_NOT_PUBLISH = [
    *((user, f"{_JS}.STREAM.{act}.EVENTS") for user in (*_OTHERS, "cli") for act in ("PURGE", "UPDATE", "DELETE")),
    *((user, f"{_JS}.STREAM.MSG.DELETE.EVENTS") for user in _OTHERS),
    *((user, f"{_JS}.CONSUMER.DELETE.EVENTS.storage-ended_jobs") for user in (*SERVICES, "cli")),
    *((user, f"{_JS}.CONSUMER.MSG.NEXT.EVENTS.jobs-inbox") for user in (*_OTHERS, "cli")),
    *((user, f"{_JS}.CONSUMER.CREATE.EVENTS.jobs-inbox") for user in (*_OTHERS, "cli")),
    *((user, f"{_JS}.CONSUMER.CREATE.EVENTS.spy.job.created") for user in (*SERVICES, "cli")),
    *((user, "$JS.ACK.EVENTS.jobs-inbox.1.1.1.1.0") for user in (*_OTHERS, "cli")),
    *((user, "$KV.LEASES.jobs") for user in (*_OTHERS, "cli")),
    *((user, "$KV.quota.key") for user in (*SERVICES, "cli") if user != "metadata"),
    *((user, "_INBOX.metadata.answer") for user in (*SERVICES, "cli")),
    *((user, f"{_JS}.STREAM.CREATE.OTHER") for user in (*SERVICES, "cli")),
    ("jobs", f"{_JS}.STREAM.DELETE.EVENTS"),
    ("download", f"{_JS}.CONSUMER.CREATE.EVENTS.download-download_requested.job.created"),
    ("cli", "download.claim"),
    ("cli", "service.heartbeat"),
    ("cli", "dead.lettered"),
]
_MUST_NOT_SUBSCRIBE = [
    *((user, ">") for user in (*SERVICES, "cli")),
    *((user, "*.*") for user in SERVICES),
    *((user, "credentials.offered") for user in (*SERVICES, "cli") if user != "metadata"),
    *((user, "download.claim") for user in (*SERVICES, "cli") if user != "jobs"),
    *((user, "_INBOX.>") for user in (*SERVICES, "cli")),
    *((user, "_INBOX.metadata.>") for user in (*SERVICES, "cli") if user != "metadata"),
    *((user, "job.created") for user in SERVICES),  # from the stream only
]


@pytest.mark.parametrize("user", [*SERVICES, "cli"])
async def test_what_a_user_must_not_do_is_refused(broker: BrokerWithUsers, user: str) -> None:
    publish = {subject for name, subject in _MUST_NOT_PUBLISH if name == user}
    subscribe = {subject for name, subject in _MUST_NOT_SUBSCRIBE if name == user}
    async with plain_client(broker, user) as (client, refused):
        for subject in publish:
            await client.publish(subject, b"{}")
        for subject in subscribe:
            await client.subscribe(subject)
        await settle(client)
    found = {text.split('"')[1] for text in refused}
    assert found == {subject.lower() for subject in publish | subscribe}


async def test_a_tail_of_all_events_does_not_receive_requests(broker: BrokerWithUsers) -> None:
    async with plain_client(broker, "cli") as (cli, refused), plain_client(broker, "download") as (download, _):
        seen = await cli.subscribe("*.*")
        await settle(cli)
        requests = [kind for kind in catalogue() if kind.delivery is Delivery.REQUEST]
        assert len(requests) == 3
        for kind in requests:
            await download.publish(kind.subject, b"secret")
        await download.publish(ServiceHeartbeat.subject, b"{}")
        assert (await seen.next_msg(timeout=LIMIT)).subject == ServiceHeartbeat.subject
        assert refused == []


async def test_a_durable_that_delivers_to_a_foreign_subject_forges_nothing(broker: BrokerWithUsers) -> None:
    """A service may configure its durable so that it pushes what the service has published to a subject where others
    listen. Such a message has the subject on which it was published."""
    seen: asyncio.Queue[str] = asyncio.Queue()
    table = Handlers("jobs")

    @table.subscribe(DownloadProgress)
    async def read(event: DownloadProgress) -> None:
        seen.put_nowait(event.video_id)

    def forged(video_id: str, **changes: str) -> bytes:
        around = Envelope.around(progress(video_id), source="download/1", trace_id="t")
        return around.model_copy(update=changes).to_bytes()

    own, foreign = "archive.checked", DownloadProgress.subject
    async with (
        connected(broker.settings_of("jobs"), "jobs") as jobs,
        plain_client(broker, "storage") as (storage, _),
        plain_client(broker, "download") as (download, _),
    ):
        await jobs.serve(table)
        api, durable = "$JS.API.CONSUMER", "EVENTS.storage-ended_jobs"
        names = {"name": "storage-ended_jobs", "durable_name": "storage-ended_jobs", "ack_policy": "none"}
        config = {**names, "filter_subjects": [own], "deliver_subject": foreign}
        order = json.dumps({"stream_name": EVENTS, "config": config}).encode()
        assert b"error" not in (await storage.request(f"{api}.CREATE.{durable}", order, timeout=LIMIT)).data
        await storage.request(own, forged("forged-0001"), timeout=LIMIT)
        await storage.request(own, forged("forged-0002", type=own), timeout=LIMIT)

        async def delivered() -> bool:
            info = json.loads((await storage.request(f"{api}.INFO.{durable}", timeout=LIMIT)).data)
            return bool(info["delivered"]["stream_seq"] == 2)

        await until(delivered, "the broker has delivered the forged messages")
        await download.publish(foreign, forged("genuine-001"))
        assert await asyncio.wait_for(seen.get(), LIMIT) == "genuine-001"


def archived(video_id: str) -> VideoArchived:
    held = Held(video_id=video_id)
    return VideoArchived(
        dispatch_id="d", job_id="j", video_id=video_id, root="/r", directory="/d", files=(), bytes=0, held=held
    )


def progress(video_id: str) -> DownloadProgress:
    done = Progress(current=1, total=2, percentage=50.0, message="m")
    return DownloadProgress(dispatch_id="d", fetch_id="f", job_id="j", video_id=video_id, root="/r", progress=done)


@pytest.mark.parametrize(
    ("event", "publisher", "reader"),
    [(archived, "storage", "download"), (progress, "download", "jobs")],
    ids=["stored", "core"],
)
async def test_a_bucket_that_republishes_to_a_foreign_subject_forges_nothing(
    broker: BrokerWithUsers, event: Callable[[str], VideoArchived | DownloadProgress], publisher: str, reader: str
) -> None:
    """A service may create its bucket with a configuration of its choice. What the broker republishes names, in a
    header, the subject on which it was published."""
    seen: asyncio.Queue[str] = asyncio.Queue()
    table = Handlers(reader)

    async def read(event: Any) -> None:
        seen.put_nowait(event.video_id)

    def message(video_id: str) -> bytes:
        return Envelope.around(event(video_id), source=f"{publisher}/1", trace_id="t").to_bytes()

    kind = type(event("genuine-001"))
    (table.subscribe if kind is DownloadProgress else table.on)(kind)(read)
    async with (
        connected(broker.settings_of(reader), reader) as bus,
        plain_client(broker, "metadata") as (metadata, _),
        plain_client(broker, publisher) as (owner, _),
    ):
        await bus.serve(table)
        republish = {"src": "$KV.quota.x", "dest": kind.subject}
        config = {"name": "KV_quota", "subjects": ["$KV.quota.>"], "max_bytes": 10_000, "republish": republish}
        created = await metadata.request("$JS.API.STREAM.CREATE.KV_quota", json.dumps(config).encode(), timeout=LIMIT)
        assert b"error" not in created.data
        await metadata.request("$KV.quota.x", message("forged-0001"), timeout=LIMIT)
        await owner.publish(kind.subject, message("genuine-001"))
        assert await asyncio.wait_for(seen.get(), LIMIT) == "genuine-001"


# --- what is reported -------------------------------------------------------------------------------------------------


async def test_a_publish_without_permission_fails_at_once_and_names_the_remedy(broker: BrokerWithUsers) -> None:
    async with connected(broker.settings_of("storage"), "storage") as bus, asyncio.timeout(AT_ONCE):
        with pytest.raises(BrokerRefuses) as caught:
            await bus.publish(SourceCleared(egress="e"), trace_id="t")
        assert str(caught.value) == (
            f"the broker at 127.0.0.1:{broker.port} does not permit the user storage to publish to source.cleared: set"
            " [nats] user and password to those of storage, with the permissions of docs/nats-users.conf"
        )
        assert await bus.problem() == str(caught.value)


async def test_a_service_with_the_user_of_another_does_not_start(broker: BrokerWithUsers, config: Config) -> None:
    service = StorageService(config, broker.settings_of("download", connect_timeout=60.0))
    async with asyncio.timeout(AT_ONCE):
        with pytest.raises(
            BrokerRefuses, match=r"the user download to subscribe to _inbox\.storage.* those of storage"
        ):
            await service.startup(wait_for_broker=True)


async def test_requests_tails_and_handlers_without_permission_fail_at_once(broker: BrokerWithUsers) -> None:
    claim = DownloadClaim(instance="i", egress="e", dispatch_id="d")
    table = Handlers("storage")

    @table.on(JobQueued)
    async def read(_event: JobQueued) -> None: ...

    listens = Handlers("storage")

    @listens.subscribe(DownloadProgress)
    async def hear(_event: DownloadProgress) -> None: ...

    async with connected(broker.settings_of("storage"), "storage") as bus, asyncio.timeout(AT_ONCE):
        with pytest.raises(NoAnswer, match=r"does not permit the user storage to publish to download\.claim"):
            await bus.request(claim, ClaimAnswer, trace_id="t", timeout=60)
        with pytest.raises(BrokerRefuses, match=r"to subscribe to download\.progress"):
            async with bus.tail(DownloadProgress):
                pass
        with pytest.raises(BrokerRefuses, match=r"CONSUMER\.CREATE\.EVENTS\.storage-job_queued\.job\.queued"):
            await bus.serve(table)
        with pytest.raises(BrokerRefuses, match=r"to subscribe to download\.progress"):
            await bus.serve(listens)


async def test_a_pull_or_a_heartbeat_without_permission_makes_a_service_unhealthy(
    tmp_path: Path, eventually: Eventually
) -> None:
    table = Handlers("metadata")

    @table.on(JobQueued)
    async def read(_event: JobQueued) -> None: ...

    broker = BrokerWithUsers(tmp_path / "nats")
    users = tmp_path / "nats" / "nats-users.conf"
    pull = "$JS.API.CONSUMER.MSG.NEXT.EVENTS.metadata-job_queued"
    assert pull in users.read_text()
    users.write_text(users.read_text().replace(pull, "none").replace("service.heartbeat", "none"))
    await broker.start()
    try:
        async with connected(broker.settings_of("metadata"), "metadata") as bus:
            assert await bus.problem() is None
            await bus.connection.client.publish("service.heartbeat", b"{}")

            async def reported(text: str) -> bool:
                return text in str(await bus.problem())

            await eventually(lambda: reported("to publish to service.heartbeat"))
            await bus.serve(table)
            await eventually(lambda: reported(f"to publish to {pull}"))
    finally:
        broker.kill()


async def test_a_certificate_of_another_authority_is_refused_with_a_clear_message(
    make_cli: Callable[..., Cli], tmp_path: Path
) -> None:
    broker = BrokerWithUsers(tmp_path / "nats", tls=True)
    await broker.start()
    try:
        trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
        variables = broker.variables_of("storage") | {"YTARCHIVE_NATS__CA_FILE": str(tmp_path / "other.pem")}
        ran = await asyncio.to_thread(make_cli(**variables), "service", "storage")
        assert ran.code == 1
        assert "does not have a certificate that is trusted (certificate verify failed: " in ran.err
        assert "set [nats] ca_file to the certificate of its authority" in ran.err
    finally:
        broker.kill()
