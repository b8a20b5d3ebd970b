"""`ytarchive doctor` in healthy and in broken environments."""

import json
import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from bus.embedded.program import find_server
from services.common.infra.files import locked
from services.common.youtube.tools import find_ffmpeg
from services.common.youtube.ytdlp import release
from tests.fixtures import waiting, ytdlp_wheels
from ytarchive.emulator import EmulatorClient

KEY = "AIza" + "k" * 35


@pytest.fixture
def release_page() -> Iterator[str]:
    """A release page that knows a yt-dlp of 2099; its URL."""
    with ytdlp_wheels.release_page("2099.1.2") as url:
        yield url


def run_doctor(cli: Any, *words: str, code: int) -> dict[str, dict[str, Any]]:
    """Run `doctor --json` and return the finding of each check."""
    run = cli("doctor", "--json", *words)
    assert run.code == code, run.out + run.err
    report = json.loads(run.out)
    assert report["healthy"] is (code == 0)
    found = {finding["check"]: finding for finding in report["checks"]}
    assert len(found) == len(report["checks"])
    for finding in found.values():
        assert finding["mend"] is None if finding["state"] == "ok" else finding["mend"], finding
    return found


def test_a_healthy_environment_has_no_problems_and_doctor_changes_nothing(cli: Any, emulator: EmulatorClient) -> None:
    since = emulator.last()

    found = run_doctor(cli, code=0)
    shown = cli("doctor")

    not_ok = {check for check, finding in found.items() if finding["state"] != "ok"}
    assert not_ok <= {"yt-dlp"}  # a release becomes outdated
    assert set(found) == {
        "configuration", "environment", "python", "ffmpeg", "javascript", "yt-dlp", "broker", "base_data_dir writable",
        "base_data_dir space", "base_path writable", "base_path space", "data disk", "ports", "stack", "API key",
        "cookies", "certificates", "proxy",
    }  # fmt: skip
    for check, expected in expected_findings(cli, emulator).items():
        assert expected in found[check]["found"], "each check reports the actual value"
    assert shown.code == 0
    assert "ok       broker" in shown.out
    assert shown.out.endswith(("\n0 problems, 1 warning.\n", "\nNo problems.\n"))
    assert not emulator.log(since=since), "no request to the internet"
    assert not cli.data.exists() and not cli.archive.exists(), "doctor creates no directories"


def expected_findings(cli: Any, emulator: EmulatorClient) -> dict[str, str]:
    """Determine the expected findings on this machine without doctor."""
    ffmpeg, server = find_ffmpeg(), find_server()
    deno = Path(sys.executable).with_name("deno")
    report = subprocess.run([deno, "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "python": f"{platform.python_version()} ({sys.executable})",
        "ffmpeg": f"({ffmpeg})",
        "javascript": f"{report.split()[1]} ({deno})",
        "yt-dlp": metadata.version("yt-dlp"),
        "broker": f"({server})",
        "data disk": f"{cli.data.resolve()} is on" if sys.platform == "linux" else "unknown on this system",
        "certificates": str(emulator.ca_file),
        "proxy": emulator.proxy_url,
    }


def test_ports_used_by_the_running_stack_are_ok(make_cli: Callable[..., Any]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cli = make_cli(YTARCHIVE_SERVICES__JOBS__PORT=str(port))
    up = cli.start("up")
    up.wait_for("Ready.")

    found = run_doctor(cli, code=0)

    assert found["stack"]["found"].startswith(f"runs as process {up.process.pid}")
    assert found["ports"]["state"] == "ok" and "in use by the running stack" in found["ports"]["found"]


def test_a_port_in_use_and_world_readable_cookies_are_warnings(make_cli: Callable[..., Any], tmp_path: Path) -> None:
    cookies = tmp_path / "cookies.txt"
    line = "\t".join([".youtube.com", "TRUE", "/", "TRUE", "0", "SID", "secret"])
    cookies.write_text(f"# Netscape HTTP Cookie File\n{line}\n")
    cookies.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        cli = make_cli(YTARCHIVE_SERVICES__STORAGE__PORT=port, YTARCHIVE_YOUTUBE__COOKIES_FILE=str(cookies))

        found = run_doctor(cli, code=0)

    assert found["ports"]["state"] == found["cookies"]["state"] == "warning"
    assert "[services.storage] port" in found["ports"]["mend"]
    assert found["cookies"]["mend"] == f"chmod 600 {cookies}"


def without_sizes(text: str) -> str:
    """Mask sizes: other processes write to this disk, too."""
    return re.sub(r"[\d.]+ [KMGT]iB", "<size>", text)


def test_a_bad_environment_reports_every_problem_and_no_secret(make_cli: Callable[..., Any], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    file = tmp_path / "file"
    file.write_text("I am no folder")
    cookies = tmp_path / "cookies.json"
    cookies.write_text('{"SID": "very-secret-cookie"}')
    cli = make_cli(
        YTARCHIVE_STORAGE__BASE_PATH=str(file / "archive"),
        YTARCHIVE_STORAGE__MIN_FREE="1000TiB",
        YTARCHIVE_YOUTUBE__COOKIES_FILE=str(cookies),
        YTARCHIVE_YOUTUBE__CA_FILE=str(cookies),
        YTARCHIVE_YOUTUBE__PROXY="http://user:very-secret-word@127.0.0.1:1",
        YTARCHIVE_NATS__URL="nats://127.0.0.1:1",
        YOUTUBE_API_KEY="very-secret-key",
        YOUTUBE_APIKEY="x",
    )

    found = run_doctor(cli, code=1)
    shown = cli("doctor")

    wrong = {check: finding for check, finding in found.items() if finding["state"] == "problem"}
    assert set(wrong) == {
        "broker", "base_path writable", "base_path space", "base_data_dir space", "API key", "cookies", "certificates",
    }  # fmt: skip
    assert found["environment"]["state"] == "warning"
    assert "refused" in found["broker"]["found"]
    assert shown.code == 1
    assert "7 problems" in shown.out
    for finding in wrong.values():
        assert without_sizes(finding["found"]) in without_sizes(shown.out) and finding["mend"] in shown.out
    assert "very-secret" not in shown.out + shown.err + json.dumps(found)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("YTARCHIVE_STORAGE__BASE_PAHT", "/x", "Did you mean YTARCHIVE_STORAGE__BASE_PATH?"),
        ("YTARCHIVE_DOWNLOAD__SLOTS", "many", "download.slots = 'many'"),
        ("YTARCHIVE_CONFIG", "/nowhere/config.toml", "There is no configuration file"),
    ],
)
def test_an_invalid_configuration_does_not_skip_independent_checks(
    make_cli: Callable[..., Any], variable: str, value: str, message: str
) -> None:
    found = run_doctor(make_cli(**{variable: value}), code=1)

    assert message in found["configuration"]["found"]
    assert found["ffmpeg"]["state"] == "ok"
    assert "ports" not in found


def test_programs_that_do_not_run_are_problems(cli: Any, tmp_path: Path) -> None:
    """The first nats-server on PATH and the configured ffmpeg exit with an error."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("nats-server", "ffmpeg"):
        (tools / name).write_text("#!/bin/sh\nexit 1\n")
        (tools / name).chmod(0o755)
    cli.env["PATH"] = f"{tools}{os.pathsep}{cli.env['PATH']}"
    cli.env["YTARCHIVE_DOWNLOAD__FFMPEG"] = str(tools / "ffmpeg")

    found = run_doctor(cli, code=1)

    for check in ("broker", "ffmpeg"):
        assert found[check]["state"] == "problem"
        assert "does not run" in found[check]["found"] and str(tools) in found[check]["found"]


def test_a_reachable_external_broker_and_its_service_ports_are_ok(make_cli: Callable[..., Any], cli: Any) -> None:
    """Another stack provides the broker and uses the jobs port that is configured here."""
    cli.start("up").wait_for("Ready.")
    stack = json.loads((cli.data / "run" / "stack.json").read_text())
    port = stack["services"]["jobs"].rpartition(":")[2]

    found = run_doctor(
        make_cli("other", YTARCHIVE_NATS__URL=stack["nats_url"], YTARCHIVE_SERVICES__JOBS__PORT=port), code=0
    )

    assert found["broker"]["state"] == "ok" and "JetStream" in found["broker"]["found"]
    assert found["stack"]["found"] == "not running"
    assert found["ports"]["state"] == "ok" and "in use" in found["ports"]["found"]


def test_missing_cookies_unusable_roots_and_a_starting_stack_are_reported(
    make_cli: Callable[..., Any], tmp_path: Path
) -> None:
    """The cookies file is missing, the extra root cannot be created, and a stack holds its lock without answering."""
    file = tmp_path / "file"
    file.write_text("I am no folder")
    cli = make_cli(
        YTARCHIVE_STORAGE__ROOTS=json.dumps([str(file / "more")]),
        YTARCHIVE_STORAGE__VIDEOS_DIR=str(file / "videos"),
        YTARCHIVE_YOUTUBE__COOKIES_FILE="/nowhere",
    )
    with locked(cli.data / "run" / "stack.lock"):
        found = run_doctor(cli, code=1)

    assert "/nowhere cannot be used: No such file" in found["cookies"]["found"]
    assert str(file / "more") in found["roots writable"]["found"]
    assert found["stack"]["state"] == "warning" and "starting" in found["stack"]["found"]
    assert {check for check, finding in found.items() if finding["state"] == "problem"} == {
        "cookies", "roots writable", "videos_dir writable",
    }  # fmt: skip


def test_online_checks_the_api_key_and_the_proxy(make_cli: Callable[..., Any], emulator: EmulatorClient) -> None:
    endpoint = str(emulator.health()["api_endpoint"])
    good = make_cli("good", YOUTUBE_API_KEY=KEY, YTARCHIVE_YOUTUBE__API_ENDPOINT=endpoint)
    bad = make_cli(
        "bad", YOUTUBE_API_KEY="AIzainvalid" + "k" * 28, YTARCHIVE_YOUTUBE__API_ENDPOINT=endpoint,
        YTARCHIVE_YOUTUBE__PROXY="http://127.0.0.1:1",
    )  # fmt: skip
    gone = make_cli("gone", YOUTUBE_API_KEY=KEY, YTARCHIVE_YOUTUBE__API_ENDPOINT="http://127.0.0.1:1")

    offline = run_doctor(good, code=0)
    found = run_doctor(good, "--online", code=0)

    assert "API key online" not in offline and "proxy online" not in offline
    assert found["API key online"]["state"] == found["proxy online"]["state"] == "ok"
    emulator.set_quota_left(0)
    assert run_doctor(good, "--online", code=0)["API key online"]["state"] == "warning"
    found = run_doctor(bad, "--online", code=1)
    assert found["API key online"]["state"] == found["proxy online"]["state"] == "problem"
    shown = gone("doctor", "--online")
    assert shown.code == 1
    assert "the check failed" in shown.out
    assert KEY not in shown.out + json.dumps(found)


def test_online_names_a_newer_ytdlp_and_up_remembers_it(make_cli: Callable[..., Any], release_page: str) -> None:
    asked = {"YTARCHIVE_UPDATES__CHECK": "true", "YTARCHIVE_UPDATES__RELEASES_URL": release_page}
    cli = make_cli(**asked)

    assert "yt-dlp online" not in run_doctor(cli, code=0)
    found = run_doctor(cli, "--online", code=0)["yt-dlp online"]
    assert found["state"] == "warning"
    assert found["found"] == f"2099.1.2 exists, {metadata.version('yt-dlp')} is in use"
    assert found["mend"].startswith("`ytarchive update`") and release.installation_command() in found["mend"]
    assert not cli.data.exists()

    up = cli.start("up")
    up.wait_for("Ready.")
    kept = cli.data / "run" / "yt-dlp.json"
    waiting.until(kept.exists, "the answer of the index is kept", 30)
    assert json.loads(kept.read_text())["version"] == "2099.1.2"


def test_an_index_that_does_not_answer_or_is_switched_off_is_not_mentioned(
    make_cli: Callable[..., Any], release_page: str
) -> None:
    silent = make_cli("silent", YTARCHIVE_UPDATES__CHECK="true", YTARCHIVE_UPDATES__RELEASES_URL="http://127.0.0.1:1/x")
    off = make_cli("off", YTARCHIVE_UPDATES__CHECK="false", YTARCHIVE_UPDATES__RELEASES_URL=release_page)
    for cli in (silent, off):
        assert "yt-dlp online" not in run_doctor(cli, "--online", code=0)
    wrong = make_cli("wrong", YTARCHIVE_UPDATES__RELEASES_URL="ftp://x")("config", "check")
    assert wrong.code == 2
    assert "updates.releases_url" in wrong.err
