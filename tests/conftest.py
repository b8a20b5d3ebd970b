"""Fixtures for all tests: a real broker, a configuration below tmp_path, a wait with a timeout, CLI processes."""

import asyncio
import gc
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import settings

from bus import BusSettings, EmbeddedServer
from services.common.settings.load import Config, load_config
from tests.fixtures.processes import INHERITED_VARIABLES, PROCESS_TIMEOUT, Process, ProcessPool
from ytarchive.emulator import EmulatorClient, emulator_process

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]

# The same examples on every run, without a time limit, so that a failure is reproducible. Raise max_examples to
# search further.
settings.register_profile("suite", deadline=None, derandomize=True, database=None)
settings.load_profile("suite")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A configuration with all directories below tmp_path, free ports and no minimum of free disk space."""
    services = {
        f"YTARCHIVE_SERVICES__{name}__PORT": "0" for name in ["JOBS", "METADATA", "DOWNLOAD", "STORAGE", "LOGGING"]
    }
    env = {
        "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(tmp_path / "data"),
        "YTARCHIVE_STORAGE__BASE_PATH": str(tmp_path / "archive"),
        "YTARCHIVE_STORAGE__MIN_FREE": "0",
    }
    return load_config(env=services | env | {"YTARCHIVE_WEB__PORT": "0"}, cwd=tmp_path)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[BusSettings]:
    """A nats-server for this test; an unacknowledged message is redelivered after 2 s."""
    numbers = BusSettings(url="nats://127.0.0.1", ack_wait=2.0, connect_timeout=20.0)
    server = EmbeddedServer(tmp_path / "nats", like=numbers)
    try:
        yield await server.start()
    finally:
        await server.stop()


@pytest.fixture
def eventually() -> Eventually:
    """Poll an async condition until its result is true, at most 120 s."""

    async def wait(look: Callable[[], Awaitable[object]]) -> object:
        deadline = time.monotonic() + 120
        while not (found := await look()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not true within 120 s: {look}")
            await asyncio.sleep(0.02)
        return found

    return wait


@dataclass
class ManualClock:
    """A clock for services.common.infra.resilience; time advances by `sleep` or when `seconds` is set."""

    seconds: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def emulator_child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorClient]:
    # shared by the xdist workers, so that each clip is encoded once
    cache = tmp_path_factory.getbasetemp().parent / "emulator-cache"
    with emulator_process(cache) as client:
        yield client


@pytest.fixture
def emulator(emulator_child: EmulatorClient) -> EmulatorClient:
    """The emulator of YouTube in its own process, with the sample videos, no faults and an empty log."""
    emulator_child.reset()
    return emulator_child


# --- the command line as users run it: processes with their own home -----------------------------------------------


@dataclass(frozen=True)
class Run:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Parse stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def result(self) -> dict[str, Any]:
        """The last JSON line of stdout."""
        return self.lines[-1]


@dataclass
class Child:
    """A running command."""

    process: Process
    out: Path
    err: Path

    def wait_for(self, text: str, within: float = PROCESS_TIMEOUT) -> None:
        """Wait until the command has printed `text`."""
        deadline = time.monotonic() + within
        while text not in self.out.read_text() + self.err.read_text():
            assert self.process.is_running, f"ended without {text!r}:\n{self.out.read_text()}{self.err.read_text()}"
            assert time.monotonic() < deadline, f"no {text!r} within {within} s:\n{self.out.read_text()}"
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process group, as a terminal does."""
        os.killpg(self.process.pid, number)

    def end(self) -> Run:
        code = self.process.wait()
        return Run(code, self.out.read_text(), self.err.read_text())


@dataclass
class Cli:
    """Runs `ytarchive` commands as processes in one environment. `home` contains its data and its archive."""

    home: Path
    env: dict[str, str]
    resources: ExitStack
    process_pool: ProcessPool

    @property
    def archive(self) -> Path:
        return self.home / "archive"

    @property
    def data(self) -> Path:
        return self.home / "data"

    def __call__(self, *words: str, stdin: str = "") -> Run:
        """Run a command to its end."""
        ran = self._begin(words, stdin).end()
        assert "Traceback" not in ran.err, ran.err
        return ran

    def start(self, *words: str) -> Child:
        """Start a command in the background; it is stopped with the test."""
        child = self._begin(words)
        self.resources.callback(_stop, child.process)
        return child

    def _begin(self, words: Sequence[str], stdin: str = "") -> Child:
        place = Path(mkdtemp(dir=self.home.parent, prefix="run-"))
        given = place / "stdin"
        given.write_text(stdin)
        out, err = place / "out", place / "err"
        return Child(self.process_pool.start(words, out, self.env, err=err, cwd=self.home, stdin=given), out, err)

    def command(self, *words: str) -> list[str]:
        """Return the command line for a test that starts the process itself."""
        return [sys.executable, "-m", "ytarchive", *words]

    def mp4(self, video_id: str) -> Path:
        return self.archive / "videos" / video_id / f"{video_id}.mp4"


def _stop(process: Process) -> None:
    process.terminate()
    try:
        process.wait(35)
    except TimeoutError:
        process.kill()


@pytest.fixture(scope="session")
def process_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPool]:
    process_pool = ProcessPool(tmp_path_factory.mktemp("process_pool"))
    yield process_pool
    process_pool.close()


@pytest.fixture(scope="session")
def cli_at(emulator_child: EmulatorClient, process_pool: ProcessPool) -> Iterator[Callable[..., Cli]]:
    """Create a Cli with this home, free ports and the emulator as YouTube; `settings` are environment variables."""
    with ExitStack() as resources:

        def make(home: Path, **settings: str) -> Cli:
            home.mkdir(exist_ok=True)
            kept = {key: os.environ[key] for key in INHERITED_VARIABLES if key in os.environ}
            env = kept | {
                "HOME": str(home),
                "PYTHONPATH": str(Path(__file__).parents[1]),
                "PYTHONWARNINGS": "error",
                "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(home / "data"),
                "YTARCHIVE_STORAGE__BASE_PATH": str(home / "archive"),
                "YTARCHIVE_STORAGE__MIN_FREE": "0",
                "YTARCHIVE_UPDATES__CHECK": "false",
                "YTARCHIVE_YOUTUBE__PROXY": emulator_child.proxy_url,
                "YTARCHIVE_YOUTUBE__CA_FILE": str(emulator_child.ca_file),
            }
            for service in ("JOBS", "METADATA", "DOWNLOAD", "STORAGE", "LOGGING"):
                env[f"YTARCHIVE_SERVICES__{service}__PORT"] = "0"
            env["YTARCHIVE_WEB__PORT"] = "0"
            return Cli(home, env | settings, resources, process_pool)

        yield make


@pytest.fixture
def make_cli(tmp_path: Path, cli_at: Callable[..., Cli], emulator: EmulatorClient) -> Iterator[Callable[..., Cli]]:
    """Create a Cli with a home for this test; commands that still run are stopped with the test."""
    with ExitStack() as resources:

        def make(name: str = "home", **settings: str) -> Cli:
            return replace(cli_at(tmp_path / name, **settings), resources=resources)

        yield make


@pytest.fixture
def cli(make_cli: Callable[..., Cli]) -> Cli:
    return make_cli()


def pytest_collection_finish() -> None:
    """Exclude loaded modules from garbage collection: they stay until the end."""
    gc.collect()
    gc.freeze()
