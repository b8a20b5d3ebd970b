"""docker-compose.yml: its users, the configuration of its broker and the health check, run without containers."""

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bus import BrokerUnavailable, BusSettings
from bus.embedded.program import find_server
from services.common.events import SourceCleared
from services.common.messaging import connect_bus
from services.common.names import SERVICES
from tests.conftest import Eventually
from tests.fixtures.processes import ending_with_parent
from tests.fixtures.small_disk import run_on_small_disk
from ytarchive.docgen import broker_users

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
LIMIT = 30.0  # seconds for any step
USERS = [*broker_users.users(), "health"]
PASSWORDS = {broker_users.password_variable(user): f"a{user}" for user in USERS}


@pytest.fixture
def compose() -> Any:
    return yaml.safe_load(FILE.read_text())


def test_services_start_when_the_broker_is_healthy_which_has_no_other_port(compose: Any) -> None:
    services = compose["services"]
    assert set(services) == {"nats", "cli", "web", *SERVICES}
    for name, service in services.items():
        if name != "nats":
            assert service["depends_on"] == {"nats": {"condition": "service_healthy"}}
    assert "ports" not in services["nats"]
    configured = [line.split()[0] for line in compose["configs"]["nats"]["content"].splitlines()]
    assert not {"http", "http:", "http_port:", "https:", "monitor_port:", "websocket", "mqtt"} & set(configured)


def test_each_service_and_commands_have_their_own_user(compose: Any) -> None:
    services = compose["services"]
    for name in ("cli", "web", *SERVICES):
        user = "cli" if name == "web" else name  # the page only reads, and sends orders as commands do
        given = services[name]["environment"]
        password = f"${broker_users.password_variable(user)}"
        assert (given["YTARCHIVE_NATS__USER"], given["YTARCHIVE_NATS__PASSWORD"]) == (user, password)
        assert [key for key in given if key.startswith("NATS_")] == []
    assert set(services["nats"]["environment"]) == set(PASSWORDS)
    assert f"for user in {' '.join(USERS).upper()}; do" in FILE.read_text()
    assert ROOT / compose["configs"]["nats-users"]["file"] == ROOT / "docs" / "nats-users.conf"


def free_port() -> str:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        return str(port.getsockname()[1])


class Container:
    """The broker of docker-compose.yml and its health check, in `home`."""

    def __init__(self, compose: Any, home: Path) -> None:
        self._home = home
        self._port = free_port()
        config = compose["configs"]["nats"]["content"].replace("$$", "$")
        config = config.replace("port: 4222", f"listen: 127.0.0.1:{self._port}").replace("/data", str(home / "data"))
        (home / "nats.conf").write_text(config)
        shutil.copy(ROOT / compose["configs"]["nats-users"]["file"], home / "nats-users.conf")
        kind, script = compose["services"]["nats"]["healthcheck"]["test"]
        assert kind == "CMD-SHELL"
        script = script.replace("$$", "$").replace("4222", self._port).replace("cd /dev/shm", f"cd {home}")
        assert script.count("kill 1;") == 1
        self._script = script.replace("kill 1;", "echo ended;")
        self._env = {"PATH": os.environ["PATH"], **PASSWORDS}
        self._shell = ["busybox", "sh"] if shutil.which("busybox") else ["/bin/sh"]  # as in the image
        if not shutil.which("busybox") and not shutil.which("nc"):
            self._env["PATH"] = f"{home}:{os.environ['PATH']}"
            netcat = home / "nc"
            netcat.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/fixtures/netcat.py "$@"\n')
            netcat.chmod(0o700)

    async def check(self, **changes: str) -> tuple[int | None, str]:
        """Run the health check. Return its exit code, and "ended" when it has ended the server."""
        shell = await asyncio.create_subprocess_exec(
            *self._shell, "-c", self._script,
            env=self._env | changes, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        out, _err = await shell.communicate()
        return shell.returncode, out.decode().strip()

    async def healthy(self) -> bool:
        return (await self.check())[0] == 0

    @asynccontextmanager
    async def publisher(self) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
        """Connect as commands do. Yield a function that publishes an event of about that size."""
        url, password = f"nats://127.0.0.1:{self._port}", SecretStr(PASSWORDS["NATS_CLI_PASSWORD"])
        small = {"events_max_bytes": 1024**3, "logs_max_bytes": 1024**2}
        bus = await connect_bus(
            BusSettings.model_validate({"url": url, "user": "cli", "password": password, **small}), source="cli/1"
        )

        async def publish(data: bytes) -> None:
            await bus.publish(SourceCleared(egress=data.decode()), trace_id="t", patience=1.0)

        try:
            yield publish
        finally:
            await bus.close()

    @asynccontextmanager
    async def server(self, variables: Mapping[str, str] = PASSWORDS) -> AsyncIterator[asyncio.subprocess.Process]:
        command = ending_with_parent([str(find_server()), "-c", str(self._home / "nats.conf")])
        with (self._home / "log").open("ab") as log:
            server = await asyncio.create_subprocess_exec(*command, env=dict(variables), stdout=log, stderr=log)
        try:
            yield server
        finally:
            if server.returncode is None:
                server.kill()
            await server.wait()


@pytest.fixture
def container(compose: Any, tmp_path: Path) -> Container:
    return Container(compose, tmp_path)


async def test_the_health_check_ends_a_broker_that_stays_unhealthy_after_it_was_healthy(
    container: Container, eventually: Eventually, tmp_path: Path
) -> None:
    assert [await container.check() for _ in range(13)] == [(1, "")] * 13, "it may still be loading its store"
    async with container.server():
        await eventually(container.healthy)
        assert await container.check(NATS_HEALTH_PASSWORD="wrong") == (1, "")  # noqa: S106 - of the test
        assert await container.healthy()
    assert [await container.check() for _ in range(13)] == [(1, "")] * 11 + [(1, "ended"), (1, "")]
    assert "Violation" not in (tmp_path / "log").read_text()


def test_the_health_check_ends_a_broker_whose_disk_is_full_and_it_comes_back(tmp_path: Path) -> None:
    """A server whose disk was full stores nothing until it is restarted, although JetStream answers."""
    run_on_small_disk(fill_the_disk, tmp_path, tmp_path / "data", 16 * 1024**2)


async def fill_the_disk(home: Path) -> None:
    """The part of the test that runs in the child, where the store of the broker is on a small disk."""
    container = Container(yaml.safe_load(FILE.read_text()), home)
    ballast = home / "data" / "ballast"
    ballast.write_bytes(b"x" * 8 * 1024**2)

    async def until_healthy() -> None:
        async with asyncio.timeout(LIMIT):
            while not await container.healthy():  # noqa: ASYNC110 - the script is asked, as Docker does
                await asyncio.sleep(0.1)

    async with container.server():
        await until_healthy()
        async with container.publisher() as publish:
            with pytest.raises(BrokerUnavailable):
                for _ in range(16):
                    await publish(b"x" * 1024**2)
            ballast.unlink()
            with pytest.raises(BrokerUnavailable):
                await publish(b"x")
        assert [await container.check() for _ in range(12)] == [(1, "")] * 11 + [(1, "ended")]
    async with container.server():
        await until_healthy()
        async with container.publisher() as publish:
            await publish(b"x")


async def test_the_broker_does_not_start_without_a_password(container: Container, tmp_path: Path) -> None:
    missing = {key: value for key, value in PASSWORDS.items() if key != "NATS_CLI_PASSWORD"}
    async with container.server(missing) as server:
        assert await server.wait() != 0
    assert "NATS_CLI_PASSWORD" in (tmp_path / "log").read_text()
