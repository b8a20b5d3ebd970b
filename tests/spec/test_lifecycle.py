"""Chapters 10 and 11: start, logging and shutdown of services. Each stack here is a separate process."""

import json
import re
import signal
import socket
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from tests.fixtures.waiting import until
from ytarchive.emulator.site import sample

SERVICES = ["jobs", "metadata", "download", "storage", "logging"]


def logged_events(child: Any) -> list[str]:
    """Return the events that a child logged to its terminal, in order, for example `service_started (jobs)`."""
    text = child.out.read_text() + child.err.read_text()
    return re.findall(r"^(?:info|warning|error)\s+(\w+ \([\w.]+\))", text, re.MULTILINE)


@pytest.mark.claim("11.1")
def test_an_invalid_configuration_stops_the_start_before_anything_is_created(make_cli: Any) -> None:
    cli = make_cli()
    del cli.env["YTARCHIVE_SERVICES__JOBS__PORT"]
    (cli.home / "config.toml").write_text('[services.jobs]\nport = "none"\n')
    ran = cli("up")
    assert ran.code == 2
    assert "services.jobs.port" in ran.err
    assert not cli.data.exists()


@pytest.mark.claim("11.1")
def test_a_taken_port_stops_the_start_before_anything_is_opened(make_cli: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cli = make_cli(YTARCHIVE_SERVICES__JOBS__PORT=str(port), YTARCHIVE_SERVICES__JOBS__HOST="127.0.0.1")
        ran = cli("up")
    assert ran.code != 0
    assert str(port) in ran.err
    assert "service_started" not in ran.out + ran.err
    assert not (cli.data / "jobs" / "jobs.db").exists()


@pytest.mark.claim("11.1", "11.2", "11.3", "10.1")
def test_services_register_and_listen_before_they_log_service_started(system: Any) -> None:
    shipped = [
        name for name in SERVICES if name != "logging"
    ]  # its own records are not published: each would cause another
    assert "service_started (logging)" in logged_events(system.child)
    for name in shipped:
        (started,) = until(partial(system.log_records, event="service_started", service=name))
        assert started["port"] == int(system.urls[name].rpartition(":")[2])
        assert re.fullmatch(r"\d+\.\d+\.\d+.*", started["version"])
    registered = until(lambda: _registrations(system))
    assert set(registered) == set(SERVICES) - {"jobs"}
    for name in set(shipped) - {"jobs"}:
        line = registered[name]
        (started,) = system.log_records(event="service_started", service=name)
        assert line["timestamp"] <= started["timestamp"]
        assert line["data"]["service"]["url"] == system.urls[name]


def _registrations(system: Any) -> dict[str, Any] | None:
    """Return the registration of each service that registers, once logging has recorded all of them."""
    whole = [path.read_bytes().rpartition(b"\n")[0] for path in (system.data / "logs").glob("events-*")]
    seen = [json.loads(line) for text in whole for line in text.splitlines()]
    found = {line["data"]["service"]["name"]: line for line in seen if line["subject"] == "service.registered"}
    return found if len(found) >= len(SERVICES) - 1 else None


@pytest.mark.claim("11.4", "11.7")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigint_and_sigterm_both_stop_the_stack_and_the_exit_message_comes_last(
    start: Any, number: signal.Signals
) -> None:
    system = start()
    system.child.signal(number)
    ran = system.child.end()
    assert ran.code in {0, 130, 143}
    text = ran.out + ran.err
    assert "shutdown_signal_received" in text
    assert f"signal={number.name}" in text
    events = logged_events(system.child)
    for name in SERVICES:
        assert events.count(f"service_stopped ({name})") == 1
        own = [line for line in events if line.endswith(f"({name})")]
        assert own[-1] == f"service_stopped ({name})"
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        system.request("jobs", "health")
    assert not (system.data / "run" / "stack.json").exists()


@pytest.mark.claim("11.5", "11.6", "11.7", "13.7")
def test_shutdown_finishes_requests_rejects_new_ones_and_keeps_partials(start: Any) -> None:
    """A request in progress is answered, new ones are refused, and an interrupted video keeps its partial download."""
    system = start()
    for video_id in ("stopping-01", "looking-001"):
        system.emulator.put_video(video_id, title="Stopping", channel=sample.CHANNEL, size=4 * 1024**2)
    faults = [
        system.emulator.add_fault("media", "throttle", video_id="stopping-01", rate=300_000),
        system.emulator.add_fault("watch", "delay", video_id="looking-001", seconds=4),
    ]
    job_id = system.create_job("stopping-01")
    until(lambda: list((system.data / "tmp").glob("stopping-01.part/*.mp4.part")))
    since = system.emulator.last()
    with ThreadPoolExecutor(1) as aside:
        asked = {"X-Trace-Id": "in-hand-1"}
        answer = aside.submit(system.request, "metadata", "metadata/video/looking-001", headers=asked)
        system.emulator.wait_for(since=since, kind="watch", video_id="looking-001")
        began = time.monotonic()
        system.child.signal(signal.SIGTERM)
        refused = until(lambda: _refusal(system, "metadata"))
        assert (refused.status, refused.json["error"]["code"]) == (503, "E006")
        assert (answer.result().status, answer.result().data["video_id"]) == (200, "looking-001")
    system.child.end()
    assert time.monotonic() - began < 35
    for fault in faults:
        system.emulator.remove_fault(fault)
    assert list((system.data / "tmp").glob("stopping-01.part/*"))
    statuses = system.query_jobs("SELECT status FROM jobs WHERE job_id = ?", job_id)
    assert statuses[0][0] not in {"completed", "failed", "cancelled"}
    events = logged_events(system.child)
    assert events.index("request_completed (metadata)") < events.index("service_stopped (metadata)")


def _refusal(system: Any, service: str) -> Any:
    answer = system.request(service, "jobs")
    return answer if answer.status == 503 else None


@pytest.mark.claim("10.2", "10.3", "16.2")
def test_requests_are_logged_on_arrival_and_on_completion(system: Any) -> None:
    system.request("jobs", "jobs/spec-logged", headers={"X-Trace-Id": "spec-log-1"})

    def both() -> dict[str, Any] | None:
        found = {record["event"]: record for record in system.log_records(trace_id="spec-log-1")}
        return found if {"request_received", "request_completed"} <= set(found) else None

    records = until(both)
    received, completed = records["request_received"], records["request_completed"]
    assert (received["endpoint"], received["method"]) == ("/api/v1/jobs/spec-logged", "GET")
    assert (completed["endpoint"], completed["status_code"]) == ("/api/v1/jobs/spec-logged", 404)
    assert received["service"] == completed["service"] == "jobs"
    assert received["timestamp"] <= completed["timestamp"]


@pytest.mark.claim("10.3")
def test_request_durations_are_logged_in_milliseconds(system: Any) -> None:
    """Measured on a lookup that the site answers slowly."""
    video_id = "slowpage-01"
    system.emulator.put_video(video_id, title="Slow", channel=sample.CHANNEL)
    fault = system.emulator.add_fault("watch", "delay", video_id=video_id, seconds=0.5)
    began = time.monotonic()
    assert system.request("metadata", f"metadata/video/{video_id}", headers={"X-Trace-Id": "spec-slow-1"}).status == 200
    took = 1000 * (time.monotonic() - began)
    system.emulator.remove_fault(fault)
    (record,) = until(lambda: system.log_records(event="request_completed", trace_id="spec-slow-1"))
    assert 500 <= record["duration_ms"] <= took


@pytest.mark.claim("10.1", "16.2")
def test_log_records_of_a_job_carry_its_trace_id(system: Any) -> None:
    body = {"targets": [sample.VIDEO_DELETED], "options": {"skip_existing": False}}
    headers = {"X-Trace-Id": "spec-job-1"}
    job_id = system.request("jobs", "jobs", method="POST", body=body, headers=headers).data["job_id"]
    until(lambda: system.request("jobs", f"jobs/{job_id}").data["job"]["finished_at"])
    (failed,) = until(lambda: system.log_records(event="download_failed", trace_id="spec-job-1"))
    assert failed["service"] == "download"
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", failed["version"])


@pytest.mark.claim("10.4", "9.2")
def test_errors_are_logged_with_code_and_message(system: Any) -> None:
    system.run_job(sample.VIDEO_PRIVATE, skip_existing=False)
    records = until(lambda: system.log_records(event="download_failed", video_id=sample.VIDEO_PRIVATE))
    assert records[-1]["error_code"] == "E002"
    assert "Private video" in records[-1]["error_message"]


@pytest.mark.claim("10.4", "9.8")
def test_a_failed_commit_is_logged_with_code_and_message(system: Any) -> None:
    """A file in place of the video's directory is an internal error, hence E999."""
    video_id = "takein-0001"
    system.emulator.put_video(video_id, title="In the way", channel=sample.CHANNEL)
    (system.archive / "videos").mkdir(parents=True, exist_ok=True)
    (system.archive / "videos" / video_id).write_text("in the way")
    job_id = system.create_job(video_id)
    records = until(lambda: system.log_records(event="take_in_failed", video_id=video_id))
    system.request("jobs", f"jobs/{job_id}/cancel", method="POST")
    system.wait_for_end(job_id)
    (system.archive / "videos" / video_id).unlink()
    assert records[0]["error_code"] == "E999"
    assert video_id in records[0]["error_message"]


@pytest.mark.claim("10.7", "10.8", "12.10")
def test_health_reports_a_full_disk(start: Any) -> None:
    """Each service that writes checks its own disk; metadata writes nothing."""
    system = start(YTARCHIVE_STORAGE__MIN_FREE="1000TiB")
    for service in ("jobs", "download", "storage", "logging"):
        answer = system.request(service, "health")
        assert answer.status == 503
        assert answer.json["error"]["code"] == "E006"
        assert answer.data["status"] == "unhealthy"
        assert answer.data["checks"] == {
            "http_responsive": True,
            "dependencies_available": True,
            "no_critical_errors": True,
            "disk_space_available": False,
        }
    assert system.request("metadata", "health").status == 200
    system.child.signal(signal.SIGTERM)
    system.child.end()
