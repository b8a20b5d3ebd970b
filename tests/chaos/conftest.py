"""Five processes and a nats-server of their own, to be killed and started again one by one."""

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
from tests.fixtures.processes import KEPT, Nursery, Process, Started
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

PATIENCE = 30.0  # seconds; half of the default ack_wait, so that nothing passes by waiting for that
_POLL = 0.02
_KINDS = {kind.subject: kind for kind in catalogue()}


async def _until(look: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Ask again until `look` (a function or a coroutine function) gives something true."""
    deadline = time.monotonic() + patience
    while True:
        found = look()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        await asyncio.sleep(_POLL)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(closing(socket.socket())) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


class Broker:
    """A nats-server as an administrator would run it: nobody restarts it by itself."""

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
        self._process = Started([str(find_server()), "-c", str(path)], out, dict(os.environ))
        process = self._process
        await _until(lambda: "Server is ready" in process.words(), "nats-server is ready")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()


# --- the cluster ------------------------------------------------------------------------------------------------------


@dataclass
class Cluster:
    """The five services as processes. `sound` is whether the last test left it as it should be."""

    home: Path
    env: dict[str, str]
    broker: Broker
    config: Config
    nursery: Nursery
    first_as_users_do: bool = False
    sound: bool = False
    processes: dict[str, Process] = field(default_factory=dict)
    programs: dict[str, Process] = field(default_factory=dict)
    _started: int = 0

    async def start(self, *names: str, replaces: bool = True, **settings: str) -> None:
        """Start services and wait until they serve. One that `replaces` no other is a further instance."""
        started: list[tuple[str, Process]] = []
        for name in names:
            self._started += 1
            env = self.env | {VARIABLE: f"@{self._wish(name)}"} | settings
            out = self.home / f"{self._started:03d}-{name}.log"
            process = self._begin(["service", name], out, env)
            started.append((name, process))
            self.processes[name if replaces else f"another {name}"] = process
        for name, process in started:

            def ready(process: Process = process) -> bool:
                assert process.code is None, process.words()
                return "Ready." in process.words()

            await _until(ready, f"{name} is ready")

    def _begin(self, words: Sequence[str], out: Path, env: dict[str, str]) -> Process:
        """Where it is wished, the first of each service as its user starts it; the others from the nursery."""
        if not self.first_as_users_do or self._started > len(SERVICES):
            return self.nursery.start(words, out, env)
        return Started([sys.executable, "-m", "ytarchive", *words], out, env)

    def doom(self, name: str, fault: str) -> None:
        """From now on the service dies where `fault` says."""
        self._wish(name).write_text(fault)

    async def died(self, name: str) -> None:
        """Until the fault was hit; it is lifted then."""
        process = self.processes[name]
        await _until(lambda: process.code is not None, f"{name} dies at {self._wish(name).read_text()}")
        assert process.code == -signal.SIGKILL, process.words()
        del self.processes[name]
        self._wish(name).unlink()

    def run(self, name: str, command: Sequence[str]) -> Process:
        """Another program, ended with the cluster at the latest."""
        process = self.programs[name] = Started(command, self.home / f"{name}.log", self.env)
        return process

    def kill(self, *names: str) -> None:
        for name in names:
            self.processes.pop(name).kill()

    def _wish(self, name: str) -> Path:
        return self.home / f"{name}.fault"

    async def heal(self) -> None:
        """Start what is not running."""
        await self.start(*(name for name in SERVICES if name not in self.processes))

    @property
    def jobs_url(self) -> str:
        return f"http://127.0.0.1:{self.config.services.jobs.port}/api/v1/jobs"

    def end(self) -> None:
        for process in (*self.programs.values(), *self.processes.values()):
            process.kill()
        self.broker.kill()

    def rows(self, query: str, *args: object) -> list[tuple[Any, ...]]:
        """Of jobs.db."""
        place = f"{(self.config.storage.jobs_dir / 'jobs.db').as_uri()}?mode=ro"
        with closing(sqlite3.connect(place, uri=True)) as sql:
            return sql.execute(query, args).fetchall()

    def no_partials(self) -> bool:
        return not list(self.config.storage.tmp_dir.glob("*.part"))

    def nothing_staged(self) -> bool:
        return not list(self.config.storage.base_path.glob("videos/*/.*.new"))

    def journal(self) -> list[dict[str, Any]]:
        """Every durable event that logging has written down."""
        paths = sorted(self.config.storage.logs_dir.glob("events-*.jsonl"))
        whole = [path.read_text().rpartition("\n")[0] for path in paths]  # the last line may be on its way
        return [json.loads(line) for text in whole for line in text.splitlines()]


def new_cluster(home: Path, emulator: EmulatorClient, nursery: Nursery, **settings: str) -> Cluster:
    """Nothing of it runs yet."""
    home.mkdir()
    broker = Broker(home / "nats")
    env = {
        **{key: os.environ[key] for key in KEPT if key in os.environ},
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
    return Cluster(home, env, broker, load_config(env=ours, cwd=home), nursery)


@dataclass
class Keeper:
    """One cluster for many tests; a new one after a test that failed."""

    folder: Path
    emulator: EmulatorClient
    nursery: Nursery
    settings: dict[str, str]
    first_as_users_do: bool = False
    cluster: Cluster | None = None
    made: int = 0

    async def get(self) -> Cluster:
        if self.cluster is None or not self.cluster.sound:
            self.close()
            self.made += 1
            self.cluster = new_cluster(self.folder / str(self.made), self.emulator, self.nursery, **self.settings)
            self.cluster.first_as_users_do = self.first_as_users_do
            await self.cluster.broker.start()
        self.cluster.sound = False
        await self.cluster.heal()
        return self.cluster

    def close(self) -> None:
        """What its jobs left, if anything, must have been cleared away by now."""
        if self.cluster is None:
            return
        try:
            cluster = self.cluster
            waiting.until(lambda: not cluster.sound or cluster.no_partials(), "partials are cleared away", PATIENCE)
        finally:
            self.cluster.end()


@pytest.fixture(scope="session")
def quick_keeper(
    emulator_child: EmulatorClient, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Keeper]:
    settings = {"YTARCHIVE_NATS__ACK_WAIT": "1"}
    keeper = Keeper(tmp_path_factory.mktemp("quick"), emulator_child, nursery, settings, first_as_users_do=True)
    yield keeper
    keeper.close()


@pytest.fixture(scope="session")
def patient_keeper(
    emulator_child: EmulatorClient, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Keeper]:
    keeper = Keeper(tmp_path_factory.mktemp("patient"), emulator_child, nursery, {})
    yield keeper
    keeper.close()


@pytest.fixture
async def quick(quick_keeper: Keeper, emulator: EmulatorClient) -> Cluster:
    """A cluster where an unacknowledged message comes again after 1 s."""
    return await quick_keeper.get()


@pytest.fixture
async def patient(patient_keeper: Keeper, emulator: EmulatorClient) -> Cluster:
    """A cluster with ack_wait as it is by default: longer than a test has patience."""
    return await patient_keeper.get()


# --- a job ------------------------------------------------------------------------------------------------------------


@dataclass
class Deed:
    """A job of its own playlist: three videos, and a private one at the second place."""

    cluster: Cluster
    emulator: EmulatorClient
    bus: Bus
    http: aiohttp.ClientSession
    playlist: str
    videos: list[str]  # those that can be had
    gone: list[str]
    job_id: str = field(default_factory=lambda: str(uuid4()))

    async def order(self, **options: Any) -> None:
        """Publish job.created, as a CLI does."""
        chosen = JobOptions(**{"quality": "144p", "include_captions": False, **options})
        created = JobCreated(job_id=self.job_id, targets=(self.playlist,), options=chosen)
        await self.bus.publish(created, trace_id=f"trace-{self.job_id}")

    async def job(self) -> Job | None:
        """As REST shows it; None while jobs is away or does not know it."""
        try:
            async with self.http.get(f"{self.cluster.jobs_url}/{self.job_id}") as answer:
                return Job.model_validate((await answer.json())["data"]["job"]) if answer.status == 200 else None
        except aiohttp.ClientError:
            return None

    async def items(self) -> dict[str, Item]:
        async with self.http.get(f"{self.cluster.jobs_url}/{self.job_id}/items") as answer:
            found = [Item.model_validate(item) for item in (await answer.json())["data"]["items"]]
        return {item.video_id: item for item in found}

    async def ended(self, patience: float = PATIENCE) -> Job:
        async def look() -> Job | None:
            job = await self.job()
            return job if job and job.status.ended else None

        job: Job = await _until(look, f"job {self.job_id} ends", patience)
        return job

    async def done_right(
        self, *, attempts: int | None = 0, unacknowledged: tuple[str, ...] = (), whole_story: bool = True
    ) -> None:
        """The job ends, and everything is as it would be without any death: each file right, everything once.

        `attempts`: how many failed ones the videos must have had in all, None for any; `unacknowledged`: beginnings of
        durables whose dead instances may still hold messages, as the broker sees it;
        `whole_story`: whether logging heard everything, and nothing had to be done again for want of an answer.
        """
        job = await self.ended()
        counts = job.counts
        assert (job.status, counts.total, counts.archived, counts.unavailable, counts.failed) == (
            "completed", len(self.videos) + len(self.gone), len(self.videos), len(self.gone), 0,
        )  # fmt: skip
        items = await self.items()
        assert {item.video_id: item.status for item in items.values()} == {
            **dict.fromkeys(self.videos, ItemStatus.ARCHIVED),
            **dict.fromkeys(self.gone, ItemStatus.UNAVAILABLE),
        }
        assert attempts in {None, sum(items[video_id].attempts for video_id in self.videos)}
        self._plan_is_right()
        if whole_story:  # else the worker looks for what is nobody's every ten seconds: Keeper.close
            await _until(self.cluster.no_partials, "partials are cleared away")
        await self._settled(unacknowledged)  # what had to be done again may still be taken in, after the job's end
        if not whole_story:  # nor are all requests known: a copy that was fetched twice replaces the first
            await _until(self.cluster.nothing_staged, "nothing is about to be put into the archive")
        await asyncio.gather(*(asyncio.to_thread(self.whole, video_id) for video_id in self.videos))
        self._playlist_is_right(whole_story)  # no job waits for this file
        self._told_once(job.trace_id, whole_story)
        self.cluster.sound = True

    def whole(self, video_id: str) -> None:
        """Every file of a video has the digest that its record names, and ffmpeg decodes the media."""
        folder = self.cluster.config.storage.base_path / "videos" / video_id
        files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        record = json.loads(files.pop(f"{video_id}_metadata.json").read_text())
        assert set(files) == set(record["fixity"]) == {
            f"{video_id}.mp4", f"{video_id}_thumb.jpg", f"{video_id}.info.json",
        }  # fmt: skip
        taken_in = [one["dispatch_id"] for one in record["take_ins"]]
        assert len(taken_in) == len(set(taken_in)), "a delivery is taken in once"
        for name, path in files.items():
            content = path.read_bytes()
            told = record["fixity"][name]
            assert (told["size"], told["sha256"]) == (len(content), hashlib.sha256(content).hexdigest()), name
        assert video_id.encode() in files[f"{video_id}.mp4"].read_bytes()  # the emulator writes it into the media
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-xerror", "-i", str(files[f"{video_id}.mp4"])]
        done = subprocess.run([*command, "-f", "null", "-"], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, ""), video_id

    def _plan_is_right(self) -> None:
        """Each gap on the plan, once, and nothing else."""
        plan = json.loads((self.cluster.config.storage.work_plans_dir / f"{self.job_id}.json").read_text())
        assert [entry["video_id"] for entry in plan["unavailable_videos"]] == self.gone
        assert plan["failed_downloads"] == []

    def _playlist_is_right(self, listed_once: bool) -> None:
        path = self.cluster.config.storage.base_path / "metadata" / "playlists" / f"{self.playlist}.json"
        kept = json.loads(path.read_text())
        assert len(kept["entries"]) == len({entry["video_id"] for entry in kept["entries"]})
        assert {entry["video_id"] for entry in kept["entries"]} == {*self.videos, *self.gone}
        looks = [look["job_id"] for look in kept["listings"]].count(self.job_id)
        assert looks == 1 or (looks > 1 and not listed_once)

    async def _settled(self, unacknowledged: tuple[str, ...]) -> None:
        """Nothing is left over: nothing to publish, no fetch, no unread message; one end was told of."""
        marks = ",".join("?" * len(self.videos))
        await _until(lambda: self.cluster.rows("SELECT count(*) FROM outbox") == [(0,)], "the outbox is empty")
        left = self.cluster.rows(f"SELECT video_id, state FROM fetches WHERE video_id IN ({marks})", *self.videos)  # noqa: S608 - only marks
        assert left == []
        await _until(lambda: self._all_read(unacknowledged), "every consumer has read and acknowledged everything")

    def _told_once(self, trace_id: str, whole_story: bool) -> None:
        mine = [line for line in self.cluster.journal() if line["trace_id"] == trace_id]
        kinds = Counter(line["subject"] for line in mine)
        assert kinds["job.completed"] == 1 or not whole_story, kinds
        assert kinds["storage.failed"] == 0 or not whole_story, kinds
        assert kinds["dead.lettered"] == 0, kinds
        if whole_story:
            missing = self._expected() - kinds
            assert not missing, missing
        facts = Counter(_fact(line) for line in mine if line["caused_by"])  # an order may be given again
        assert facts.most_common(1)[0][1] == 1, facts.most_common(3)
        ids = Counter(line["message_id"] for line in self.cluster.journal())
        assert ids.most_common(1)[0][1] == 1

    def _expected(self) -> Counter[str]:
        """What is told of a job, at least: all of it, each for as many as it is about."""
        once = ["job.created", "job.queued", "playlist.fetched", "listing.page_fetched", "archive.checked"]
        once += ["listing.completed", "job.completed"]
        saved = ["metadata.fetched", "metadata.archived", "download.completed", "video.archived"]
        gap = ["download.failed", "video.failed", "work_plan.updated"]
        every = ["download.requested", "download.started"]
        return Counter(once + saved * len(self.videos) + gap * len(self.gone) + every * len([*self.videos, *self.gone]))

    async def _all_read(self, unacknowledged: tuple[str, ...]) -> bool:
        consumers = await self.bus.js.consumers_info("EVENTS")
        held = [one.name for one in consumers if one.num_ack_pending]
        unread = [one.name for one in consumers if one.num_pending]
        return not unread and all(name.startswith(unacknowledged) for name in held)


def _fact(line: dict[str, Any]) -> tuple[str, ...]:
    """What was said, and because of what: said again, by a handler that ran again, it is the same message."""
    kind = _KINDS[line["subject"]]
    return (line["subject"], str(line["caused_by"]), *(str(line["data"][name]) for name in kind.key))


@pytest.fixture
async def deed_in(emulator: EmulatorClient) -> AsyncIterator[Callable[..., Awaitable[Deed]]]:
    """`await deed_in(cluster)`: a playlist that no other test has, and a bus and a REST client to ask for it."""
    opened: list[Bus] = []
    async with aiohttp.ClientSession() as http:

        async def make(cluster: Cluster, *, count: int = 4) -> Deed:
            playlist = f"PL{uuid4().hex}"
            made = emulator.put_playlist(playlist, count=count, channel=sample.CHANNEL, private=[1])
            bus = await connect_bus(cluster.broker.settings, source="cli/chaos")
            opened.append(bus)
            videos = list(made["entries"])
            gone = [videos.pop(1)]
            return Deed(cluster, emulator, bus, http, playlist, videos, gone)

        yield make
        await asyncio.gather(*(bus.close() for bus in opened))


@pytest.fixture
def until() -> Callable[..., Awaitable[Any]]:
    return _until


@pytest.fixture
def workers() -> tuple[str, ...]:
    """Durables of the patient cluster where what a dead instance had stays in hand for a minute."""
    return ("metadata-", "download-")


@pytest.fixture
def again() -> Callable[[Deed], Deed]:
    """A new job for the playlist of another one."""
    return lambda deed: replace(deed, job_id=str(uuid4()))
