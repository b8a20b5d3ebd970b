"""Chapters 4 to 6: the models, as they travel over REST, the bus and into files."""

import asyncio
import json
from datetime import datetime
from typing import Any

import nats
import pytest

from services.common.models import ErrorCode, HealthStatus, JobStatus
from ytarchive.emulator import sample


@pytest.mark.claim("4.1")
def test_error_codes() -> None:
    assert {code.name: code.value for code in ErrorCode} == {
        "API_QUOTA_EXCEEDED": "E001",
        "VIDEO_UNAVAILABLE": "E002",
        "NETWORK_TIMEOUT": "E003",
        "STORAGE_FULL": "E004",
        "INVALID_CREDENTIALS": "E005",
        "SERVICE_UNAVAILABLE": "E006",
        "INVALID_REQUEST": "E007",
        "INTERNAL_ERROR": "E999",
    }


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


@pytest.mark.claim("4.4", "7.10", "12.4")
def test_a_success_in_an_answer(system: Any) -> None:
    answer = system.ask("jobs", "jobs", headers={"X-Trace-Id": "spec-trace-2"})
    assert answer.status == 200
    assert set(answer.json) == {"success", "data", "error", "trace_id"}
    assert (answer.json["success"], answer.json["error"], answer.json["trace_id"]) == (True, None, "spec-trace-2")


@pytest.mark.claim("4.3", "7.9")
def test_between_services_travel_envelopes(system: Any) -> None:
    """A plain client of the broker sees trace_id, timestamp and data on every subject."""

    async def listen() -> list[dict[str, Any]]:
        stack = json.loads((system.data / "run" / "stack.json").read_text())
        client = await nats.connect(stack["nats_url"], token=stack["nats_token"])
        heard: list[dict[str, Any]] = []
        done = asyncio.Event()

        async def hear(message: Any) -> None:
            heard.append({"subject": message.subject, **json.loads(message.data)})
            if message.subject == "job.completed":
                done.set()

        for subject in ("job.*", "listing.*", "download.started", "video.*"):
            await client.subscribe(subject, cb=hear)
        await client.flush()
        job = await asyncio.to_thread(
            system.ask, "jobs", "jobs", method="POST", body={"targets": [sample.VIDEO_480P]},
            headers={"X-Trace-Id": "spec-trace-3"},
        )  # fmt: skip
        assert job.status == 201
        await asyncio.wait_for(done.wait(), 60)
        await client.close()
        return heard

    heard = asyncio.run(listen())
    for envelope in heard:
        assert envelope["type"] == envelope["subject"]
        assert envelope["trace_id"] == "spec-trace-3"
        assert datetime.fromisoformat(envelope["timestamp"]).tzinfo is not None
        assert isinstance(envelope["data"], dict)
    assert {"job.created", "job.queued", "listing.page_fetched", "job.completed"} <= {one["type"] for one in heard}


@pytest.mark.claim("4.5", "4.6", "10.7", "10.9", "12.3")
@pytest.mark.parametrize("service", ["jobs", "metadata", "download", "storage", "logging"])
def test_health_of_every_service(system: Any, service: str) -> None:
    answer = system.ask(service, "health")
    assert answer.status == 200
    health = answer.data
    assert set(health) == {"service", "status", "version", "uptime_seconds", "checks", "metrics"}
    assert (health["service"], health["status"]) == (service, HealthStatus.HEALTHY)
    assert health["checks"] == {
        "http_responsive": True,
        "dependencies_available": True,
        "no_critical_errors": True,
        "disk_space_available": True,
    }
    assert type(health["uptime_seconds"]) is int
    assert health["version"] == json.loads(system.cli("version", "--json").out)["ytarchive"]
    assert isinstance(health["metrics"], dict)
    assert {status.value for status in HealthStatus} == {"healthy", "unhealthy"}


@pytest.mark.claim("5.1")
def test_job_types(system: Any) -> None:
    refused = system.ask("jobs", "jobs", method="POST", body={"targets": [sample.VIDEO_OK], "type": "livestream"})
    assert refused.status == 400
    assert "'video_download', 'playlist_download' or 'metadata_only'" in refused.json["error"]["message"]
    playlist = system.jobs["demo"]["job"]
    assert playlist["type"] == "playlist_download"
    assert system.save(sample.VIDEO_OK, type="video_download")["job"]["counts"]["skipped"] == 1


@pytest.mark.claim("5.1", "5.5")
def test_metadata_only_saves_no_media(system: Any) -> None:
    video_id = sample.VIDEO_LARGE
    job = system.save(video_id, type="metadata_only")
    assert job["job"]["status"] == "completed"
    assert (system.archive / "metadata" / "videos" / f"{video_id}.json").is_file()
    assert not (system.archive / "videos" / video_id / f"{video_id}.mp4").exists()
    assert job["items"][0]["result"]["metadata_saved"] is True
    assert job["items"][0]["result"]["video_downloaded"] is False


@pytest.mark.claim("5.2")
def test_job_statuses(system: Any) -> None:
    answer = system.ask("jobs", "jobs?status=finished")
    assert answer.status == 400
    named = ("created", "queued", "running", "completed", "failed", "cancelled", "retrying")
    assert [status.value for status in JobStatus] == list(named)
    for status in named:
        assert system.ask("jobs", f"jobs?status={status}").status == 200
        assert f"'{status}'" in answer.json["error"]["message"]


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


@pytest.mark.claim("5.8")
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
    told = system.save(sample.VIDEO_HOSTILE_TITLE, sample.VIDEO_AUTO_CAPTIONS, api_key=key)
    asked = [entry for entry in system.emulator.log(since=before) if "/youtube/v3/" in entry["path"]]
    assert asked
    assert key not in json.dumps(told)
    for path in (*system.data.rglob("*"), *system.archive.rglob("*")):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path


@pytest.mark.claim("5.10")
def test_job_results(system: Any) -> None:
    items = {item["video_id"]: item for item in system.jobs["demo"]["items"]}
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
    assert saved["duration_seconds"] > 0
    assert saved["error_code"] is None
    assert (gone["status"], gone["error_code"], gone["video_downloaded"]) == ("failed", "E002", False)
    assert "removed by the uploader" in gone["message"]


@pytest.mark.claim("5.11", "10.6")
def test_progress_of_a_download(system: Any) -> None:
    """With bytes, speed and the time that is left; never more than 5 s apart, as the extractor reports every second."""
    video_id = "progress-01"
    system.emulator.put_video(video_id, title="Progress", channel=sample.CHANNEL, size=3 * 1024**2)
    fault = system.emulator.add_fault("media", "throttle", video_id=video_id, rate=1024**2)
    told = asyncio.run(_progress(system, video_id))
    system.emulator.remove_fault(fault)
    for progress in told:
        assert set(progress) == {"current", "total", "percentage", "message", "speed_bps", "eta_seconds"}
        assert progress["percentage"] == pytest.approx(100 * progress["current"] / progress["total"], abs=0.1)
        assert progress["eta_seconds"] is None or type(progress["eta_seconds"]) is int
    steps = [progress["percentage"] for progress in told]
    assert steps == sorted(steps)
    assert len(steps) >= 4
    assert [one["speed_bps"] for one in told if one["speed_bps"]]
    assert [one["eta_seconds"] for one in told if one["eta_seconds"] is not None]


@pytest.mark.claim("6.3")
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
    assert (failed["video_id"], failed["attempts"], len(failed["errors"])) == (video_id, 3, 3)
    assert told["job"]["created_at"] <= failed["last_attempt"] <= told["job"]["finished_at"]


def _saved(system: Any, video_id: str, options: dict[str, Any]) -> dict[str, Any]:
    video_id = video_id[:11]
    system.emulator.put_video(video_id, title=video_id, channel=sample.CHANNEL, captions=["en", "de"])
    told = system.save(video_id, **options)
    assert told["job"]["counts"]["archived"] == 1, told
    text = (system.archive / "videos" / video_id / f"{video_id}_metadata.json").read_text()
    record: dict[str, Any] = json.loads(text)
    return record


async def _progress(system: Any, video_id: str) -> list[dict[str, Any]]:
    """Every download.progress of a video that is saved now."""
    stack = json.loads((system.data / "run" / "stack.json").read_text())
    client = await nats.connect(stack["nats_url"], token=stack["nats_token"])
    heard: list[dict[str, Any]] = []

    async def hear(message: Any) -> None:
        data = json.loads(message.data)["data"]
        if data["video_id"] == video_id:
            heard.append(data["progress"])

    await client.subscribe("download.progress", cb=hear)
    await client.flush()
    await asyncio.to_thread(system.save, video_id)
    await client.close()
    return heard
