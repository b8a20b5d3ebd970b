"""Chapters 7, 9 and 12: responses, statuses and error codes of the REST API."""

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
    described = system.request(service, "openapi.json")
    assert described.status == 200
    paths = described.json["paths"]
    assert "/api/v1/health" in paths
    assert all(path.startswith("/api/v1/") for path in paths)
    assert system.request(service, "/health").status == 404
    assert system.request(service, "/api/v2/health").status == 404


@pytest.mark.claim("12.2")
def test_resources_are_plural_and_actions_are_verbs(system: Any) -> None:
    """An id follows the plural of what it names; everything else is an action, which does not accept GET."""
    paths: dict[str, Any] = {}
    for service in SERVICES:
        paths |= system.request(service, "openapi.json").json["paths"]
    assert {"/api/v1/jobs", "/api/v1/jobs/{job_id}/retry", "/api/v1/jobs/{job_id}/cancel"} <= set(paths)
    assert {"/api/v1/storage/videos", "/api/v1/storage/work-plans/{plan_id}/retry", "/api/v1/logs"} <= set(paths)
    named = {one for path in paths for one in re.findall(r"([\w-]+)/\{", path)}
    # prescribed by SPEC: /metadata/video/{id} and others
    kept = {"video", "playlist", "channel", "metadata", "exists", "files", "progress", "history", "watching"}
    actions = {"retry", "cancel", "pause", "resume"}  # in /download/cancel/{task_id} the id follows the action
    assert {one for one in named - kept - actions if not one.endswith("s")} == set()
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
    answer = system.request(service, path, method=method, headers={"X-Trace-Id": "spec-api-1"})
    assert answer.status == status
    assert set(answer.json) == {"success", "data", "error", "trace_id"}
    assert answer.json["trace_id"] == answer.headers["X-Trace-Id"] == "spec-api-1"
    assert answer.json["success"] is (status == 200)
    assert answer.json["error"] is None or answer.json["error"]["code"] == "E007"


@pytest.mark.claim("12.4", "12.5")
def test_a_created_job_is_answered_with_201_and_can_be_read_at_once(system: Any) -> None:
    answer = system.request("jobs", "jobs", method="POST", body={"targets": [sample.VIDEO_OK]})
    assert answer.status == 201
    found = system.request("jobs", f"jobs/{answer.data['job_id']}")
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
def test_invalid_input_is_answered_with_400_and_creates_no_job(system: Any, body: dict[str, Any]) -> None:
    _assert_rejected(system, body)


@pytest.mark.claim("13.3", "14.3", "14.4")
def test_an_output_dir_below_a_file_is_rejected(system: Any) -> None:
    (system.archive / "plain").parent.mkdir(exist_ok=True)
    (system.archive / "plain").write_text("a file, no folder")
    for output_dir in (str(system.archive / "plain" / "below"), "~/archive/plain/below"):
        _assert_rejected(system, {"targets": ["demo-000001"], "options": {"output_dir": output_dir}})


@pytest.mark.claim("13.2", "14.3")
def test_an_output_dir_in_the_home_folder_is_expanded(system: Any) -> None:
    job_id = system.create_job(sample.VIDEO_OK, output_dir="~/archive/tilde")
    result = system.request("jobs", f"jobs/{job_id}").data["job"]
    assert result["root"] == str(system.cli.home / "archive" / "tilde")
    system.request("jobs", f"jobs/{job_id}/cancel", method="POST")


@pytest.mark.claim("14.4")
def test_a_body_without_json_content_type_is_rejected(system: Any) -> None:
    """A cross-site HTML form could send such a request."""
    body = {"targets": ["demo-000001"]}
    _assert_rejected(system, body, {"Content-Type": "text/plain"})


def _assert_rejected(system: Any, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
    before = system.query_jobs("SELECT count(*) FROM jobs")
    answer = system.request("jobs", "jobs", method="POST", body=body, headers=headers)
    assert (answer.status, answer.json["error"]["code"]) == (400, "E007")
    assert system.query_jobs("SELECT count(*) FROM jobs") == before


@pytest.mark.claim("9.7", "12.6")
@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff\xfe", b"null", b'{"targets": ["demo-000001"]} trailing'])
def test_a_malformed_body_is_answered_with_400(system: Any, raw: bytes) -> None:
    answer = system.request("jobs", "jobs", method="POST", body=raw)
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
def test_valid_ids_are_accepted(system: Any, target: str) -> None:
    answer = system.request("jobs", "jobs", method="POST", body={"targets": [target]})
    assert answer.status == 201
    system.request("jobs", f"jobs/{answer.data['job_id']}/cancel", method="POST")


@pytest.mark.claim("9.2", "12.7", "12.12")
def test_metadata_of_a_video_is_returned_and_of_a_deleted_one_is_404(system: Any) -> None:
    found = system.request("metadata", f"metadata/video/{sample.VIDEO_OK}")
    assert found.status == 200
    assert found.data["video_id"] == sample.VIDEO_OK
    assert found.data["title"] == "Loopback, part 1: Hello"
    gone = system.request("metadata", f"metadata/video/{sample.VIDEO_DELETED}")
    assert (gone.status, gone.json["error"]["code"]) == (404, "E002")
    assert system.request("metadata", "metadata/video/tooshort").status == 404


@pytest.mark.claim("9.1", "12.8")
def test_an_exhausted_quota_is_answered_with_429_and_retry_after(start: Any) -> None:
    system = start(
        YOUTUBE_API_KEY="AIzaSyQuotaQuotaQuotaQuotaQuotaQuotaQuot", YTARCHIVE_YOUTUBE__KEYLESS_FALLBACK="false"
    )
    system.emulator.set_quota_left(0)
    try:
        answer = system.request("metadata", f"metadata/video/{sample.VIDEO_OK}")
    finally:
        system.emulator.set_quota_left(None)
    assert (answer.status, answer.json["error"]["code"]) == (429, "E001")
    assert 0 < int(answer.headers["Retry-After"]) <= 25 * 3600
    system.stop()


@pytest.mark.claim("9.3")
def test_a_timeout_of_the_site_is_answered_with_503_and_e003(start: Any) -> None:
    system = start(YTARCHIVE_DOWNLOAD__SOCKET_TIMEOUT="1")
    video_id = "timeout-001"
    system.emulator.put_video(video_id, title="Never answers", channel=sample.CHANNEL)
    fault = system.emulator.add_fault("*", "delay", video_id=video_id, seconds=30)
    answer = system.request("metadata", f"metadata/video/{video_id}")
    system.emulator.remove_fault(fault)
    assert (answer.status, answer.json["error"]["code"]) == (503, "E003")
    system.stop()


@pytest.mark.claim("9.5")
def test_a_job_with_an_invalid_api_key_fails_with_e005(system: Any) -> None:
    result = system.run_job(sample.VIDEO_480P, api_key="an-invalid-key")["job"]
    assert (result["status"], result["error"]["code"]) == ("failed", "E005")
    assert "key" in result["error"]["message"]
    assert "an-invalid-key" not in json.dumps(result)


@pytest.mark.claim("9.5", "12.6")
def test_a_lookup_with_an_invalid_configured_api_key_is_400_and_e005(start: Any) -> None:
    """Without a fallback source the client gets the error."""
    system = start(YOUTUBE_API_KEY="an-invalid-key", YTARCHIVE_YOUTUBE__KEYLESS_FALLBACK="false")
    answer = system.request("metadata", f"metadata/video/{sample.VIDEO_OK}")
    assert (answer.status, answer.json["error"]["code"]) == (400, "E005")
    assert "an-invalid-key" not in answer.body.decode()
    system.stop()


@pytest.mark.claim("9.6", "12.10")
def test_health_is_503_and_e006_while_the_broker_does_not_respond(start: Any, emulator_child: Any) -> None:
    """The broker of a separate stack is suspended by its process id."""
    system = start()
    result = json.loads((system.data / "run" / "stack.json").read_text())
    server = next(
        int(word.partition("=")[2])
        for line in (system.child.out.read_text() + system.child.err.read_text()).splitlines()
        if "broker_started" in line
        for word in line.split()
        if word.startswith("pid=")
    )
    assert result["nats_url"]
    os.kill(server, signal.SIGSTOP)
    try:
        health = until(lambda: _unhealthy(system))
    finally:
        os.kill(server, signal.SIGCONT)
    assert health.json["error"]["code"] == "E006"
    assert health.data["checks"]["dependencies_available"] is False
    system.stop()


def _unhealthy(system: Any) -> Any:
    answer = system.request("jobs", "health")
    return answer if answer.status == 503 else None
