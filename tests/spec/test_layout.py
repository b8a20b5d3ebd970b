"""Chapters 1, 2 and 13: directories and file names."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from tests.fixtures.waiting import until
from ytarchive.emulator.site import sample

SAVED = sample.VIDEO_TWO_CAPTIONS


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def file_names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(system: Any, demo: Any) -> Path:
    return Path(system.archive / "videos" / SAVED)


@pytest.mark.claim("1.1", "2.1", "8.3", "8.4")
def test_default_directories_match_the_specification(make_cli: Any) -> None:
    cli = make_cli()
    for name in ("BASE_DATA_DIR", "BASE_PATH"):
        del cli.env[f"YTARCHIVE_STORAGE__{name}"]
    keys = json.loads(cli("config", "show", "--json").out)["keys"]
    found = {
        key.removeprefix("storage."): Path(result["value"]) for key, result in keys.items() if key.endswith("_dir")
    }
    data, archive = cli.home / ".ytarchive" / "data", cli.home / "YTArchive"
    assert found == {
        "base_data_dir": data,
        "jobs_dir": data / "jobs",
        "registry_dir": data / "registry",
        "work_plans_dir": data / "work_plans",
        "tmp_dir": data / "tmp",
        "logs_dir": data / "logs",
        "metadata_dir": archive / "metadata",
        "videos_dir": archive / "videos",
    }
    assert Path(keys["storage.base_path"]["value"]) == archive


@pytest.mark.claim("1.1", "2.1", "8.1")
def test_config_toml_sets_the_data_and_archive_directories(make_cli: Any, tmp_path: Path) -> None:
    cli = make_cli()
    for name in ("BASE_DATA_DIR", "BASE_PATH"):
        del cli.env[f"YTARCHIVE_STORAGE__{name}"]
    (cli.home / "config.toml").write_text(
        f'[storage]\nbase_data_dir = "{tmp_path}/state"\nbase_path = "{tmp_path}/tree"\n[services.jobs]\nport = 0\n'
    )
    ran = cli("download", sample.VIDEO_OK)
    assert ran.code == 0, ran.err
    assert (tmp_path / "tree" / "videos" / sample.VIDEO_OK / f"{sample.VIDEO_OK}.mp4").is_file()
    assert (tmp_path / "state" / "jobs" / "jobs.db").is_file()


@pytest.mark.claim("1.2")
def test_jobs_db_holds_jobs_and_their_status(system: Any, demo: Any) -> None:
    job = demo["job"]
    assert system.query_jobs("SELECT status FROM jobs WHERE job_id = ?", job["job_id"]) == [("completed",)]


@pytest.mark.claim("1.3", "11.2")
def test_the_registry_lists_all_services(system: Any) -> None:
    result = until(lambda: _read_registry(system))
    assert {name: entry["url"] for name, entry in result.items()} == system.urls


def _read_registry(system: Any) -> dict[str, Any] | None:
    (path,) = (system.data / "registry").glob("*.json")
    services = {entry["name"]: entry for entry in json.loads(path.read_text())["services"]}
    return services if len(services) == 5 else None


@pytest.mark.claim("1.4", "6.1", "6.2")
def test_a_work_plan_lists_unavailable_videos_with_their_reasons(system: Any, demo: Any) -> None:
    job = demo["job"]
    plan = json.loads((system.data / "work_plans" / f"{job['job_id']}.json").read_text())
    gaps = {gap["video_id"]: gap for gap in plan["unavailable_videos"]}
    assert {video_id: gap["reason"] for video_id, gap in gaps.items()} == {
        sample.VIDEO_DELETED: "deleted",
        sample.VIDEO_PRIVATE: "private",
    }
    gone = gaps[sample.VIDEO_DELETED]
    wanted = {"video_id", "title", "reason", "detected_at", "playlist_id", "last_available"}
    assert wanted <= set(gone)
    assert gone["playlist_id"] == sample.DEMO_PLAYLIST
    assert job["created_at"] <= gone["detected_at"] <= job["finished_at"]


@pytest.mark.claim("1.5", "13.7")
@pytest.mark.usefixtures("demo")
def test_tmp_is_empty_after_a_job(system: Any) -> None:
    def left() -> bool:
        return not list((system.data / "tmp").rglob("*.*"))

    assert until(left)
    assert not [path for path in system.archive.rglob("*") if path.suffix in {".part", ".tmp", ".ytdl", ".new"}]


@pytest.mark.claim("1.6", "3.6")
def test_logs_has_one_file_per_day(system: Any) -> None:
    records = until(lambda: system.log_records(event="service_started"))
    for path in (system.data / "logs").glob("2*.jsonl"):
        days = {json.loads(line)["timestamp"][:10] for line in path.read_bytes().splitlines()}
        assert days == {path.stem}
    assert {record["service"] for record in records} <= {"jobs", "metadata", "download", "storage", "logging"}


@pytest.mark.claim("2.2")
def test_every_saved_video_has_a_metadata_file(system: Any, demo: Any) -> None:
    saved = {item["video_id"] for item in demo["items"] if item["status"] == "archived"}
    found = {path.stem: json.loads(path.read_text()) for path in (system.archive / "metadata/videos").glob("*.json")}
    assert set(found) == saved
    assert found[SAVED]["video_id"] == SAVED
    assert found[SAVED]["title"] == "Part 2: in two languages"


@pytest.mark.claim("2.3")
@pytest.mark.usefixtures("demo")
def test_the_playlist_has_a_metadata_file(system: Any) -> None:
    result = json.loads((system.archive / "metadata" / "playlists" / f"{sample.DEMO_PLAYLIST}.json").read_text())
    assert (result["playlist_id"], result["title"]) == (sample.DEMO_PLAYLIST, "YTArchive demo")
    assert len(result["entries"]) == 12


@pytest.mark.claim("2.4", "2.5", "2.6", "2.7", "2.8")
def test_a_saved_video_has_exactly_the_specified_files(folder: Path) -> None:
    assert file_names(folder) == {
        f"{SAVED}.mp4",
        f"{SAVED}_thumb.jpg",
        f"{SAVED}_metadata.json",
        f"captions/{SAVED}_en.vtt",
        f"captions/{SAVED}_de.vtt",
        f"{SAVED}.info.json",
    }
    assert (folder / f"{SAVED}.mp4").read_bytes()[4:8] == b"ftyp"
    described = subprocess.run([get_ffmpeg_exe(), "-i", str(folder / f"{SAVED}.mp4")], capture_output=True, text=True)
    assert [kind for kind in ("Video: h264", "Audio: aac") if kind not in described.stderr] == []
    assert (folder / f"{SAVED}_thumb.jpg").read_bytes()[:3] == b"\xff\xd8\xff"
    for language in ("en", "de"):
        caption = (folder / "captions" / f"{SAVED}_{language}.vtt").read_text()
        assert caption.startswith("WEBVTT")
        assert f"({language})" in caption  # the emulator's captions contain their language


@pytest.mark.claim("2.6")
def test_the_manifest_holds_metadata_provenance_and_digests(folder: Path, demo: Any) -> None:
    """The manifest identifies the video and its source, and has the digest of every other file."""
    record = json.loads((folder / f"{SAVED}_metadata.json").read_text())
    assert (record["video_id"], record["metadata"]["title"]) == (SAVED, "Part 2: in two languages")
    assert record["provenance"]["source_url"] == f"https://www.youtube.com/watch?v={SAVED}"
    assert record["provenance"]["trace_id"] == demo["job"]["trace_id"]
    files = file_names(folder) - {f"{SAVED}_metadata.json"}
    assert {name: entry["sha256"] for name, entry in record["fixity"].items()} == {
        name: digest(folder / name) for name in files
    }


@pytest.mark.claim("2.8")
def test_info_json_contains_no_secrets(folder: Path) -> None:
    """There are no headers, cookies, signed URLs or local paths."""
    text = (folder / f"{SAVED}.info.json").read_text()
    assert json.loads(text)["id"] == SAVED
    for secret in ("http_headers", "cookies", "sig=", "expire=", str(folder.parents[2])):
        assert secret not in text


@pytest.mark.claim("2.8")
def test_audio_is_saved_as_m4a(system: Any) -> None:
    job = system.run_job(sample.VIDEO_LEADING_DASH, quality="audio", output_dir=str(system.archive / "audio"))
    assert job["job"]["status"] == "completed"
    video_id = sample.VIDEO_LEADING_DASH
    found = file_names(system.archive / "audio" / "videos" / video_id)
    assert f"{video_id}.m4a" in found
    assert f"{video_id}.mp4" not in found


@pytest.mark.claim("13.1")
@pytest.mark.parametrize(
    "available",
    [
        ("maxresdefault", "sddefault", "hqdefault", "mqdefault", "default"),
        ("sddefault", "hqdefault", "mqdefault", "default"),
        ("hqdefault", "mqdefault", "default"),
        ("mqdefault", "default"),
        ("default",),
    ],
    ids=["maxres", "standard", "high", "medium", "default"],
)
def test_the_best_available_thumbnail_is_saved(system: Any, available: tuple[str, ...]) -> None:
    video_id = f"thumb-{available[0][:5]}".ljust(11, "_")
    system.emulator.put_video(
        video_id, title="Thumbnails", channel=sample.CHANNEL, thumbnails=list(available), webp=False
    )
    before = system.emulator.last()
    assert system.run_job(video_id)["job"]["counts"]["archived"] == 1
    asked = [
        entry for entry in system.emulator.log(since=before) if "/vi" in entry["path"] and video_id in entry["path"]
    ]
    (served,) = [entry for entry in asked if entry["status"] == 200]
    assert f"/{available[0]}." in served["path"]
    thumbnail = system.archive / "videos" / video_id / f"{video_id}_thumb.jpg"
    assert thumbnail.read_bytes()[:3] == b"\xff\xd8\xff"


@pytest.mark.claim("1.5", "13.5", "13.6", "13.7")
def test_a_partial_download_exists_only_in_tmp_and_is_removed_by_a_cancel(system: Any) -> None:
    """It is named after its video."""
    system.emulator.put_video("partial-001", title="Slow", channel=sample.CHANNEL, size=1024**2)
    fault = system.emulator.add_fault("media", "throttle", video_id="partial-001", rate=200_000)
    try:
        body = {"targets": ["partial-001"]}
        job_id = system.request("jobs", "jobs", method="POST", body=body).data["job_id"]
        part = system.data / "tmp" / "partial-001.part"
        until(part.is_dir, "the partial download is in tmp/")
        until(lambda: list(part.glob("partial-001*.part")))
        elsewhere = {path for path in system.cli.home.rglob("*partial-001*") if part not in (path, *path.parents)}
        assert elsewhere <= {system.archive / "metadata" / "videos" / "partial-001.json"}
        system.request("jobs", f"jobs/{job_id}/cancel", method="POST")
        assert system.wait_for_end(job_id)["job"]["status"] == "cancelled"
        until(lambda: not part.exists())
    finally:
        system.emulator.remove_fault(fault)
