"""Chapters 7, 9 and 12: answers, statuses and error codes, over REST as anybody may ask."""

import json
import os
import re
import signal
from typing import Any

import pytest

from tests.fixtures.waiting import until
from ytarchive.emulator.site import sample

SERVICES = ["jobs", "metadata", "download", "storage", "logging"]


@pytest.mark.claim("12.1", "12.3")
@pytest.mark.parametrize("service", SERVICES)
def test_every_route_is_below_api_v1(system: Any, service: str) -> None:
    described = system.ask(service, "openapi.json")
    assert described.status == 200
    paths = described.json["paths"]
    assert "/api/v1/health" in paths
    assert all(path.startswith("/api/v1/") for path in paths)
    assert system.ask(service, "/health").status == 404
    assert system.ask(service, "/api/v2/health").status == 404


@pytest.mark.claim("12.2")
def test_resources_are_plural_and_actions_are_verbs(system: Any) -> None:
    """An id stands behind the plural of what it names; what is no resource is an action, and is not fetched by GET."""
    paths: dict[str, Any] = {}
    for service in SERVICES:
        paths |= system.ask(service, "openapi.json").json["paths"]
    assert {"/api/v1/jobs", "/api/v1/jobs/{job_id}/retry", "/api/v1/jobs/{job_id}/cancel"} <= set(paths)
    assert {"/api/v1/storage/videos", "/api/v1/storage/work-plans/{plan_id}/retry", "/api/v1/logs"} <= set(paths)
    named = {one for path in paths for one in re.findall(r"([\w-]+)/\{", path)}
    # SPEC's own /metadata/video/{id}, and alike
    kept = {"video", "playlist", "channel", "metadata", "exists", "files", "progress", "history"}
    actions = {"retry", "cancel", "pause", "resume"}  # /download/cancel/{task_id} names its task behind it
    assert {
        one for one in named - kept - actions if not one.endswith("s")
    } == set()  # SPEC's /metadata/video/{id} alike
    for action in actions:
        found = [path for path in paths if path.endswith(f"/{action}") or f"/{action}/{{" in path]
        assert found
        assert all("get" not in paths[path] for path in found)


@pytest.mark.claim("12.7", "12.11", "14.4")
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "health", 200),
        ("GET", "nowhere", 404),
        ("DELETE", "health", 405),
        ("GET", "health?unknown=1", 400),
    ],
)
def test_every_answer_is_a_service_response(system: Any, service: str, method: str, path: str, status: int) -> None:
    answer = system.ask(service, path, method=method, headers={"X-Trace-Id": "spec-api-1"})
    assert answer.status == status
    assert set(answer.json) == {"success", "data", "error", "trace_id"}
    assert answer.json["trace_id"] == answer.headers["X-Trace-Id"] == "spec-api-1"
    assert answer.json["success"] is (status == 200)
    assert answer.json["error"] is None or answer.json["error"]["code"] == "E007"


@pytest.mark.claim("12.4", "12.5")
def test_created_is_201_and_there_at_once(system: Any) -> None:
    answer = system.ask("jobs", "jobs", method="POST", body={"targets": [sample.VIDEO_OK]})
    assert answer.status == 201
    found = system.ask("jobs", f"jobs/{answer.data['job_id']}")
    assert found.status == 200
    assert found.data["job"]["job_id"] == answer.data["job_id"]


@pytest.mark.claim("9.7", "12.6", "13.2", "13.3", "14.1", "14.2", "14.3", "14.4")
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"targets": []},
        {"targets": "demo-000001"},
        {"targets": ["demo-000001"], "options": {"quality": "9000p"}},
        {"targets": ["demo-000001"], "options": {"output_dir": "relative/path"}},
        {"targets": ["demo-000001"], "options": {"output_dir": "archive/seen-from-where-the-system-was-started"}},
        {"targets": ["demo-000001"], "options": {"output_dir": "/etc"}},
        {"targets": ["demo-00001"]},
        {"targets": ["demo-0000012"]},
        {"targets": ["demo-00000!"]},
        {"targets": ["PLtooshort"]},
        {"targets": ["PL" + "a" * 15]},
        {"targets": ["XX" + "a" * 16]},
        {"targets": ["demo-000001"], "options": {"caption_languages": ["../en"]}},
        {"targets": ["PL" + "a" * 42]},
        {"targets": ["https://example.org/watch?v=demo-000001"]},
        {"targets": ["demo-000001"], "priority": 1000},
        {"targets": ["demo-000001"], "surprise": True},
    ],
    ids=json.dumps,
)
def test_bad_input_is_400_and_changes_nothing(system: Any, body: dict[str, Any]) -> None:
    _refused(system, body)


@pytest.mark.claim("13.3", "14.3", "14.4")
def test_an_output_dir_below_a_file_is_refused(system: Any) -> None:
    (system.archive / "plain").parent.mkdir(exist_ok=True)
    (system.archive / "plain").write_text("a file, no folder")
    for output_dir in (str(system.archive / "plain" / "below"), "~/archive/plain/below"):
        _refused(system, {"targets": ["demo-000001"], "options": {"output_dir": output_dir}})


@pytest.mark.claim("13.2", "14.3")
def test_an_output_dir_in_the_home_folder_is_expanded(system: Any) -> None:
    job_id = system.begin(sample.VIDEO_OK, output_dir="~/archive/tilde")
    told = system.ask("jobs", f"jobs/{job_id}").data["job"]
    assert told["root"] == str(system.cli.home / "archive" / "tilde")
    system.ask("jobs", f"jobs/{job_id}/cancel", method="POST")


@pytest.mark.claim("14.4")
def test_a_body_that_does_not_say_it_is_json(system: Any) -> None:
    """The form of another site could send it."""
    body = {"targets": ["demo-000001"]}
    _refused(system, body, {"Content-Type": "text/plain"})


def _refused(system: Any, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
    before = system.rows("SELECT count(*) FROM jobs")
    answer = system.ask("jobs", "jobs", method="POST", body=body, headers=headers)
    assert (answer.status, answer.json["error"]["code"]) == (400, "E007")
    assert system.rows("SELECT count(*) FROM jobs") == before


@pytest.mark.claim("9.7", "12.6")
@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff\xfe", b"null", b'{"targets": ["demo-000001"]} trailing'])
def test_a_body_that_is_no_request(system: Any, raw: bytes) -> None:
    answer = system.ask("jobs", "jobs", method="POST", body=raw)
    assert (answer.status, answer.json["error"]["code"]) == (400, "E007")


@pytest.mark.claim("14.1", "14.2")
@pytest.mark.parametrize(
    "target",
    [
        "demo-000001",
        "-_aZ09-_aZ0",
        "PL" + "a" * 16,
        "UU" + "b" * 41,
        "FL" + "-" * 20,
        "OL" + "_" * 33,
        "RDCLAK5uy_" + "c" * 32,
    ],
)
def test_ids_that_are_right_are_accepted(system: Any, target: str) -> None:
    answer = system.ask("jobs", "jobs", method="POST", body={"targets": [target]})
    assert answer.status == 201
    system.ask("jobs", f"jobs/{answer.data['job_id']}/cancel", method="POST")


@pytest.mark.claim("9.2", "12.7", "12.12")
def test_a_video_and_one_that_is_gone(system: Any) -> None:
    found = system.ask("metadata", f"metadata/video/{sample.VIDEO_OK}")
    assert found.status == 200
    assert found.data["video_id"] == sample.VIDEO_OK
    assert found.data["title"] == "Loopback, part 1: Hello"
    gone = system.ask("metadata", f"metadata/video/{sample.VIDEO_DELETED}")
    assert (gone.status, gone.json["error"]["code"]) == (404, "E002")
    assert system.ask("metadata", "metadata/video/tooshort").status == 404


@pytest.mark.claim("9.1", "12.8")
def test_a_quota_that_is_used_up(start: Any) -> None:
    system = start(
        YOUTUBE_API_KEY="AIzaSyQuotaQuotaQuotaQuotaQuotaQuotaQuot", YTARCHIVE_YOUTUBE__KEYLESS_FALLBACK="false"
    )
    system.emulator.set_quota_left(0)
    try:
        answer = system.ask("metadata", f"metadata/video/{sample.VIDEO_OK}")
    finally:
        system.emulator.set_quota_left(None)
    assert (answer.status, answer.json["error"]["code"]) == (429, "E001")
    assert 0 < int(answer.headers["Retry-After"]) <= 25 * 3600
    system.stop()


@pytest.mark.claim("9.3")
def test_a_site_that_does_not_answer_in_time(start: Any) -> None:
    system = start(YTARCHIVE_DOWNLOAD__SOCKET_TIMEOUT="1")
    video_id = "timeout-001"
    system.emulator.put_video(video_id, title="Never answers", channel=sample.CHANNEL)
    fault = system.emulator.add_fault("*", "delay", video_id=video_id, seconds=30)
    answer = system.ask("metadata", f"metadata/video/{video_id}")
    system.emulator.remove_fault(fault)
    assert (answer.status, answer.json["error"]["code"]) == (503, "E003")
    system.stop()


@pytest.mark.claim("9.5")
def test_a_key_that_is_refused(system: Any) -> None:
    told = system.save(sample.VIDEO_480P, api_key="an-invalid-key")["job"]
    assert (told["status"], told["error"]["code"]) == ("failed", "E005")
    assert "key" in told["error"]["message"]
    assert "an-invalid-key" not in json.dumps(told)


@pytest.mark.claim("9.5", "12.6")
def test_a_configured_key_that_is_refused(start: Any) -> None:
    """Where nothing else may be asked instead, whoever looks something up is told."""
    system = start(YOUTUBE_API_KEY="an-invalid-key", YTARCHIVE_YOUTUBE__KEYLESS_FALLBACK="false")
    answer = system.ask("metadata", f"metadata/video/{sample.VIDEO_OK}")
    assert (answer.status, answer.json["error"]["code"]) == (400, "E005")
    assert "an-invalid-key" not in answer.body.decode()
    system.stop()


@pytest.mark.claim("9.6", "12.10")
def test_a_broker_that_is_away(start: Any, emulator_child: Any) -> None:
    """Its own process, which is stopped by its id: health says 503 and E006."""
    system = start()
    told = json.loads((system.data / "run" / "stack.json").read_text())
    server = next(
        int(word.partition("=")[2])
        for line in (system.child.out.read_text() + system.child.err.read_text()).splitlines()
        if "broker_started" in line
        for word in line.split()
        if word.startswith("pid=")
    )
    assert told["nats_url"]
    os.kill(server, signal.SIGSTOP)
    try:
        health = until(lambda: _unhealthy(system))
    finally:
        os.kill(server, signal.SIGCONT)
    assert health.json["error"]["code"] == "E006"
    assert health.data["checks"]["dependencies_available"] is False
    system.stop()


def _unhealthy(system: Any) -> Any:
    answer = system.ask("jobs", "health")
    return answer if answer.status == 503 else None
