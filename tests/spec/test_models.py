"""Chapters 4 to 6: the models, as they travel over REST, the bus and into files."""

import itertools
import json
import re
from datetime import UTC, datetime
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


def described(system: Any, service: str, model: str) -> dict[str, Any]:
    """The schema of a model, as the service describes itself."""
    schemas: dict[str, Any] = system.ask(service, "openapi.json").json["components"]["schemas"]
    found: dict[str, Any] = schemas[model]
    return found


@pytest.mark.claim("4.1")
@pytest.mark.parametrize("service", SERVICES)
def test_error_codes(system: Any, service: str) -> None:
    told = described(system, service, "ErrorCode")["enum"]
    assert told == list(CODES.values())
    assert told == [models.ErrorCode[name] for name in CODES]  # under these names services import them


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
def test_an_error_in_an_answer(system: Any) -> None:
    answer = system.ask("jobs", "jobs/nobody", headers={"X-Trace-Id": "spec-trace-1"})
    assert answer.status == 404
    assert set(answer.json) == {"success", "data", "error", "trace_id"}
    assert (answer.json["success"], answer.json["data"], answer.json["trace_id"]) == (False, None, "spec-trace-1")
    error = answer.json["error"]
    assert set(error) == {"code", "message", "details"}
    assert error["code"] == "E007"
    assert "nobody" in error["message"]
    assert error["details"]["trace_id"] == "spec-trace-1"


@pytest.mark.claim("4.4", "7.10", "7.12", "12.4")
def test_a_success_in_an_answer(system: Any) -> None:
    answer = system.ask("jobs", "jobs", headers={"X-Trace-Id": "spec-trace-2"})
    assert answer.status == 200
    assert set(answer.json) == {"success", "data", "error", "trace_id"}
    assert (answer.json["success"], answer.json["error"], answer.json["trace_id"]) == (True, None, "spec-trace-2")
    assert {"jobs", "total"} <= set(answer.json["data"])


@pytest.mark.claim("4.3", "7.9")
def test_between_services_travel_envelopes(system: Any) -> None:
    """A plain client of the broker sees trace_id, timestamp and data on every subject."""

    def save(heard: list[dict[str, Any]]) -> None:
        body = {"targets": [sample.VIDEO_480P]}
        headers = {"X-Trace-Id": "spec-trace-3"}
        assert system.ask("jobs", "jobs", method="POST", body=body, headers=headers).status == 201
        until(lambda: any(one["subject"] == "job.completed" for one in heard))

    began = datetime.now(UTC)
    heard = system.overhear("job.*", "listing.*", "download.started", "video.*", during=save)
    for envelope in heard:
        assert envelope["type"] == envelope["subject"]
        assert envelope["trace_id"] == "spec-trace-3"
        assert began <= datetime.fromisoformat(envelope["timestamp"]) <= datetime.now(UTC)
        assert isinstance(envelope["data"], dict)
    assert {"job.created", "job.queued", "listing.page_fetched", "job.completed"} <= {one["type"] for one in heard}


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
def test_health_of_every_service(system: Any, service: str, own: dict[str, Any]) -> None:
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
    assert 1 <= health["uptime_seconds"] < (datetime.now(UTC) - started).total_seconds() + 60
    assert health["version"] == version("ytarchive")
    assert described(system, service, "HealthStatus")["enum"] == ["healthy", "unhealthy"]


def _with_metrics(system: Any, service: str, own: dict[str, Any]) -> Any:
    """Once the numbers are these (a slot of the test before is given back in a moment) and it has run for a second."""
    answer = system.ask(service, "health")
    metrics = answer.data["metrics"] or {}
    known = {key: metrics.get(key, "none") for key in own} == own and answer.data["uptime_seconds"] >= 1
    return answer if known else None


@pytest.mark.claim("5.1")
def test_job_types(system: Any, demo: Any) -> None:
    refused = system.ask("jobs", "jobs", method="POST", body={"targets": [sample.VIDEO_OK], "type": "livestream"})
    assert refused.status == 400
    assert "'video_download', 'playlist_download' or 'metadata_only'" in refused.json["error"]["message"]
    playlist = demo["job"]
    assert playlist["type"] == "playlist_download"
    assert system.save(sample.VIDEO_OK, type="video_download")["job"]["counts"]["skipped"] == 1


@pytest.mark.claim("5.1", "5.5")
def test_metadata_only_saves_no_media(system: Any) -> None:
    video_id = sample.VIDEO_LARGE
    saved: list[dict[str, Any]] = []
    heard = system.overhear(
        "download.requested", during=lambda _heard: saved.append(system.save(video_id, type="metadata_only"))
    )
    (asked,) = [one["data"]["wanted"] for one in heard if one["data"]["job_id"] == saved[0]["job"]["job_id"]]
    assert (asked["media"], asked["thumbnail"], asked["captions"]) == (False, False, [])
    job = saved[0]
    assert job["job"]["status"] == "completed"
    assert (system.archive / "metadata" / "videos" / f"{video_id}.json").is_file()
    assert not (system.archive / "videos" / video_id / f"{video_id}.mp4").exists()
    assert job["items"][0]["result"]["metadata_saved"] is True
    assert job["items"][0]["result"]["video_downloaded"] is False


@pytest.mark.claim("5.2")
def test_job_statuses(system: Any) -> None:
    named = ["created", "queued", "running", "completed", "failed", "cancelled", "retrying"]
    assert described(system, "jobs", "JobStatus")["enum"] == named
    answer = system.ask("jobs", "jobs?status=finished")
    assert answer.status == 400
    for status in named:
        assert system.ask("jobs", f"jobs?status={status}").status == 200
        assert f"'{status}'" in answer.json["error"]["message"]


@pytest.mark.claim("5.2")
def test_the_statuses_of_a_jobs_life(system: Any) -> None:
    """Seen over REST: its list is slow to come, its video fails once, then all is well; two others end otherwise."""
    playlist, video_id = "PLspecification-statuses", "statuses-01"
    system.emulator.put_video(video_id, title="Once more", channel=sample.CHANNEL)
    system.emulator.put_playlist(playlist, title="One", channel=sample.CHANNEL, entries=[video_id])
    faults = [
        system.emulator.add_fault("playlist_page", "delay", seconds=0.5),
        system.emulator.add_fault("watch", "delay", video_id=video_id, seconds=0.5),
        system.emulator.add_fault("media", "status", video_id=video_id, status=404, times=1),
    ]
    job_id = system.begin(playlist)
    seen: list[str] = []

    def ended() -> bool:
        status = system.ask("jobs", f"jobs/{job_id}").data["job"]["status"]
        if status not in seen:
            seen.append(status)
        return status in {"completed", "failed", "cancelled"}

    until(ended)
    assert seen == ["queued", "running", "retrying", "completed"]
    assert system.save(sample.PLAYLIST_MISSING)["job"]["status"] == "failed"
    faults.append(system.emulator.add_fault("playlist_page", "delay", seconds=0.5))
    other = system.begin(playlist, skip_existing=False)
    assert system.ask("jobs", f"jobs/{other}/cancel", method="POST").status == 200
    assert system.ended(other)["job"]["status"] == "cancelled"
    for fault in faults:
        system.emulator.remove_fault(fault)


@pytest.mark.claim("5.3", "5.4", "5.5", "5.6", "5.7", "5.8", "5.9")
def test_options_that_are_not_given(system: Any) -> None:
    told = system.save(sample.VIDEO_UNICODE)["job"]
    assert told["root"] == str(system.archive)
    assert told["options"] == {
        "quality": "1080p",
        "include_metadata": True,
        "include_captions": True,
        "caption_languages": ["en"],
        "skip_existing": True,
    }


@pytest.mark.claim("5.3")
def test_another_output_dir(system: Any) -> None:
    inside = system.save(sample.VIDEO_OK, output_dir=str(system.archive / "below"))
    assert inside["job"]["counts"]["archived"] == 1
    assert (system.archive / "below" / "videos" / sample.VIDEO_OK / f"{sample.VIDEO_OK}.mp4").is_file()
    body = {"targets": [sample.VIDEO_OK], "options": {"output_dir": str(system.data / "elsewhere")}}
    outside = system.ask("jobs", "jobs", method="POST", body=body)
    assert (outside.status, outside.json["error"]["code"]) == (400, "E007")
    assert "not below an archive root" in outside.json["error"]["message"]
    assert not (system.data / "elsewhere").exists()


@pytest.mark.claim("5.4")
def test_quality(system: Any) -> None:
    record = _saved(system, "quality-dflt", {})
    assert record["provenance"]["height"] == 1080
    assert _saved(system, "quality-low1", {"quality": "144p"})["provenance"]["height"] == 144


@pytest.mark.claim("5.5", "5.6")
def test_without_metadata_and_captions(system: Any) -> None:
    record = _saved(system, "bare-000001", {"include_metadata": False, "include_captions": False})
    assert not (system.archive / "metadata" / "videos" / "bare-000001.json").exists()
    assert not (system.archive / "videos" / "bare-000001" / "captions").exists()
    assert record["video_id"] == "bare-000001"
    assert set(record["fixity"]) == {"bare-000001.mp4", "bare-000001_thumb.jpg"}


@pytest.mark.claim("5.7")
def test_caption_languages(system: Any) -> None:
    _saved(system, "captions-01", {})
    captions = system.archive / "videos" / "captions-01" / "captions"
    assert [path.name for path in captions.iterdir()] == ["captions-01_en.vtt"]
    system.save("captions-01", caption_languages=["de"])
    assert {path.name for path in captions.iterdir()} == {"captions-01_en.vtt", "captions-01_de.vtt"}


@pytest.mark.claim("5.8", "5.10")
def test_skip_existing(system: Any) -> None:
    _saved(system, "twice-00001", {})
    before = system.emulator.last()
    assert system.save("twice-00001")["items"][0]["result"]["status"] == "skipped"
    assert not system.emulator.log(since=before, video_id="twice-00001")
    assert system.save("twice-00001", skip_existing=False)["items"][0]["result"]["status"] == "success"
    assert system.emulator.log(since=before, kind="media", video_id="twice-00001")


@pytest.mark.claim("5.9")
def test_an_api_key_of_a_job_is_used_and_not_kept(system: Any) -> None:
    key = "AIzaSySpecificationSpecificationSpecifica"
    before = system.emulator.last()
    told: list[Any] = []
    heard = system.overhear(
        "job.*", "listing.*", "download.*", "metadata.*",
        during=lambda _heard: told.append(
            system.save(sample.VIDEO_HOSTILE_TITLE, sample.VIDEO_AUTO_CAPTIONS, api_key=key)
        ),
    )  # fmt: skip
    asked = [entry for entry in system.emulator.log(since=before) if "/youtube/v3/" in entry["path"]]
    assert asked
    assert {"job.created", "job.queued"} <= {one["type"] for one in heard}
    assert key not in json.dumps([told, heard])
    for path in (*system.data.rglob("*"), *system.archive.rglob("*")):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path


@pytest.mark.claim("5.10")
def test_job_results(system: Any, demo: Any) -> None:
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
def test_progress_of_a_download(system: Any) -> None:
    """A picture of 5 s, with a little sound: told with bytes, speed and what is left, in steps of 5 % at least."""
    video_id, rate = "progress-01", 600_000
    system.emulator.put_video(video_id, title="Progress", channel=sample.CHANNEL, size=5 * rate)
    fault = system.emulator.add_fault("media", "throttle", video_id=video_id, rate=rate)
    heard = system.overhear("download.progress", during=lambda _heard: system.save(video_id))
    system.emulator.remove_fault(fault)
    told = [one["data"]["progress"] for one in _of(heard, video_id)]
    for progress in told:
        assert set(progress) == {"current", "total", "percentage", "message", "speed_bps", "eta_seconds"}
        assert progress["percentage"] == pytest.approx(100 * progress["current"] / progress["total"], abs=0.1)
        assert progress["eta_seconds"] is None or type(progress["eta_seconds"]) is int
    assert told[-1]["current"] == told[-1]["total"] == pytest.approx(5 * rate, rel=0.1)
    steps = [progress["percentage"] for progress in told]
    assert steps == sorted(steps)
    assert all(after - before >= 4.9 for before, after in itertools.pairwise(steps[:-1]))
    assert len(steps) >= 7  # in 5 s there are 25 messages of the extractor
    midway = [one for one in told if one["speed_bps"] and 0 < one["current"] < one["total"]]
    assert midway
    for one in midway:
        assert one["speed_bps"] < 2 * rate
        assert one["eta_seconds"] == pytest.approx((one["total"] - one["current"]) / one["speed_bps"], abs=1)


@pytest.mark.claim("10.5")
def test_progress_of_a_slow_download(system: Any) -> None:
    """Far from 5 % there is news all the same: 5 s after the first."""
    video_id = "progress-02"
    system.emulator.put_video(video_id, title="Slow", channel=sample.CHANNEL, size=32 * 1024**2)
    fault = system.emulator.add_fault("media", "throttle", video_id=video_id, rate=100_000)

    def two(heard: list[dict[str, Any]]) -> None:
        job_id = system.begin(video_id)
        until(lambda: len(_of(heard, video_id)) >= 2)
        system.ask("jobs", f"jobs/{job_id}/cancel", method="POST")
        system.ended(job_id)

    first, second, *_ = _of(system.overhear("download.progress", during=two), video_id)
    system.emulator.remove_fault(fault)
    assert second["data"]["progress"]["percentage"] < 5
    assert 4.5 < second["at"] - first["at"] < 14  # 5 % would take 16


@pytest.mark.claim("16.4")
def test_progress_of_a_job(system: Any) -> None:
    """On the bus while it goes on, over REST at any time. The second of its videos never ends by itself."""
    quick, slow = "progress-03", "progress-04"
    system.emulator.put_video(quick, title="Quick", channel=sample.CHANNEL)
    system.emulator.put_video(slow, title="Slow", channel=sample.CHANNEL, size=32 * 1024**2)
    fault = system.emulator.add_fault("media", "throttle", video_id=slow, rate=100_000)
    unknown = {"speed_bps": None, "eta_seconds": None}
    half = {"current": 1, "total": 2, "percentage": 50.0, "message": "1 of 2 done", **unknown}
    told: list[dict[str, Any]] = []

    def follow(heard: list[dict[str, Any]]) -> None:
        job_id = system.begin(quick, slow)
        until(lambda: any(one["data"]["job"]["progress"] == half for one in heard))
        assert system.ask("jobs", f"jobs/{job_id}").data["job"]["progress"] == half
        system.ask("jobs", f"jobs/{job_id}/cancel", method="POST", body={"video_id": slow})
        told.append(system.ended(job_id)["job"])

    system.overhear("job.progress", during=follow)
    system.emulator.remove_fault(fault)
    whole = {"current": 2, "total": 2, "percentage": 100.0, "message": "2 of 2 done", **unknown}
    assert told[0]["progress"] == whole


def _of(heard: list[dict[str, Any]], video_id: str) -> list[dict[str, Any]]:
    return [one for one in heard if one["data"]["video_id"] == video_id]


@pytest.mark.claim("6.2")
def test_the_reasons_of_what_is_gone(system: Any) -> None:
    kinds = {
        "private": "private", "deleted": "deleted", "geo": "region_blocked", "age": "age_restricted",
        "terminated": "terminated", "copyright": "copyright", "members": "members_only", "missing": "missing",
    }  # fmt: skip
    told = system.save(*(sample.KINDS[kind] for kind in kinds))["job"]
    plan = json.loads((system.data / "work_plans" / f"{told['job_id']}.json").read_text())
    found = {gap["video_id"]: gap["reason"] for gap in plan["unavailable_videos"]}
    assert found == {sample.KINDS[kind]: reason for kind, reason in kinds.items()}


@pytest.mark.claim("6.1")
def test_a_video_that_was_there_once(system: Any) -> None:
    """The plan tells its title, and when it was seen last."""
    video_id = "vanished-01"
    system.emulator.put_video(video_id, title="Soon gone", channel=sample.CHANNEL)
    saved = system.save(video_id, type="metadata_only")["job"]
    system.emulator.set_kind(video_id, "deleted")
    lost = system.save(video_id)["job"]
    plan = json.loads((system.data / "work_plans" / f"{lost['job_id']}.json").read_text())
    (gap,) = plan["unavailable_videos"]
    assert (gap["video_id"], gap["title"], gap["reason"]) == (video_id, "Soon gone", "deleted")
    assert saved["created_at"] <= gap["last_available"] <= saved["finished_at"]
    assert lost["created_at"] <= gap["detected_at"] <= lost["finished_at"]


@pytest.mark.claim("1.4", "6.3", "7.3")
def test_a_failed_download_on_the_plan(system: Any) -> None:
    video_id = "failing-001"
    system.emulator.put_video(video_id, title="Never whole", channel=sample.CHANNEL)
    fault = system.emulator.add_fault("media", "status", video_id=video_id, status=404)
    told = system.save(video_id)
    system.emulator.remove_fault(fault)
    plan = json.loads((system.data / "work_plans" / f"{told['job']['job_id']}.json").read_text())
    (failed,) = plan["failed_downloads"]
    fields = {"video_id", "title", "attempts", "last_attempt", "errors", "file_size", "retry_after"}
    assert fields <= set(failed)
    assert (failed["video_id"], failed["title"]) == (video_id, "Never whole")
    assert (failed["attempts"], len(failed["errors"])) == (3, 3)
    assert told["job"]["created_at"] <= failed["last_attempt"] <= told["job"]["finished_at"]


def _saved(system: Any, video_id: str, options: dict[str, Any]) -> dict[str, Any]:
    video_id = video_id[:11]
    system.emulator.put_video(video_id, title=video_id, channel=sample.CHANNEL, captions=["en", "de"])
    told = system.save(video_id, **options)
    assert told["job"]["counts"]["archived"] == 1, told
    text = (system.archive / "videos" / video_id / f"{video_id}_metadata.json").read_text()
    record: dict[str, Any] = json.loads(text)
    return record
