"""SIGTERM during a start, and while the broker is away. The end is in order and leaves nothing behind."""

import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bus.embedded.program import find_server
from services.common.names import SERVICES
from tests.fixtures.processes import ChildProcess
from tests.fixtures.waiting import until
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

IN_ORDER, BEFORE_THE_HANDLER = 0, -signal.SIGTERM  # exit codes
GRACE = 45.0  # seconds: stop_grace_period of docker-compose.yml
MOMENTS = 12


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of running processes that name a folder (Linux)."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = place.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder) in line:
            found.append(line)
    return found


def check_end(child: Any, folder: Path, codes: set[int]) -> None:
    begun = time.monotonic()
    child.process.terminate()
    code = child.process.wait(GRACE)
    assert time.monotonic() - begun < GRACE
    ran = child.end()
    assert code in codes, ran.out + ran.err
    for word in ("Traceback", "was never retrieved", "was never awaited", "was destroyed"):
        assert word not in ran.err, ran.err
    until(lambda: processes_of(folder) == [])


def test_sigterm_at_any_moment_of_a_start_ends_it_in_order(cli: Any) -> None:
    begun = time.monotonic()
    whole = cli.start("up")
    whole.wait_for("Ready.")
    duration = time.monotonic() - begun
    check_end(whole, cli.data, {IN_ORDER})
    chance = random.Random(7)  # noqa: S311 - reproducible
    for number in range(MOMENTS):
        child = cli.start("up")
        time.sleep(duration * (number + chance.random()) / MOMENTS)  # the moment that is tested
        check_end(child, cli.data, {IN_ORDER, BEFORE_THE_HANDLER})
    again = cli.start("up")
    again.wait_for("Ready.")
    check_end(again, cli.data, {IN_ORDER})


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Callable[[], tuple[ChildProcess, str]]]:
    """Start a broker of its own. It is killed after the test."""
    started: list[ChildProcess] = []

    def start() -> tuple[ChildProcess, str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        store = tmp_path / f"store-{len(started)}"
        words = [str(find_server()), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(store)]
        started.append(ChildProcess(words, tmp_path / f"nats-{len(started)}.log", {}))
        return started[-1], f"nats://127.0.0.1:{port}"

    yield start
    for process in started:
        process.kill()


@pytest.mark.parametrize(
    ("number", "after"),
    [(signal.SIGKILL, 0.0), (signal.SIGKILL, 4.0), (signal.SIGSTOP, 0.0), (signal.SIGSTOP, 12.0)],
    ids=["killed", "killed for long", "suspended", "suspended for long"],
)
def test_sigterm_while_the_broker_is_away_ends_all_services_in_order(
    cli: Any, emulator: EmulatorClient, broker: Any, number: signal.Signals, after: float
) -> None:
    """A download is running: its worker gives it back, and its partial stays."""
    media = "*.part/*.mp4.part"  # captions are written under such a name, too
    process, url = broker()
    cli.env["YTARCHIVE_NATS__URL"] = url
    until(lambda: "Server is ready" in process.output())
    emulator.add_fault("media", "throttle", rate=200_000)
    up = cli.start("up")
    up.wait_for("Ready.")
    download = cli.start("download", sample.VIDEO_LARGE)
    until(lambda: list((cli.data / "tmp").glob(media)))
    download.process.kill()
    process.signal(number)
    time.sleep(after)  # the moment that is tested
    check_end(up, cli.data, {IN_ORDER})
    text = up.out.read_text() + up.err.read_text()
    assert {name: text.count(f"service_stopped ({name})") for name in SERVICES} == dict.fromkeys(SERVICES, 1)
    assert list((cli.data / "tmp").glob(media))


def test_sigterm_during_a_start_that_waits_for_a_suspended_broker_ends_it(cli: Any, broker: Any) -> None:
    process, url = broker()
    until(lambda: "Server is ready" in process.output())
    process.signal(signal.SIGSTOP)
    cli.env["YTARCHIVE_NATS__URL"] = url
    for moment in (0.5, 3.0):
        child = cli.start("up")
        time.sleep(moment)  # the moment that is tested
        check_end(child, cli.data, {IN_ORDER, BEFORE_THE_HANDLER})
