"""A stack in the foreground, and commands that run beside it."""

import json
import signal
import socket
import stat
from typing import Any

import pytest

from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

SERVICES = ["jobs", "metadata", "download", "storage", "logging"]


@pytest.fixture
def up(make_cli: Any, emulator: EmulatorClient) -> Any:
    cli = make_cli(YTARCHIVE_YOUTUBE__API_ENDPOINT=emulator.api_endpoint)
    child = cli.start("up")
    child.wait_for("Ready.")
    return child


def test_health_reports_all_five_services(cli: Any, up: Any) -> None:
    result = cli("health", "--json")
    shown = cli("health")

    assert (result.code, shown.code) == (0, 0), result.out
    answers = json.loads(result.out)
    assert answers["healthy"] is True
    assert list(answers["services"]) == SERVICES
    assert all(answer["status"] == "healthy" for answer in answers["services"].values())
    assert shown.out.count("healthy") == 5


def test_health_and_events_tail_report_that_no_stack_is_running(cli: Any) -> None:
    health = cli("health")
    tail = cli("events", "tail")

    assert health.code == 1
    assert health.out.count("not running") == 5
    assert tail.code == 1
    assert "Start `ytarchive up`" in tail.err
    assert not cli.data.exists()


def test_download_uses_the_running_stack_and_leaves_it_running(cli: Any, up: Any) -> None:
    tail = cli.start("events", "tail", "--json", "--type", "job.*", "--type", "video.archived")
    listening = cli.start("events", "tail")

    run = cli("download", sample.VIDEO_OK)
    listed = json.loads(cli("jobs", "list", "--json").out)

    assert run.code == 0, run.out + run.err
    assert "Configuration:" not in run.err
    assert "Configuration: no file" in up.err.read_text()
    assert cli.mp4(sample.VIDEO_OK).exists()
    assert [job["status"] for job in listed["jobs"]] == ["completed"]
    assert stat.S_IMODE(cli.data.stat().st_mode) == 0o700
    state = [path for path in cli.data.rglob("*") if path.is_file() and cli.data / "jobs" / "nats" not in path.parents]
    assert {path.name for path in state} >= {"jobs.db", "jobs.db-wal", "catalogue.db", "services.json", "stack.json"}
    assert {path.name: path.stat().st_mode & 0o077 for path in state if path.stat().st_mode & 0o077} == {}
    archived = [path for path in cli.archive.rglob("*") if path.is_file()]
    assert {path.name for path in archived if path.stat().st_mode & 0o777 != 0o644} == set()
    assert listed["total"] == 1
    assert up.process.is_running

    file = cli.home / "config.toml"
    file.write_text("[services.jobs]\nport = 0\n")
    file.chmod(0o666)
    # both `events tail` commands have subscribed by now
    second = cli("download", "--verbose", sample.VIDEO_NO_CAPTIONS)
    assert second.code == 0
    assert f"Warning: {file} is ignored: other users can write to it." in second.err
    assert "Configuration: no file" in second.err
    tail.wait_for("job.completed")
    listening.wait_for("job.completed")
    tail.signal(signal.SIGINT)
    listening.signal(signal.SIGINT)
    result = tail.end()
    assert result.code == 130
    assert {line["type"] for line in result.lines} <= {
        "job.created", "job.queued", "job.progress", "job.completed", "video.archived",
    }  # fmt: skip
    assert "download.started" in listening.end().out


def test_a_job_that_the_stack_rejects_exits_2_with_its_reason(cli: Any, up: Any) -> None:
    run = cli("download", sample.VIDEO_OK, "-o", str(cli.home / "not-a-root"))

    assert run.code == 2, run.out
    assert "not below an archive root" in run.err
    assert cli("jobs", "list", "--status", "failed").out.count("failed") == 1


def test_ctrl_c_ends_the_command_and_the_running_stack_continues_the_job(
    cli: Any, up: Any, emulator: EmulatorClient
) -> None:
    throttle = emulator.add_fault("media", "throttle", rate=3_000_000)
    download = cli.start("download", sample.VIDEO_LARGE)
    emulator.wait_for(kind="media", video_id=sample.VIDEO_LARGE)
    download.signal(signal.SIGINT)
    stopped = download.end()
    emulator.remove_fault(throttle)

    assert stopped.code == 130
    assert "The running stack continues the job" in stopped.out
    again = cli("download", sample.VIDEO_LARGE)
    assert again.code == 0, again.out + again.err
    assert "Continuing job" in again.out or "1 already archived" in again.out
    assert up.process.is_running


def test_a_command_takes_over_when_the_running_stack_stops(cli: Any, up: Any, emulator: EmulatorClient) -> None:
    throttle = emulator.add_fault("media", "throttle", rate=500_000)
    download = cli.start("download", sample.VIDEO_LARGE)
    emulator.wait_for(kind="media", video_id=sample.VIDEO_LARGE)

    up.signal(signal.SIGTERM)
    assert up.end().code == 0
    emulator.remove_fault(throttle)
    run = download.end()

    assert run.code == 0, run.out + run.err
    assert "taking over" in run.out
    assert cli.mp4(sample.VIDEO_LARGE).exists()


def test_a_command_takes_over_when_the_running_stack_is_killed(cli: Any, up: Any, emulator: EmulatorClient) -> None:
    throttle = emulator.add_fault("media", "throttle", rate=500_000)
    download = cli.start("download", sample.VIDEO_LARGE)
    emulator.wait_for(kind="media", video_id=sample.VIDEO_LARGE)

    up.signal(signal.SIGKILL)
    up.end()
    emulator.remove_fault(throttle)
    run = download.end()

    assert run.code == 0, run.out + run.err
    assert "taking over" in run.out
    assert cli.mp4(sample.VIDEO_LARGE).exists()


def test_a_second_stack_on_the_same_data_is_refused(cli: Any, up: Any) -> None:
    second = cli("up")

    assert second.code == 1
    assert "locked by process" in second.err


def test_jobs_show_prints_the_same_with_and_without_a_running_stack(cli: Any, up: Any) -> None:
    cli("download", sample.VIDEO_OK, sample.VIDEO_DELETED)
    job_id = json.loads(cli("jobs", "list", "--json").out)["jobs"][0]["job_id"]
    running = cli("jobs", "show", job_id[:8], "--json")
    up.signal(signal.SIGTERM)
    assert up.end().code == 0

    stopped = cli("jobs", "show", job_id[:8], "--json")

    assert (running.code, stopped.code) == (0, 0), stopped.err
    assert json.loads(running.out) == json.loads(stopped.out)
    assert {item["video_id"] for item in json.loads(stopped.out)["items"]} == {sample.VIDEO_OK, sample.VIDEO_DELETED}
    assert cli("jobs", "show", "0nosuchjob").code == 2


def test_a_single_service_joins_the_stack(cli: Any, up: Any) -> None:
    logging = cli.start("service", "logging")
    logging.wait_for("Ready.")
    logging.signal(signal.SIGINT)

    ended = logging.end()

    assert ended.code == 0, ended.err
    assert "logging   http://127.0.0.1:" in ended.out


def test_the_api_key_of_a_command_is_used_on_a_stack_without_a_key(
    cli: Any, up: Any, make_cli: Any, emulator: EmulatorClient
) -> None:
    with_key = make_cli(YOUTUBE_API_KEY="loopback-key", YTARCHIVE_YOUTUBE__API_ENDPOINT=emulator.api_endpoint)

    run = with_key("download", sample.PLAYLIST_3, "--metadata-only", "--json")

    assert run.code == 0, run.out + run.err
    assert "loopback-key" not in run.out + run.err
    metadata = json.loads((cli.archive / "metadata" / "videos" / f"{_first_video_id(cli)}.json").read_text())
    assert "data_api" in metadata["sources"]
    assert b"loopback-key" not in b"".join(path.read_bytes() for path in cli.home.rglob("*") if path.is_file())


def _first_video_id(cli: Any) -> str:
    names: list[str] = sorted(path.stem for path in (cli.archive / "metadata" / "videos").iterdir())
    return names[0]


def test_with_a_broker_of_its_own_a_command_waits_for_the_system_and_starts_none(cli: Any, make_cli: Any) -> None:
    """Five further services on a shared broker would take each other's messages."""
    up = cli.start("up")
    up.wait_for("Ready.")
    info = json.loads((cli.data / "run" / "stack.json").read_text())
    broker = {"YTARCHIVE_NATS__URL": info["nats_url"], "YTARCHIVE_NATS__TOKEN": info["nats_token"]}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = str(free.getsockname()[1])

    waiting = make_cli("waiting", YTARCHIVE_SERVICES__JOBS__PORT=closed, **broker)
    download = waiting.start("download", sample.VIDEO_OK)
    download.wait_for(f"Waiting for the jobs service at http://localhost:{closed}")
    download.signal(signal.SIGINT)
    assert download.end().code == 130
    assert not (waiting.data / "jobs").exists()
    assert len(json.loads(cli("services", "--json").out)["services"]) == len(SERVICES)

    port = info["services"]["jobs"].rpartition(":")[2]
    attached = make_cli("attached", YTARCHIVE_SERVICES__JOBS__PORT=port, **broker)
    run = attached("download", sample.VIDEO_OK)
    assert run.code == 0, run.out + run.err
    assert cli.mp4(sample.VIDEO_OK).exists()
    assert not (attached.data / "jobs").exists()
