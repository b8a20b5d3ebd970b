"""What every kind of test may use: a real broker, a configuration of its own, a wait that knows why it failed, the
command line as a child process."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bus import BusSettings, EmbeddedServer
from services.common.config import Config, load_config
from ytarchive.emulator import EmulatorClient, emulator_process

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Everything below tmp_path, any free port, no demand on the disk."""
    services = {
        f"YTARCHIVE_SERVICES__{name}__PORT": "0" for name in ["JOBS", "METADATA", "DOWNLOAD", "STORAGE", "LOGGING"]
    }
    env = {
        "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(tmp_path / "data"),
        "YTARCHIVE_STORAGE__BASE_PATH": str(tmp_path / "archive"),
        "YTARCHIVE_STORAGE__MIN_FREE": "0",
    }
    return load_config(env=services | env, cwd=tmp_path)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[BusSettings]:
    """A nats-server of this test; an unacknowledged message comes again after 2 s."""
    server = EmbeddedServer(tmp_path / "nats", like=BusSettings(url="nats://127.0.0.1", ack_wait=2.0))
    try:
        yield await server.start()
    finally:
        await server.stop()


@pytest.fixture
def eventually() -> Eventually:
    """Await a condition: asked again until it gives something true, at most 20 s."""

    async def wait(look: Callable[[], Awaitable[object]]) -> object:
        deadline = time.monotonic() + 20
        while not (found := await look()):
            if time.monotonic() > deadline:
                raise AssertionError(f"did not come true within 20 s: {look}")
            await asyncio.sleep(0.02)
        return found

    return wait


@pytest.fixture(scope="session")
def emulator_child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorClient]:
    # beside the folders of the workers, so that they share the encoded clips
    cache = tmp_path_factory.getbasetemp().parent / "emulator-cache"
    with emulator_process(cache) as client:
        yield client


@pytest.fixture
def emulator(emulator_child: EmulatorClient) -> EmulatorClient:
    """A loopback YouTube in a process of its own, with the sample world, no faults and an empty log."""
    emulator_child.reset()
    return emulator_child


# --- the command line as users have it: a child process with a home of its own ------------------------------------

PATIENCE = 60.0  # seconds for anything that a child does


@dataclass(frozen=True)
class Run:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def result(self) -> dict[str, Any]:
        """The last JSON line."""
        return self.lines[-1]


@dataclass
class Child:
    """A command under way; its output goes to files, so that it never waits for a reader."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def wait_for(self, text: str) -> None:
        """Until it has printed this."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.out.read_text() + self.err.read_text():
            assert self.process.poll() is None, f"ended without {text!r}:\n{self.out.read_text()}{self.err.read_text()}"
            assert time.monotonic() < deadline, f"no {text!r} within {PATIENCE} s:\n{self.out.read_text()}"
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """To the whole group, as a terminal does it."""
        os.killpg(self.process.pid, number)

    def end(self) -> Run:
        code = self.process.wait(PATIENCE)
        return Run(code, self.out.read_text(), self.err.read_text())


@dataclass
class Cli:
    """Runs `ytarchive` in one environment: `home` holds its data and its archive."""

    home: Path
    env: dict[str, str]
    held: ExitStack
    started: list[Child] = field(default_factory=list)

    @property
    def archive(self) -> Path:
        return self.home / "archive"

    @property
    def data(self) -> Path:
        return self.home / "data"

    def __call__(self, *words: str, stdin: str = "") -> Run:
        """Run to its end."""
        ran = subprocess.run(
            self.command(*words),
            input=stdin,
            env=self.env,
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert "Traceback" not in ran.stderr, ran.stderr
        return Run(ran.returncode, ran.stdout, ran.stderr)

    def start(self, *words: str) -> Child:
        """Start in the background; ended with the test."""
        number = len(self.started)
        out, err = self.home / f"{number}.out", self.home / f"{number}.err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                self.command(*words),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=self.env,
                cwd=self.home,
                start_new_session=True,
            )
        child = Child(process, out, err)
        self.started.append(child)
        self.held.enter_context(_ended(process))
        return child

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "ytarchive", *words]

    def mp4(self, video_id: str) -> Path:
        return self.archive / "videos" / video_id / f"{video_id}.mp4"


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(35)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="session")
def cli_at(emulator_child: EmulatorClient) -> Iterator[Callable[..., Cli]]:
    """Makes a Cli with this home, any free ports, and the emulator as its YouTube; more settings as variables."""
    with ExitStack() as held:

        def make(home: Path, **settings: str) -> Cli:
            home.mkdir(exist_ok=True)
            kept = {key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL", "TMPDIR") if key in os.environ}
            env = kept | {
                "HOME": str(home),
                "PYTHONPATH": str(Path(__file__).parents[1]),
                "PYTHONWARNINGS": "error",
                "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(home / "data"),
                "YTARCHIVE_STORAGE__BASE_PATH": str(home / "archive"),
                "YTARCHIVE_STORAGE__MIN_FREE": "0",
                "YTARCHIVE_YOUTUBE__PROXY": emulator_child.proxy_url,
                "YTARCHIVE_YOUTUBE__CA_FILE": str(emulator_child.ca_file),
            }
            for service in ("JOBS", "METADATA", "DOWNLOAD", "STORAGE", "LOGGING"):
                env[f"YTARCHIVE_SERVICES__{service}__PORT"] = "0"
            return Cli(home, env | settings, held)

        yield make


@pytest.fixture
def make_cli(tmp_path: Path, cli_at: Callable[..., Cli], emulator: EmulatorClient) -> Iterator[Callable[..., Cli]]:
    """A Cli with a home of this test; what it started is ended with the test."""
    with ExitStack() as held:

        def make(name: str = "home", **settings: str) -> Cli:
            return replace(cli_at(tmp_path / name, **settings), held=held)

        yield make


@pytest.fixture
def cli(make_cli: Callable[..., Cli]) -> Cli:
    return make_cli()
