"""A system that other machines can reach: the command line finds its token, others need one."""

import json
import signal
import stat
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from services.common.names import SERVICES
from services.common.settings.load import Config
from ytarchive.emulator.site import sample

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def open_cli(make_cli: Any) -> Any:
    """All services are bound to all addresses."""
    hosts = {f"YTARCHIVE_SERVICES__{name}__HOST": "0.0.0.0" for name in ("JOBS", "STORAGE", "LOGGING")}  # noqa: S104 - under test
    return make_cli(**hosts)


def status(url: str, token: str | None = None, method: str = "GET") -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urlopen(Request(url, method=method, headers=headers), timeout=30) as answer:  # noqa: S310 - http to loopback
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def test_the_command_line_finds_its_token_and_others_need_one(open_cli: Any) -> None:
    cli = open_cli
    up = cli.start("up")
    up.wait_for("Ready.")

    download = cli("download", sample.VIDEO_OK)
    assert download.code == 0, download.out + download.err
    assert json.loads(cli("jobs", "list", "--json").out)["total"] == 1
    assert cli("health").code == 0
    assert json.loads(cli("storage", "list", "--json").out)["total"] == 1

    services = json.loads(cli("services", "--json").out)["services"]
    port = next(one["url"].rpartition(":")[2] for one in services if one["name"] == "storage")
    videos = f"http://127.0.0.1:{port}/api/v1/storage/videos"
    assert status(videos) == 401
    issued = json.loads(cli("auth", "token", "add", "reader", "--json").out)["token"]
    assert status(videos, issued) == 200
    assert status(videos.replace("videos", "rescan"), issued, "POST") == 403
    listed = cli("auth", "token", "list")
    assert "reader" in listed.out
    assert issued not in listed.out
    assert cli("auth", "token", "revoke", "reader").code == 0
    assert status(videos, issued) == 401

    token = cli.data / "auth" / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    own = token.read_text().strip()
    assert status(videos, own) == 200
    up.signal(signal.SIGTERM)
    up.end()
    logs = [path.read_text() for path in (cli.data / "logs").rglob("*.jsonl")]
    assert logs
    assert not any(own in text or issued in text for text in logs)


def test_another_token_of_the_system_is_an_error_and_starts_nothing(open_cli: Any, make_cli: Any) -> None:
    """A command with `[nats] url` whose token is refused must not run a stack of its own on that broker."""
    up = open_cli.start("up")
    up.wait_for("Ready.")
    info = json.loads((open_cli.data / "run" / "stack.json").read_text())
    port = info["services"]["jobs"].rpartition(":")[2]
    other = make_cli(
        "other", YTARCHIVE_NATS__URL="nats://127.0.0.1:9", YTARCHIVE_SERVICES__JOBS__PORT=port,
        YTARCHIVE_AUTH__TOKEN="0123456789abcdef",  # noqa: S106 - a token of another system
    )  # fmt: skip
    run = other("download", sample.VIDEO_OK)
    assert run.code != 0
    assert "`ytarchive auth token add NAME` issues one" in run.err  # the remedy is not masked as a secret
    assert not (other.data / "jobs").exists()


def test_prometheus_reads_the_metrics_as_the_readme_shows(open_cli: Any) -> None:
    yaml = pytest.importorskip("yaml")
    before, _, after = README.read_text().partition("```yaml\n")
    (scrape,) = yaml.safe_load(after.partition("```")[0])["scrape_configs"]
    configured = Config().services
    (group,) = scrape["static_configs"]
    assert group["targets"] == [f"nas:{getattr(configured, name).port}" for name in SERVICES]
    assert set(scrape["authorization"]) == {"credentials_file"}  # Bearer, the default type

    up = open_cli.start("up")
    up.wait_for("Ready.")
    command, _, file = before.rpartition("`ytarchive ")[2].partition("`")[0].partition(" > ")
    assert scrape["authorization"]["credentials_file"].endswith(f"/{file}")
    issued = open_cli(*command.split())
    assert issued.code == 0, issued.err
    token = issued.out.strip()  # Prometheus reads the file so
    services = json.loads((open_cli.data / "run" / "stack.json").read_text())["services"]
    for name in SERVICES:
        url = f"http://127.0.0.1:{services[name].rpartition(':')[2]}{scrape['metrics_path']}"
        assert status(url, token) == 200, name
    jobs = f"http://127.0.0.1:{services['jobs'].rpartition(':')[2]}/api/v1/jobs"
    assert status(jobs) == 401
    assert status(f"{jobs}/cleanup", token, "POST") == 403
