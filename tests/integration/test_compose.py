"""The broker of docker-compose.yml: its configuration and its health check, run without containers."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from bus.embedded.server import find_server
from tests.conftest import Eventually

yaml = pytest.importorskip("yaml")
FILE = Path(__file__).parents[2] / "docker-compose.yml"


@pytest.fixture
def compose() -> Any:
    return yaml.safe_load(FILE.read_text())


def test_services_start_when_the_broker_is_healthy_and_its_monitoring_port_is_not_published(compose: Any) -> None:
    services = compose["services"]
    assert "ports" not in services["nats"]
    for name, service in services.items():
        if name != "nats":
            assert service["depends_on"] == {"nats": {"condition": "service_healthy"}}
    assert "\nhttp: 127.0.0.1:8222 " in compose["configs"]["nats"]["content"]


async def test_the_health_check_ends_a_broker_that_stays_unhealthy_after_it_was_healthy(
    compose: Any, tmp_path: Path, eventually: Eventually
) -> None:
    def free() -> int:
        with socket.socket() as port:
            port.bind(("127.0.0.1", 0))
            return int(port.getsockname()[1])

    monitoring = str(free())
    config = compose["configs"]["nats"]["content"].replace("$$", "$").replace("8222", monitoring)
    config = config.replace("4222", f"127.0.0.1:{free()}").replace("/data", str(tmp_path / "data"))
    (tmp_path / "nats.conf").write_text(config.replace("port:", "listen:"))
    kind, script = compose["services"]["nats"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    script = script.replace("$$", "$").replace("8222", monitoring).replace("cd /dev/shm", f"cd {tmp_path}")
    assert script.count("kill 1;") == 1
    script = script.replace("kill 1;", "echo ended;")

    async def check() -> tuple[int | None, bytes]:
        shell = await asyncio.create_subprocess_exec("/bin/sh", "-c", script, stdout=asyncio.subprocess.PIPE)
        out, _err = await shell.communicate()
        return shell.returncode, out

    async def healthy() -> bool:
        return (await check())[0] == 0

    assert [await check() for _ in range(13)] == [(1, b"")] * 13, "it may still be loading its store"
    words = ["-c", str(tmp_path / "nats.conf")]
    server = await asyncio.create_subprocess_exec(
        find_server(), *words, env={"NATS_TOKEN": "secret"}, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await eventually(healthy)
    finally:
        server.kill()
        await server.wait()
    assert [await check() for _ in range(13)] == [(1, b"")] * 11 + [(1, b"ended\n"), (1, b"")]
