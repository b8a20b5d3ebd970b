"""Chapters 4 to 6: the models in REST, on the bus and in files."""

import itertools
import json
import re
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from services.common import models
from tests.fixtures.waiting import until
from ytarchive.emulator.site import sample

ROOT = Path(__file__).parents[2]
SERVICES = ["jobs", "metadata", "download", "storage", "logging"]
CODES = {
    "API_QUOTA_EXCEEDED": "E001",
    "VIDEO_UNAVAILABLE": "E002",
    "NETWORK_TIMEOUT": "E003",
    "STORAGE_FULL": "E004",
    "INVALID_CREDENTIALS": "E005",
    "SERVICE_UNAVAILABLE": "E006",
    "INVALID_REQUEST": "E007",
    "INTERNAL_ERROR": "E999",
}


def schema_of(system: Any, service: str, model: str) -> dict[str, Any]:
    """Return the schema of a model from the service's OpenAPI description."""
    schemas: dict[str, Any] = system.request(service, "openapi.json").json["components"]["schemas"]
    found: dict[str, Any] = schemas[model]
    return found


@pytest.mark.claim("4.1")
@pytest.mark.parametrize("service", SERVICES)
def test_error_codes_match_the_specification(system: Any, service: str) -> None:
    result = schema_of(system, service, "ErrorCode")["enum"]
    assert result == list(CODES.values())
    assert result == [models.ErrorCode[name] for name in CODES]  # services import them by these names


@pytest.mark.claim("4.7")
def test_every_model_is_declared_once() -> None:
    """SPEC's names are classes of services/common/models.py, and of no other module."""
    names = {
        "ErrorCode", "ErrorDetail", "ServiceRequest", "ServiceResponse", "HealthStatus", "HealthCheck", "JobType",
        "JobStatus", "JobOptions", "JobResult", "Progress", "UnavailableVideo", "FailedDownload",
    }  # fmt: skip
    found = [
        (name, path.relative_to(ROOT).as_posix())
        for package in ("bus", "services", "ytarchive")
        for path in (ROOT / package).rglob("*.py")
        for name in re.findall(r"^\s*class (\w+)\b", path.read_text(), re.MULTILINE)
        if name in names
    ]
    assert sorted(found) == [(name, "services/common/models.py") for name in sorted(names)]


@pytest.mark.claim("4.2", "7.11", "12.7")
def test_an_error_response_has_code_message_and_trace_id(system: Any) -> None:
    answer = system.request("jobs", "jobs/nobody", headers={"X-Trace-Id": "spec-trace-1"})
    assert answer.status == 404
    assert set(answer.json) == {"success", "data", "error", "trace_id"}
    assert (answer.json["success"], answer.json["data"], answer.json["trace_id"]) == (False, None, "spec-trace-1")
    error = answer.json["error"]
    assert set(error) == {"code", "message", "details"}
    assert error["code"] == "E007"
    assert "nobody" in error["message"]
    assert error["details"]["trace_id"] == "spec-trace-1"


@pytest.mark.claim("4.4", "7.10", "7.12", "12.4")
def test_a_success_response_has_data_and_trace_id(system: Any) -> None:
    answer = system.request("jobs", "jobs", headers={"X-Trace-Id": "spec-trace-2"})
    assert answer.status == 200
    assert set(answer.json) == {"success", "data", "error", "trace_id"}
    assert (answer.json["success"], answer.json["error"], answer.json["trace_id"]) == (True, None, "spec-trace-2")
    assert {"jobs", "total"} <= set(answer.json["data"])


@pytest.mark.claim("4.3", "7.9")
def test_events_between_services_are_envelopes(system: Any) -> None:
    """A plain NATS client receives trace_id, timestamp and data on every subject."""

    def save(received: list[dict[str, Any]]) -> None:
        body = {"targets": [sample.VIDEO_480P]}
        headers = {"X-Trace-Id": "spec-trace-3"}
        assert system.request("jobs", "jobs", method="POST", body=body, headers=headers).status == 201
        until(lambda: any(one["subject"] == "job.completed" for one in received))

    began = datetime.now(UTC)
    received = system.record_events("job.*", "listing.*", "download.started", "video.*", during=save)
    for envelope in received:
        assert envelope["type"] == envelope["subject"]
        assert envelope["trace_id"] == "spec-trace-3"
        assert began <= datetime.fromisoformat(envelope["timestamp"]) <= datetime.now(UTC)
        assert isinstance(envelope["data"], dict)
    assert {"job.created", "job.queued", "listing.page_fetched", "job.completed"} <= {one["type"] for one in received}


@pytest.mark.claim("4.5", "4.6", "10.7", "10.9", "12.3")
@pytest.mark.parametrize(
    ("service", "own"),
    [
        ("jobs", {"services": 5}),
        ("metadata", {"quota": None}),
        ("download", {"slots": 2, "free_slots": 2}),
        ("storage", {"take_ins_recovered": 0}),
        ("logging", {"write_failures": 0}),
    ],
)
def test_health_of_every_service_has_status_checks_and_metrics(system: Any, service: str, own: dict[str, Any]) -> None:
    answer = until(lambda: _with_metrics(system, service, own))
    assert answer.status == 200
    health = answer.data
    assert set(health) == {"service", "status", "version", "uptime_seconds", "checks", "metrics"}
    assert (health["service"], health["status"]) == (service, "healthy")
    assert health["checks"] == {
        "http_responsive": True,
        "dependencies_available": True,
        "no_critical_errors": True,
        "disk_space_available": True,
    }
    assert type(health["uptime_seconds"]) is int
    started = datetime.fromisoformat(json.loads((system.data / "run" / "stack.json").read_text())["started_at"])
    assert health["uptime_seconds"] < (datetime.now(UTC) - started).total_seconds() + 60
    until(lambda: system.request(service, "health").data["uptime_seconds"] > health["uptime_seconds"])
    assert health["version"] == version("ytarchive")
    assert schema_of(system, service, "HealthStatus")["enum"] == ["healthy", "unhealthy"]


def _with_metrics(system: Any, service: str, own: dict[str, Any]) -> Any:
    """Return the health response if its metrics equal `own`: a slot of the previous test is released with a delay."""
    answer = system.request(service, "health")
    metrics = answer.data["metrics"] or {}
    return answer if {key: metrics.get(key, "none") for key in own} == own else None


@pytest.mark.claim("5.1")
def test_job_types_are_validated_and_returned(system: Any, demo: Any) -> None:
    refused = system.request("jobs", "jobs", method="POST", body={"targets": [sample.VIDEO_OK], "type": "livestream"})
    assert refused.status == 400
    assert "is not one of video_download, playlist_download, metadata_only" in refused.json["error"]["message"]
    playlist = demo["job"]
    assert playlist["type"] == "playlist_download"
    assert system.run_job(sample.VIDEO_OK, type="video_download")["job"]["counts"]["skipped"] == 1


@pytest.mark.claim("5.1", "5.5")
def test_metadata_only_saves_no_media(system: Any) -> None:
    video_id = sample.VIDEO_LARGE
    saved: list[dict[str, Any]] = []
    received = system.record_events(
        "download.requested", during=lambda _heard: saved.append(system.run_job(video_id, type="metadata_only"))
    )
    (asked,) = [one["data"]["wanted"] for one in received if one["data"]["job_id"] == saved[0]["job"]["job_id"]]
    assert (asked["media"], asked["thumbnail"], asked["captions"]) == (False, False, [])
    job = saved[0]
    assert job["job"]["status"] == "completed"
    assert (system.archive / "metadata" / "videos" / f"{video_id}.json").is_file()
    assert not (system.archive / "videos" / video_id / f"{video_id}.mp4").exists()
    assert job["items"][0]["result"]["metadata_saved"] is True
    assert job["items"][0]["result"]["video_downloaded"] is False


@pytest.mark.claim("5.2")
def test_job_statuses_match_the_specification(system: Any) -> None:
    named = ["created", "queued", "running", "completed", "failed", "cancelled", "retrying"]
    assert schema_of(system, "jobs", "JobStatus")["enum"] == named
    answer = system.request("jobs", "jobs?status=finished")
    assert answer.status == 400
    for status in named:
        assert system.request("jobs", f"jobs?status={status}").status == 200
    assert f"is not one of {', '.join(named)}" in answer.json["error"]["message"]


@pytest.mark.claim("5.2")
def test_a_job_passes_through_its_statuses(system: Any) -> None:
    """A job with a slow listing and one failed attempt is retried and completes; two others fail and are cancelled."""
    playlist, video_id = "PLspecification-statuses", "statuses-01"
    system.emulator.put_video(video_id, title="Once more", channel=sample.CHANNEL)
    system.emulator.put_playlist(playlist, title="One", channel=sample.CHANNEL, entries=[video_id])
    faults = [
        system.emulator.add_fault("playlist_page", "delay", seconds=0.5),
        system.emulator.add_fault("watch", "delay", video_id=video_id, seconds=0.5),
        system.emulator.add_fault("media", "status", video_id=video_id, status=404, times=1),
    ]
    job_id = system.create_job(playlist)
    seen: list[str] = []

    def ended() -> bool:
        status = system.request("jobs", f"jobs/{job_id}").data["job"]["status"]
        if status not in seen:
            seen.append(status)
        return status in {"completed", "failed", "cancelled"}

    until(ended)
    assert seen == ["queued", "running", "retrying", "completed"]
    assert system.run_job(sample.PLAYLIST_MISSING)["job"]["status"] == "failed"
    faults.append(system.emulator.add_fault("playlist_page", "delay", seconds=0.5))
    other = system.create_job(playlist, skip_existing=False)
    assert system.request("jobs", f"jobs/{other}/cancel", method="POST").status == 200
    assert system.wait_for_end(other)["job"]["status"] == "cancelled"
    for fault in faults:
        system.emulator.remove_fault(fault)


@pytest.mark.claim("5.3", "5.4", "5.5", "5.6", "5.7", "5.8", "5.9")
def test_default_job_options_match_the_specification(system: Any) -> None:
    result = system.run_job(sample.VIDEO_UNICODE)["job"]
    assert result["root"] == str(system.archive)
    assert result["options"] == {
        "quality": "1080p",
        "include_metadata": True,
        "include_captions": True,
        "caption_languages": ["en"],
        "skip_existing": True,
    }


@pytest.mark.claim("5.3")
def test_output_dir_must_be_below_an_archive_root(system: Any) -> None:
    inside = system.run_job(sample.VIDEO_OK, output_dir=str(system.archive / "below"))
    assert inside["job"]["counts"]["archived"] == 1
    assert (system.archive / "below" / "videos" / sample.VIDEO_OK / f"{sample.VIDEO_OK}.mp4").is_file()
    body = {"targets": [sample.VIDEO_OK], "options": {"output_dir": str(system.data / "elsewhere")}}
    outside = system.request("jobs", "jobs", method="POST", body=body)
    assert (outside.status, outside.json["error"]["code"]) == (400, "E007")
    assert "not below an archive root" in outside.json["error"]["message"]
    assert not (system.data / "elsewhere").exists()


@pytest.mark.claim("5.4")
def test_quality_selects_the_height_of_the_video(system: Any) -> None:
    record = _save_new_video(system, "quality-dflt", {})
    assert record["provenance"]["height"] == 1080
    assert _save_new_video(system, "quality-low1", {"quality": "144p"})["provenance"]["height"] == 144


@pytest.mark.claim("5.5", "5.6")
def test_metadata_and_captions_can_be_excluded(system: Any) -> None:
    record = _save_new_video(system, "bare-000001", {"include_metadata": False, "include_captions": False})
    assert not (system.archive / "metadata" / "videos" / "bare-000001.json").exists()
    assert not (system.archive / "videos" / "bare-000001" / "captions").exists()
    assert record["video_id"] == "bare-000001"
    assert set(record["fixity"]) == {"bare-000001.mp4", "bare-000001_thumb.jpg"}


@pytest.mark.claim("5.7")
def test_caption_languages_select_the_saved_captions(system: Any) -> None:
    _save_new_video(system, "captions-01", {})
    captions = system.archive / "videos" / "captions-01" / "captions"
    assert [path.name for path in captions.iterdir()] == ["captions-01_en.vtt"]
    system.run_job("captions-01", caption_languages=["de"])
    assert {path.name for path in captions.iterdir()} == {"captions-01_en.vtt", "captions-01_de.vtt"}


@pytest.mark.claim("5.8", "5.10")
def test_skip_existing_skips_archived_videos_unless_disabled(system: Any) -> None:
    _save_new_video(system, "twice-00001", {})
    before = system.emulator.last()
    assert system.run_job("twice-00001")["items"][0]["result"]["status"] == "skipped"
    assert not system.emulator.log(since=before, video_id="twice-00001")
    assert system.run_job("twice-00001", skip_existing=False)["items"][0]["result"]["status"] == "success"
    assert system.emulator.log(since=before, kind="media", video_id="twice-00001")


@pytest.mark.claim("5.9")
def test_the_api_key_of_a_job_is_used_and_not_stored(system: Any) -> None:
    key = "AIzaSySpecificationSpecificationSpecifica"
    before = system.emulator.last()
    result: list[Any] = []
    received = system.record_events(
        "job.*", "listing.*", "download.*", "metadata.*",
        during=lambda _heard: result.append(
            system.run_job(sample.VIDEO_HOSTILE_TITLE, sample.VIDEO_AUTO_CAPTIONS, api_key=key)
        ),
    )  # fmt: skip
    asked = [entry for entry in system.emulator.log(since=before) if "/youtube/v3/" in entry["path"]]
    assert asked
    assert {"job.created", "job.queued"} <= {one["type"] for one in received}
    assert key not in json.dumps([result, received])
    for path in (*system.data.rglob("*"), *system.archive.rglob("*")):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path


@pytest.mark.claim("5.10")
def test_job_results_of_saved_and_unavailable_videos(system: Any, demo: Any) -> None:
    items = {item["video_id"]: item for item in demo["items"]}
    saved, gone = items[sample.VIDEO_OK]["result"], items[sample.VIDEO_DELETED]["result"]
    fields = {
        "video_id", "status", "message", "metadata_saved", "video_downloaded", "file_size", "duration_seconds",
        "error_code",
    }  # fmt: skip
    assert set(saved) == set(gone) == fields
    folder = system.archive / "videos" / sample.VIDEO_OK
    record = json.loads((folder / f"{sample.VIDEO_OK}_metadata.json").read_text())
    assert saved["status"] == "success"
    assert saved["video_downloaded"] is saved["metadata_saved"] is True
    assert saved["file_size"] == sum(file["size"] for file in record["fixity"].values())
    assert saved["duration_seconds"] == system.emulator.state()["videos"][sample.VIDEO_OK]["duration"]
    assert saved["error_code"] is None
    assert (gone["status"], gone["error_code"], gone["video_downloaded"]) == ("failed", "E002", False)
    assert "removed by the uploader" in gone["message"]


@pytest.mark.claim("5.11", "10.5", "10.6", "16.4")
def test_download_progress_is_published_with_bytes_speed_and_eta(system: Any) -> None:
    """The video takes 5 s, and its audio little; progress is published in steps of at least 5 %."""
    video_id, rate = "progress-01", 600_000
    system.emulator.put_video(video_id, title="Progress", channel=sample.CHANNEL, size=5 * rate)
    fault = system.emulator.add_fault("media", "throttle", video_id=video_id, rate=rate)
    received = system.record_events("download.progress", during=lambda _heard: system.run_job(video_id))
    system.emulator.remove_fault(fault)
    result = [one["data"]["progress"] for one in _events_of_video(received, video_id)]
    for progress in result:
        assert set(progress) == {"current", "total", "percentage", "message", "speed_bps", "eta_seconds"}
        assert progress["percentage"] == pytest.approx(100 * progress["current"] / progress["total"], abs=0.1)
        assert progress["eta_seconds"] is None or type(progress["eta_seconds"]) is int
    assert result[-1]["current"] == result[-1]["total"] == pytest.approx(5 * rate, rel=0.1)
    steps = [progress["percentage"] for progress in result]
    assert steps == sorted(steps)
    assert all(after - before >= 4.9 for before, after in itertools.pairwise(steps[:-1]))
    assert len(steps) >= 7  # the extractor reports 25 times in 5 s
    midway = [one for one in result if one["speed_bps"] and 0 < one["current"] < one["total"]]
    assert midway
    for one in midway:
        assert one["speed_bps"] < 2 * rate
        assert one["eta_seconds"] == pytest.approx((one["total"] - one["current"]) / one["speed_bps"], abs=1)


@pytest.mark.claim("10.5")
def test_progress_of_a_slow_download_is_published_after_5_seconds(system: Any) -> None:
    """Progress is published 5 s after the previous one even if it has not advanced by 5 %."""
    video_id = "progress-02"
    system.emulator.put_video(video_id, title="Slow", channel=sample.CHANNEL, size=32 * 1024**2)
    fault = system.emulator.add_fault("media", "throttle", video_id=video_id, rate=100_000)

    def two(received: list[dict[str, Any]]) -> None:
        job_id = system.create_job(video_id)
        until(lambda: len(_events_of_video(received, video_id)) >= 2)
        system.request("jobs", f"jobs/{job_id}/cancel", method="POST")
        system.wait_for_end(job_id)

    first, second, *_ = _events_of_video(system.record_events("download.progress", during=two), video_id)
    system.emulator.remove_fault(fault)
    assert second["data"]["progress"]["percentage"] < 5
    assert 4.5 < second["at"] - first["at"] < 14  # 5 % would take 16


@pytest.mark.claim("16.4")
def test_job_progress_is_published_and_returned_by_rest(system: Any) -> None:
    """The second of the two videos never ends by itself."""
    quick, slow = "progress-03", "progress-04"
    system.emulator.put_video(quick, title="Quick", channel=sample.CHANNEL)
    system.emulator.put_video(slow, title="Slow", channel=sample.CHANNEL, size=32 * 1024**2)
    fault = system.emulator.add_fault("media", "throttle", video_id=slow, rate=100_000)
    unknown = {"speed_bps": None, "eta_seconds": None}
    half = {"current": 1, "total": 2, "percentage": 50.0, "message": "1 of 2 done", **unknown}
    result: list[dict[str, Any]] = []

    def follow(received: list[dict[str, Any]]) -> None:
        job_id = system.create_job(quick, slow)
        until(lambda: any(one["data"]["job"]["progress"] == half for one in received))
        assert system.request("jobs", f"jobs/{job_id}").data["job"]["progress"] == half
        system.request("jobs", f"jobs/{job_id}/cancel", method="POST", body={"video_id": slow})
        result.append(system.wait_for_end(job_id)["job"])

    system.record_events("job.progress", during=follow)
    system.emulator.remove_fault(fault)
    whole = {"current": 2, "total": 2, "percentage": 100.0, "message": "2 of 2 done", **unknown}
    assert result[0]["progress"] == whole


def _events_of_video(received: list[dict[str, Any]], video_id: str) -> list[dict[str, Any]]:
    return [one for one in received if one["data"]["video_id"] == video_id]


@pytest.mark.claim("6.2")
def test_unavailable_videos_have_their_reasons_in_the_work_plan(system: Any) -> None:
    kinds = {
        "private": "private", "deleted": "deleted", "geo": "region_blocked", "age": "age_restricted",
        "terminated": "terminated", "copyright": "copyright", "members": "members_only", "missing": "missing",
    }  # fmt: skip
    result = system.run_job(*(sample.KINDS[kind] for kind in kinds))["job"]
    plan = json.loads((system.data / "work_plans" / f"{result['job_id']}.json").read_text())
    found = {gap["video_id"]: gap["reason"] for gap in plan["unavailable_videos"]}
    assert found == {sample.KINDS[kind]: reason for kind, reason in kinds.items()}


@pytest.mark.claim("6.1")
def test_the_work_plan_has_title_and_last_availability_of_a_deleted_video(system: Any) -> None:
    """An earlier job has saved the metadata of the video."""
    video_id = "vanished-01"
    system.emulator.put_video(video_id, title="Soon gone", channel=sample.CHANNEL)
    saved = system.run_job(video_id, type="metadata_only")["job"]
    system.emulator.set_kind(video_id, "deleted")
    lost = system.run_job(video_id)["job"]
    plan = json.loads((system.data / "work_plans" / f"{lost['job_id']}.json").read_text())
    (gap,) = plan["unavailable_videos"]
    assert (gap["video_id"], gap["title"], gap["reason"]) == (video_id, "Soon gone", "deleted")
    assert saved["created_at"] <= gap["last_available"] <= saved["finished_at"]
    assert lost["created_at"] <= gap["detected_at"] <= lost["finished_at"]


@pytest.mark.claim("1.4", "6.3", "7.3")
def test_a_failed_download_is_recorded_in_the_work_plan(system: Any) -> None:
    video_id = "failing-001"
    system.emulator.put_video(video_id, title="Never whole", channel=sample.CHANNEL)
    fault = system.emulator.add_fault("media", "status", video_id=video_id, status=404)
    result = system.run_job(video_id)
    system.emulator.remove_fault(fault)
    plan = json.loads((system.data / "work_plans" / f"{result['job']['job_id']}.json").read_text())
    (failed,) = plan["failed_downloads"]
    fields = {"video_id", "title", "attempts", "last_attempt", "errors", "file_size", "retry_after"}
    assert fields <= set(failed)
    assert (failed["video_id"], failed["title"]) == (video_id, "Never whole")
    assert (failed["attempts"], len(failed["errors"])) == (3, 3)
    assert result["job"]["created_at"] <= failed["last_attempt"] <= result["job"]["finished_at"]
    week = timedelta(days=7)  # [recheck] interval_days
    assert datetime.fromisoformat(failed["retry_after"]) == datetime.fromisoformat(failed["last_attempt"]) + week
    (item,) = result["items"]
    assert (item["result"]["metadata_saved"], item["result"]["video_downloaded"]) == (True, False)


@pytest.mark.claim("6.3")
def test_a_download_that_fails_on_the_way_has_its_size_in_the_work_plan(system: Any) -> None:
    video_id, size = "failing-002", 3_000_000
    system.emulator.put_video(video_id, title="No sound", channel=sample.CHANNEL, size=size)
    fault = system.emulator.add_fault("media", "status", video_id=video_id, itag=140, status=404)  # the audio
    result = system.run_job(video_id)
    system.emulator.remove_fault(fault)
    plan = json.loads((system.data / "work_plans" / f"{result['job']['job_id']}.json").read_text())
    (failed,) = plan["failed_downloads"]
    assert failed["file_size"] == pytest.approx(size, rel=0.1)


def _save_new_video(system: Any, video_id: str, options: dict[str, Any]) -> dict[str, Any]:
    video_id = video_id[:11]
    system.emulator.put_video(video_id, title=video_id, channel=sample.CHANNEL, captions=["en", "de"])
    result = system.run_job(video_id, **options)
    assert result["job"]["counts"]["archived"] == 1, result
    text = (system.archive / "videos" / video_id / f"{video_id}_metadata.json").read_text()
    record: dict[str, Any] = json.loads(text)
    return record
