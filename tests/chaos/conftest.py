"""A cluster of five service processes and a nats-server, which tests kill and restart one by one."""

import asyncio
import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import imageio_ffmpeg
import pytest
from pydantic import SecretStr

from bus import Bus, BusSettings
from bus.embedded.server import find_server
from bus.fault_injection import VARIABLE
from services.common.domain.jobs import Item, ItemStatus, Job
from services.common.events import JobCreated, catalogue
from services.common.messaging import connect_bus
from services.common.models import JobOptions
from services.common.names import SERVICES
from services.common.settings.load import Config, load_config
from tests.fixtures import waiting
from tests.fixtures.processes import INHERITED_VARIABLES, ChildProcess, Process, ProcessPool
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

TIMEOUT = 30.0  # seconds; half of the default ack_wait, so that no test passes by waiting for a redelivery
_POLL = 0.02
_KINDS = {kind.subject: kind for kind in catalogue()}


async def _until(look: Callable[[], Any], what: str, within: float = TIMEOUT) -> Any:
    """Poll `look` (a function or a coroutine function) until its result is true; return the result."""
    deadline = time.monotonic() + within
    while True:
        found = look()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        await asyncio.sleep(_POLL)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(closing(socket.socket())) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


class Broker:
    """A nats-server as an administrator would run it: nothing restarts it automatically."""

    def __init__(self, home: Path) -> None:
        self.store = home / "store"
        self._home = home
        (self._port,) = _free_ports(1)
        self._token = uuid4().hex
        self._process: Process | None = None
        home.mkdir()

    @property
    def settings(self) -> BusSettings:
        return BusSettings(url=f"nats://127.0.0.1:{self._port}", token=SecretStr(self._token))

    @property
    def variables(self) -> dict[str, str]:
        return {"YTARCHIVE_NATS__URL": self.settings.url, "YTARCHIVE_NATS__TOKEN": self._token}

    async def start(self) -> None:
        config = {
            "host": "127.0.0.1",
            "port": self._port,
            "authorization": {"token": self._token},
            "max_payload": 8 * 1024**2,
            "jetstream": {"store_dir": str(self.store), "sync_interval": "always", "max_file_store": 8 * 1024**3},
        }
        path = self._home / "nats.conf"
        path.write_text(json.dumps(config))
        out = self._home / f"{time.monotonic_ns()}.log"
        self._process = ChildProcess([str(find_server()), "-c", str(path)], out, dict(os.environ))
        process = self._process
        await _until(lambda: "Server is ready" in process.output(), "nats-server is ready")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()


# --- the cluster ------------------------------------------------------------------------------------------------------


@dataclass
class Cluster:
    """The five services as processes. `reusable`: the last test that used the cluster has succeeded."""

    home: Path
    env: dict[str, str]
    broker: Broker
    config: Config
    process_pool: ProcessPool
    first_as_subprocess: bool = False
    reusable: bool = False
    processes: dict[str, Process] = field(default_factory=dict)
    programs: dict[str, Process] = field(default_factory=dict)
    _started: int = 0

    async def start(self, *names: str, replaces: bool = True, **settings: str) -> None:
        """Start services and wait until they are ready. With `replaces` False they are additional instances."""
        started: list[tuple[str, Process]] = []
        for name in names:
            self._started += 1
            env = self.env | {VARIABLE: f"@{self._fault_file(name)}"} | settings
            out = self.home / f"{self._started:03d}-{name}.log"
            process = self._start_service(["service", name], out, env)
            started.append((name, process))
            self.processes[name if replaces else f"another {name}"] = process
        for name, process in started:

            def ready(process: Process = process) -> bool:
                assert process.code is None, process.output()
                return "Ready." in process.output()

            await _until(ready, f"{name} is ready")

    def _start_service(self, words: Sequence[str], out: Path, env: dict[str, str]) -> Process:
        """Start a service from the process pool; with `first_as_subprocess` its first start is a new interpreter."""
        if not self.first_as_subprocess or self._started > len(SERVICES):
            return self.process_pool.start(words, out, env)
        return ChildProcess([sys.executable, "-m", "ytarchive", *words], out, env)

    def set_fault(self, name: str, fault: str) -> None:
        """Make the service kill itself at the fault point `fault`."""
        self._fault_file(name).write_text(fault)

    async def wait_for_death(self, name: str) -> None:
        """Wait until the fault was triggered, then remove it."""
        process = self.processes[name]
        await _until(lambda: process.code is not None, f"{name} dies at {self._fault_file(name).read_text()}")
        assert process.code == -signal.SIGKILL, process.output()
        del self.processes[name]
        self._fault_file(name).unlink()

    def run(self, name: str, command: Sequence[str]) -> Process:
        """Start another program, which is killed with the cluster at the latest."""
        process = self.programs[name] = ChildProcess(command, self.home / f"{name}.log", self.env)
        return process

    def kill(self, *names: str) -> None:
        for name in names:
            self.processes.pop(name).kill()

    def _fault_file(self, name: str) -> Path:
        return self.home / f"{name}.fault"

    async def start_missing(self) -> None:
        """Start the services that are not running."""
        await self.start(*(name for name in SERVICES if name not in self.processes))

    @property
    def jobs_url(self) -> str:
        return f"http://127.0.0.1:{self.config.services.jobs.port}/api/v1/jobs"

    def end(self) -> None:
        for process in (*self.programs.values(), *self.processes.values()):
            process.kill()
        self.broker.kill()

    def rows(self, query: str, *args: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query on jobs.db."""
        place = f"{(self.config.storage.jobs_dir / 'jobs.db').as_uri()}?mode=ro"
        with closing(sqlite3.connect(place, uri=True)) as sql:
            return sql.execute(query, args).fetchall()

    def no_partial_downloads(self) -> bool:
        return not list(self.config.storage.tmp_dir.glob("*.part"))

    def nothing_staged(self) -> bool:
        return not list(self.config.storage.base_path.glob("videos/*/.*.new"))

    def journal(self) -> list[dict[str, Any]]:
        """Return every durable event that logging has recorded."""
        paths = sorted(self.config.storage.logs_dir.glob("events-*.jsonl"))
        complete = [path.read_text().rpartition("\n")[0] for path in paths]  # the last line may be incomplete
        return [json.loads(line) for text in complete for line in text.splitlines()]


def new_cluster(home: Path, emulator: EmulatorClient, process_pool: ProcessPool, **settings: str) -> Cluster:
    """Create a cluster without starting anything."""
    home.mkdir()
    broker = Broker(home / "nats")
    env = {
        **{key: os.environ[key] for key in INHERITED_VARIABLES if key in os.environ},
        "HOME": str(home),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONWARNINGS": "error",
        "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(home / "data"),
        "YTARCHIVE_STORAGE__BASE_PATH": str(home / "archive"),
        "YTARCHIVE_STORAGE__MIN_FREE": "0",
        "YTARCHIVE_YOUTUBE__PROXY": emulator.proxy_url,
        "YTARCHIVE_YOUTUBE__CA_FILE": str(emulator.ca_file),
        "YTARCHIVE_DOWNLOAD__SOCKET_TIMEOUT": "3",
        **{
            f"YTARCHIVE_SERVICES__{name.upper()}__PORT": str(port)
            for name, port in zip(SERVICES, _free_ports(len(SERVICES)), strict=True)
        },
        **broker.variables,
        **settings,
    }
    ours = {key: value for key, value in env.items() if key.startswith("YTARCHIVE_")}
    return Cluster(home, env, broker, load_config(env=ours, cwd=home), process_pool)


@dataclass
class ClusterProvider:
    """Provides one cluster for many tests, and a new one after a test that failed."""

    folder: Path
    emulator: EmulatorClient
    process_pool: ProcessPool
    settings: dict[str, str]
    first_as_subprocess: bool = False
    cluster: Cluster | None = None
    made: int = 0

    async def get(self) -> Cluster:
        if self.cluster is None or not self.cluster.reusable:
            self.close()
            self.made += 1
            self.cluster = new_cluster(self.folder / str(self.made), self.emulator, self.process_pool, **self.settings)
            self.cluster.first_as_subprocess = self.first_as_subprocess
            await self.cluster.broker.start()
        self.cluster.reusable = False
        await self.cluster.start_missing()
        return self.cluster

    def close(self) -> None:
        """Check that no partial downloads remain, then kill all processes."""
        if self.cluster is None:
            return
        try:
            cluster = self.cluster
            waiting.until(
                lambda: not cluster.reusable or cluster.no_partial_downloads(), "partial downloads are removed", TIMEOUT
            )
        finally:
            self.cluster.end()


@pytest.fixture(scope="session")
def short_ack_clusters(
    emulator_child: EmulatorClient, process_pool: ProcessPool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClusterProvider]:
    settings = {"YTARCHIVE_NATS__ACK_WAIT": "1"}
    provider = ClusterProvider(
        tmp_path_factory.mktemp("short_ack"), emulator_child, process_pool, settings, first_as_subprocess=True
    )
    yield provider
    provider.close()


@pytest.fixture(scope="session")
def default_ack_clusters(
    emulator_child: EmulatorClient, process_pool: ProcessPool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClusterProvider]:
    provider = ClusterProvider(tmp_path_factory.mktemp("default_ack"), emulator_child, process_pool, {})
    yield provider
    provider.close()


@pytest.fixture
async def short_ack_cluster(short_ack_clusters: ClusterProvider, emulator: EmulatorClient) -> Cluster:
    """A cluster where an unacknowledged message is redelivered after 1 s."""
    return await short_ack_clusters.get()


@pytest.fixture
async def default_ack_cluster(default_ack_clusters: ClusterProvider, emulator: EmulatorClient) -> Cluster:
    """A cluster with the default ack_wait, which is longer than the timeout of a test."""
    return await default_ack_clusters.get()


# --- a job ------------------------------------------------------------------------------------------------------------


@dataclass
class JobRun:
    """A job for its own playlist: available videos, and a private one at the second position."""

    cluster: Cluster
    emulator: EmulatorClient
    bus: Bus
    http: aiohttp.ClientSession
    playlist: str
    videos: list[str]  # the available ones
    unavailable: list[str]
    job_id: str = field(default_factory=lambda: str(uuid4()))

    async def submit(self, **options: Any) -> None:
        """Publish job.created, as the CLI does."""
        chosen = JobOptions(**{"quality": "144p", "include_captions": False, **options})
        created = JobCreated(job_id=self.job_id, targets=(self.playlist,), options=chosen)
        await self.bus.publish(created, trace_id=f"trace-{self.job_id}")

    async def job(self) -> Job | None:
        """Return the job from REST; None while jobs is down or has no such job."""
        try:
            async with self.http.get(f"{self.cluster.jobs_url}/{self.job_id}") as answer:
                return Job.model_validate((await answer.json())["data"]["job"]) if answer.status == 200 else None
        except aiohttp.ClientError:
            return None

    async def items(self) -> dict[str, Item]:
        async with self.http.get(f"{self.cluster.jobs_url}/{self.job_id}/items") as answer:
            found = [Item.model_validate(item) for item in (await answer.json())["data"]["items"]]
        return {item.video_id: item for item in found}

    async def wait_for_end(self, within: float = TIMEOUT) -> Job:
        async def look() -> Job | None:
            job = await self.job()
            return job if job and job.status.ended else None

        job: Job = await _until(look, f"job {self.job_id} ends", within)
        return job

    async def assert_completed(
        self, *, attempts: int | None = 0, unacknowledged: tuple[str, ...] = (), nothing_lost: bool = True
    ) -> None:
        """Wait for the end of the job, and check that the result is that of a run without a kill: correct files, and
        everything done once.

        `attempts`: the number of failed attempts of all videos, None for any number; `unacknowledged`: name prefixes of
        consumers whose killed instances may still have in-flight messages; `nothing_lost`: no message was lost with the
        broker's store, so that logging has recorded every event and no work was repeated.
        """
        job = await self.wait_for_end()
        counts = job.counts
        assert (job.status, counts.total, counts.archived, counts.unavailable, counts.failed) == (
            "completed", len(self.videos) + len(self.unavailable), len(self.videos), len(self.unavailable), 0,
        )  # fmt: skip
        items = await self.items()
        assert {item.video_id: item.status for item in items.values()} == {
            **dict.fromkeys(self.videos, ItemStatus.ARCHIVED),
            **dict.fromkeys(self.unavailable, ItemStatus.UNAVAILABLE),
        }
        assert attempts in {None, sum(items[video_id].attempts for video_id in self.videos)}
        self._assert_work_plan()
        if nothing_lost:  # otherwise the worker's cleanup removes them later; see ClusterProvider.close
            await _until(self.cluster.no_partial_downloads, "partial downloads are removed")
        await self._wait_until_settled(unacknowledged)  # repeated deliveries may still be committed after the job's end
        if not nothing_lost:  # a copy that was fetched twice replaces the first one
            await _until(self.cluster.nothing_staged, "no file is staged in the archive")
        await asyncio.gather(*(asyncio.to_thread(self.assert_files_intact, video_id) for video_id in self.videos))
        self._assert_playlist(nothing_lost)  # written independently of the job's end
        self._assert_events_recorded_once(job.trace_id, nothing_lost)
        self.cluster.reusable = True

    def assert_files_intact(self, video_id: str) -> None:
        """Check each file of a video against the digest in its manifest, and decode the media with ffmpeg."""
        folder = self.cluster.config.storage.base_path / "videos" / video_id
        files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        record = json.loads(files.pop(f"{video_id}_metadata.json").read_text())
        assert set(files) == set(record["fixity"]) == {
            f"{video_id}.mp4", f"{video_id}_thumb.jpg", f"{video_id}.info.json",
        }  # fmt: skip
        taken_in = [one["dispatch_id"] for one in record["take_ins"]]
        assert len(taken_in) == len(set(taken_in)), "each delivery is committed once"
        for name, path in files.items():
            content = path.read_bytes()
            told = record["fixity"][name]
            assert (told["size"], told["sha256"]) == (len(content), hashlib.sha256(content).hexdigest()), name
        assert video_id.encode() in files[f"{video_id}.mp4"].read_bytes()  # the emulator writes the id into the media
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-xerror", "-i", str(files[f"{video_id}.mp4"])]
        done = subprocess.run([*command, "-f", "null", "-"], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, ""), video_id

    def _assert_work_plan(self) -> None:
        """Check that the work plan contains each unavailable video once and nothing else."""
        plan = json.loads((self.cluster.config.storage.work_plans_dir / f"{self.job_id}.json").read_text())
        assert [entry["video_id"] for entry in plan["unavailable_videos"]] == self.unavailable
        assert plan["failed_downloads"] == []

    def _assert_playlist(self, nothing_lost: bool) -> None:
        path = self.cluster.config.storage.base_path / "metadata" / "playlists" / f"{self.playlist}.json"
        kept = json.loads(path.read_text())
        assert len(kept["entries"]) == len({entry["video_id"] for entry in kept["entries"]})
        assert {entry["video_id"] for entry in kept["entries"]} == {*self.videos, *self.unavailable}
        listings = [look["job_id"] for look in kept["listings"]].count(self.job_id)
        assert listings == 1 or (listings > 1 and not nothing_lost)

    async def _wait_until_settled(self, unacknowledged: tuple[str, ...]) -> None:
        """Wait until the outbox is empty and every consumer is done; check that no fetch is left."""
        marks = ",".join("?" * len(self.videos))
        await _until(lambda: self.cluster.rows("SELECT count(*) FROM outbox") == [(0,)], "the outbox is empty")
        left = self.cluster.rows(f"SELECT video_id, state FROM fetches WHERE video_id IN ({marks})", *self.videos)  # noqa: S608 - only marks
        assert left == []
        await _until(
            lambda: self._all_consumed(unacknowledged), "every consumer has received and acknowledged every message"
        )

    def _assert_events_recorded_once(self, trace_id: str, nothing_lost: bool) -> None:
        mine = [line for line in self.cluster.journal() if line["trace_id"] == trace_id]
        kinds = Counter(line["subject"] for line in mine)
        assert kinds["job.completed"] == 1 or not nothing_lost, kinds
        assert kinds["storage.failed"] == 0 or not nothing_lost, kinds
        assert kinds["dead.lettered"] == 0, kinds
        if nothing_lost:
            missing = self._expected_events() - kinds
            assert not missing, missing
        # events without a cause may be published again
        facts = Counter(_event_key(line) for line in mine if line["caused_by"])
        assert facts.most_common(1)[0][1] == 1, facts.most_common(3)
        ids = Counter(line["message_id"] for line in self.cluster.journal())
        assert ids.most_common(1)[0][1] == 1

    def _expected_events(self) -> Counter[str]:
        """Return the events of a job that must be recorded at least, with their number."""
        once = ["job.created", "job.queued", "playlist.fetched", "listing.page_fetched", "archive.checked"]
        once += ["listing.completed", "job.completed"]
        saved = ["metadata.fetched", "metadata.archived", "download.completed", "video.archived"]
        gap = ["download.failed", "video.failed", "work_plan.updated"]
        every = ["download.requested", "download.started"]
        return Counter(
            once
            + saved * len(self.videos)
            + gap * len(self.unavailable)
            + every * len([*self.videos, *self.unavailable])
        )

    async def _all_consumed(self, unacknowledged: tuple[str, ...]) -> bool:
        consumers = await self.bus.js.consumers_info("EVENTS")
        held = [one.name for one in consumers if one.num_ack_pending]
        unread = [one.name for one in consumers if one.num_pending]
        return not unread and all(name.startswith(unacknowledged) for name in held)


def _event_key(line: dict[str, Any]) -> tuple[str, ...]:
    """Identify an event by subject, cause and key fields: equal if a handler ran again and repeated it."""
    kind = _KINDS[line["subject"]]
    return (line["subject"], str(line["caused_by"]), *(str(line["data"][name]) for name in kind.key))


@pytest.fixture
async def new_job(emulator: EmulatorClient) -> AsyncIterator[Callable[..., Awaitable[JobRun]]]:
    """`await new_job(cluster)`: a job for a playlist that no other test uses, with a bus and a REST client."""
    opened: list[Bus] = []
    async with aiohttp.ClientSession() as http:

        async def make(cluster: Cluster, *, count: int = 4) -> JobRun:
            playlist = f"PL{uuid4().hex}"
            made = emulator.put_playlist(playlist, count=count, channel=sample.CHANNEL, private=[1])
            bus = await connect_bus(cluster.broker.settings, source="cli/chaos")
            opened.append(bus)
            videos = list(made["entries"])
            unavailable = [videos.pop(1)]
            return JobRun(cluster, emulator, bus, http, playlist, videos, unavailable)

        yield make
        await asyncio.gather(*(bus.close() for bus in opened))


@pytest.fixture
def until() -> Callable[..., Awaitable[Any]]:
    return _until


@pytest.fixture
def worker_consumers() -> tuple[str, ...]:
    """Prefixes of consumers whose killed instances keep their in-flight messages until ack_wait is over."""
    return ("metadata-", "download-")


@pytest.fixture
def repeat_job() -> Callable[[JobRun], JobRun]:
    """Create a new job for the playlist of another one."""
    return lambda job_run: replace(job_run, job_id=str(uuid4()))
