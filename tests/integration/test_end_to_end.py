"""All five services in one process, with a real broker, SQLite, yt-dlp and ffmpeg, and the emulator as YouTube."""

import asyncio
import collections
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import imageio_ffmpeg
import nats
import pytest

from services.common.domain.jobs import ItemStatus
from services.common.settings.load import Config
from tests.fixtures.process_tree import children_of, command_of
from tests.fixtures.stack_client import Archive, plan_of
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample
from ytarchive.stack import Stack

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


def decode(path: Path) -> None:
    """Let ffmpeg decode the whole file; any error fails the test."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-xerror", "-i", str(path), "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), path


async def test_a_playlist_is_archived_and_its_unavailable_videos_are_on_the_plan(
    archive: Archive, eventually: Eventually
) -> None:
    job, items = await archive.save(sample.DEMO_PLAYLIST, caption_languages=["en", "de"])
    assert job.status == "completed"
    assert (job.counts.total, job.counts.archived, job.counts.unavailable) == (12, 10, 2)
    saved = [video_id for video_id, item in items.items() if item.status is ItemStatus.ARCHIVED]
    digests = set()
    for video_id in saved:
        decode(archive.media(video_id))
        assert video_id.encode() in archive.media(video_id).read_bytes()  # the emulator writes the id into the media
        digests.add(hashlib.sha256(archive.media(video_id).read_bytes()).hexdigest())
    assert len(digests) == len(saved) == 10

    plan = plan_of(job)
    reasons = {entry["video_id"]: entry["reason"] for entry in plan["unavailable_videos"]}
    assert reasons == {sample.VIDEO_DELETED: "deleted", sample.VIDEO_PRIVATE: "private"}

    async def no_partial_download() -> bool:  # each is removed when the event of its archived video arrives
        return not list(archive.stack.config.storage.tmp_dir.glob("*.part"))

    await eventually(no_partial_download)


async def test_a_video_has_the_specified_files_with_matching_checksums(archive: Archive) -> None:
    video = sample.VIDEO_TWO_CAPTIONS
    await archive.save(video, caption_languages=["en", "de"])
    assert archive.files(video) == {
        f"{video}.mp4",
        f"{video}_thumb.jpg",
        f"{video}_metadata.json",
        f"{video}.info.json",
        f"captions/{video}_en.vtt",
        f"captions/{video}_de.vtt",
    }
    folder = archive.root / "videos" / video
    assert (folder / f"{video}_thumb.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    assert (folder / "captions" / f"{video}_de.vtt").read_text().startswith("WEBVTT")
    fixity = archive.record(video)["fixity"]
    for name in archive.files(video) - {f"{video}_metadata.json"}:
        content = (folder / name).read_bytes()
        told = fixity[name] if isinstance(fixity, dict) else next(fact for fact in fixity if fact["name"] == name)
        assert (told["size"], told["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    kept = json.loads((archive.root / "metadata" / "videos" / f"{video}.json").read_text())
    assert kept["sources"]["yt_dlp"]["metadata"]["title"] == "Part 2: in two languages"


async def test_a_second_run_requests_only_the_listing(archive: Archive) -> None:
    await archive.save(sample.DEMO_PLAYLIST)
    first = archive.emulator.log()
    listing = {entry["kind"] for entry in first} & {"playlist_page", "browse"}
    assert listing
    mark = archive.emulator.last()
    job, items = await archive.save(sample.DEMO_PLAYLIST)
    assert (job.counts.skipped, job.counts.unavailable) == (10, 2)
    assert items[sample.VIDEO_PRIVATE].reason == "private"
    again = archive.emulator.log(since=mark)
    assert {entry["kind"] for entry in again} == listing
    assert len(again) == sum(entry["kind"] in listing for entry in first)


async def test_a_plain_nats_subscriber_sees_one_trace_id_for_a_job(archive: Archive, eventually: Eventually) -> None:
    settings = archive.stack.settings
    assert settings.token is not None
    client = await nats.connect(settings.url, token=settings.token.get_secret_value())
    seen: dict[str, set[str]] = collections.defaultdict(set)

    async def note(message: Any) -> None:
        seen[message.subject].add(json.loads(message.data)["trace_id"])

    for subject in ("job.created", "metadata.fetched", "download.progress", "video.archived", "job.completed"):
        await client.subscribe(subject, cb=note)
    await client.flush()
    job, _items = await archive.save(sample.PLAYLIST_3)

    async def told() -> bool:  # REST may report the end before the bus does
        return "job.completed" in seen

    await eventually(told)
    await client.drain()
    assert set(seen) == {"job.created", "metadata.fetched", "download.progress", "video.archived", "job.completed"}
    assert set().union(*seen.values()) == {job.trace_id}


GONE = {
    "private": "private",
    "deleted": "deleted",
    "missing": "missing",
    "terminated": "terminated",
    "copyright": "copyright",
    "geo": "region_blocked",
    "age": "age_restricted",
    "members": "members_only",
}


async def test_every_kind_of_unavailable_video_costs_one_attempt_and_has_its_reason(archive: Archive) -> None:
    videos = {sample.KINDS[kind]: reason for kind, reason in GONE.items()}
    job, items = await archive.save(*videos)
    assert {video: item.reason for video, item in items.items()} == videos
    assert all(item.status is ItemStatus.UNAVAILABLE and item.attempts == 1 for item in items.values())
    plan = plan_of(job)
    assert {entry["video_id"]: entry["reason"] for entry in plan["unavailable_videos"]} == videos
    tries = collections.Counter(entry["video_id"] for entry in archive.emulator.log(kind="watch"))
    assert set(tries.values()) == {1}
    assert job.status == "completed"


@pytest.mark.parametrize(
    "fault",
    [
        {"effect": "status", "status": 503, "times": 2},
        {"effect": "reset", "after": 60_000, "times": 1},
        {"effect": "truncate", "after": 60_000, "times": 1},
        {"effect": "stall", "after": 60_000, "times": 1},
    ],
    ids=lambda fault: str(fault["effect"]),
)
async def test_a_download_recovers_from_transient_media_faults(archive: Archive, fault: dict[str, Any]) -> None:
    archive.emulator.add_fault("media", **fault)
    job, _items = await archive.save(sample.VIDEO_OK)
    assert job.counts.archived == 1
    decode(archive.media(sample.VIDEO_OK))


async def test_a_video_that_fails_three_times_is_planned_and_the_others_are_archived(archive: Archive) -> None:
    archive.emulator.add_fault("media", "status", status=404, video_id=sample.VIDEO_OK)
    job, items = await archive.save(sample.VIDEO_OK, sample.VIDEO_480P)
    assert items[sample.VIDEO_480P].status is ItemStatus.ARCHIVED
    assert items[sample.VIDEO_OK].status is ItemStatus.FAILED
    assert items[sample.VIDEO_OK].attempts == 3
    plan = plan_of(job)
    (failed,) = plan["failed_downloads"]
    assert (failed["video_id"], failed["attempts"], len(failed["errors"])) == (sample.VIDEO_OK, 3, 3)


async def test_a_bot_check_holds_the_queue_and_costs_no_attempt(archive: Archive) -> None:
    archive.emulator.set_kind("*", "bot_check")
    job_id = await archive.create(sample.PLAYLIST_3)
    async with aiohttp.ClientSession() as http:
        url = f"{archive.stack.services['jobs'].url}/api/v1/jobs/{job_id}"
        async with http.get(f"{url}/events") as response:
            async for line in response.content:
                if line.startswith(b"data: ") and json.loads(line[6:]).get("status") == "retrying":
                    break
        async with http.get(url) as response:
            detail = (await response.json())["data"]
    assert detail["job"]["retry_at"] is not None
    assert {item["attempts"] for item in detail["items"]} == {0}
    assert {item["status"] for item in detail["items"]} == {"waiting"}


async def test_an_audio_only_job_archives_the_sound_and_the_video_can_be_added(archive: Archive) -> None:
    await archive.save(sample.VIDEO_OK, quality="audio", include_captions=False)
    assert archive.files(sample.VIDEO_OK) >= {f"{sample.VIDEO_OK}.m4a"}
    assert f"{sample.VIDEO_OK}.mp4" not in archive.files(sample.VIDEO_OK)
    decode(archive.media(sample.VIDEO_OK, ".m4a"))
    job, _items = await archive.save(sample.VIDEO_OK, quality="720p", include_captions=False)
    assert job.counts.archived == 1
    assert archive.files(sample.VIDEO_OK) >= {f"{sample.VIDEO_OK}.m4a", f"{sample.VIDEO_OK}.mp4"}


@pytest.mark.parametrize(("quality", "height"), [("best", 2160), ("720p", 720), ("144p", 144), ("wv*+wa", 144)])
async def test_the_requested_quality_is_archived(archive: Archive, quality: str, height: int) -> None:
    await archive.save(sample.VIDEO_2160P, quality=quality)
    assert archive.record(sample.VIDEO_2160P)["provenance"]["height"] == height


async def test_absent_captions_are_recorded_and_not_requested_again(archive: Archive) -> None:
    first, _items = await archive.save(sample.VIDEO_NO_CAPTIONS, sample.VIDEO_NO_MAXRES, caption_languages=["en", "fr"])
    assert first.counts.archived == 2
    assert f"{sample.VIDEO_NO_MAXRES}_thumb.jpg" in archive.files(sample.VIDEO_NO_MAXRES)
    assert set(archive.record(sample.VIDEO_NO_CAPTIONS)["absent"]) == {"captions/en", "captions/fr"}
    second, _items = await archive.save(
        sample.VIDEO_NO_CAPTIONS, sample.VIDEO_NO_MAXRES, caption_languages=["en", "fr"]
    )
    assert second.counts.skipped == 2


async def test_another_caption_language_is_added_without_downloading_the_media(archive: Archive) -> None:
    video = sample.VIDEO_TWO_CAPTIONS
    await archive.save(video, caption_languages=["en"])
    before = archive.media(video).stat()
    mark = archive.emulator.last()
    job, _items = await archive.save(video, caption_languages=["en", "de"])
    assert job.counts.archived == 1
    assert archive.files(video) >= {f"captions/{video}_en.vtt", f"captions/{video}_de.vtt", f"{video}.mp4"}
    assert "media" not in {entry["kind"] for entry in archive.emulator.log(since=mark)}
    assert archive.media(video).stat().st_mtime_ns == before.st_mtime_ns


async def test_only_files_that_a_verification_finds_damaged_are_downloaded_again(archive: Archive) -> None:
    media, small, gone = sample.VIDEO_TWO_CAPTIONS, sample.VIDEO_OK, sample.VIDEO_480P
    await archive.save(media, small, gone)
    damaged = {
        name: _flip(archive.root / "videos" / video / name)
        for video, name in (
            (media, f"{media}.mp4"),
            (small, f"{small}.info.json"),
            (small, f"captions/{small}_en.vtt"),
            (gone, f"{gone}.mp4"),
        )
    }
    before = {video: archive.record(video) for video in (media, small)}
    archive.emulator.set_kind(gone, "deleted")
    mark = archive.emulator.last()
    storage = archive.stack.services["storage"]
    async with aiohttp.ClientSession() as http:
        url = f"{storage.url}/api/v1/storage/verify"
        async with http.post(url, json={}) as response:
            assert response.status == 201, await response.text()
        while True:
            async with http.get(url) as response:
                page = (await response.json())["data"]
            if page["verification"]["ended_at"] is not None:
                break
            await asyncio.sleep(0.05)
    assert {one["name"]: one["kind"] for one in page["findings"]} == dict.fromkeys(damaged, "changed")
    (job_id,) = page["verification"]["jobs"]
    job, items = await archive.wait_for_end(job_id)
    assert (job.trace_id, job.counts.archived, job.counts.unavailable) == (page["verification"]["trace_id"], 2, 1)
    assert items[gone].reason == "deleted"
    assert [entry["video_id"] for entry in plan_of(job)["unavailable_videos"]] == [gone]
    for one in page["findings"]:
        assert Path(one["set_aside"]).read_bytes() == damaged[one["name"]]  # noqa: ASYNC240 - small
    for video, record in before.items():
        again = archive.record(video)
        for name, entry in again["fixity"].items():
            digest = hashlib.sha256((archive.root / "videos" / video / name).read_bytes()).hexdigest()
            assert digest == entry["sha256"], name
        assert again["fixity"].keys() == record["fixity"].keys()
    assert archive.record(media)["fixity"][f"{media}.mp4"] == before[media]["fixity"][f"{media}.mp4"]
    fetched = {entry["video_id"] for entry in archive.emulator.log(since=mark, kind="media")}
    assert fetched == {media}
    assert not archive.media(gone).exists()


def _flip(path: Path) -> bytes:
    """Flip one bit of a file and return its new content."""
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    return path.read_bytes()


async def test_a_metadata_only_job_downloads_no_media(archive: Archive) -> None:
    job, _items = await archive.save(sample.PLAYLIST_3, type="metadata_only")
    assert job.counts.archived == 3
    assert len(list((archive.root / "metadata" / "videos").iterdir())) == 3
    assert not (archive.root / "videos").exists() or not list((archive.root / "videos").iterdir())
    assert {entry["kind"] for entry in archive.emulator.log()} <= {"playlist_page", "browse", "watch", "player"}


async def test_a_playlist_of_250_with_deleted_entries_is_listed_completely(archive: Archive) -> None:
    job, items = await archive.save(sample.PLAYLIST_250, type="metadata_only")
    gone = len(sample.PLAYLIST_250_DELETED) + len(sample.PLAYLIST_250_PRIVATE)
    assert (job.counts.total, job.counts.archived, job.counts.unavailable) == (250, 250 - gone, gone)
    order = list(items)
    assert [items[order[n]].reason for n in sample.PLAYLIST_250_DELETED] == ["deleted"] * 4
    kept = json.loads((archive.root / "metadata" / "playlists" / f"{sample.PLAYLIST_250}.json").read_text())
    assert len(kept["entries"]) == 250


async def test_a_channel_is_archived_by_its_handle(archive: Archive) -> None:
    job, _items = await archive.save(
        f"https://www.youtube.com/{sample.CHANNEL_HANDLE}", quality="144p", include_captions=False
    )
    assert job.counts.archived == sample.CHANNEL_UPLOADS
    assert (archive.root / "metadata" / "playlists" / f"{sample.UPLOADS_PLAYLIST}.json").exists()


async def test_a_job_sends_no_more_requests_than_yt_dlp_itself(archive: Archive, tmp_path: Path) -> None:
    await archive.save(sample.PLAYLIST_3, quality="1080p", caption_languages=["en"])
    ours = collections.Counter(entry["kind"] for entry in archive.emulator.log())
    mark = archive.emulator.last()
    emulator = archive.emulator
    command = [
        sys.executable, "-m", "yt_dlp", "--quiet", "--ignore-config", "--proxy", emulator.proxy_url,
        "--compat-options", "no-certifi", "--format", "bv*[height<=1080]+ba", "--write-subs", "--sub-langs", "en",
        "--write-thumbnail", "--write-info-json", "--ffmpeg-location", imageio_ffmpeg.get_ffmpeg_exe(),
        "--paths", str(tmp_path / "theirs"), f"https://www.youtube.com/playlist?list={sample.PLAYLIST_3}",
    ]  # fmt: skip
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        env={"PATH": "/usr/bin:/bin", "SSL_CERT_FILE": str(emulator.ca_file)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    theirs = collections.Counter(entry["kind"] for entry in archive.emulator.log(since=mark))
    assert theirs["media"] >= 6, theirs
    assert ours.total() <= theirs.total(), (ours, theirs)


async def test_two_concurrent_jobs_for_one_video_download_it_once(archive: Archive) -> None:
    archive.emulator.add_fault("media", "delay", seconds=1.0, times=1)
    first = await archive.create(sample.VIDEO_OK)
    second = await archive.create(sample.VIDEO_OK)
    for job_id in (first, second):
        job, _items = await archive.wait_for_end(job_id)
        assert job.counts.archived + job.counts.skipped == 1
    assert len(archive.emulator.log(kind="watch", video_id=sample.VIDEO_OK)) == 1


async def test_a_retry_skips_a_video_that_another_job_has_archived_since(archive: Archive) -> None:
    fault = archive.emulator.add_fault("media", "status", status=404, video_id=sample.VIDEO_OK)
    first, items = await archive.save(sample.VIDEO_OK)
    assert items[sample.VIDEO_OK].status is ItemStatus.FAILED
    archive.emulator.remove_fault(fault)
    await archive.save(sample.VIDEO_OK)
    mark = archive.emulator.last()
    await archive.command(first.job_id, "retry")
    _job, items = await archive.wait_for_end(first.job_id)
    assert items[sample.VIDEO_OK].status is ItemStatus.SKIPPED
    assert archive.emulator.log(since=mark) == []


async def test_a_small_job_does_not_wait_for_a_playlist_of_60(archive: Archive, eventually: Eventually) -> None:
    archive.emulator.put_playlist("PLemulator00000000000000000000060", count=60, channel=sample.CHANNEL)
    large = await archive.create("PLemulator00000000000000000000060", quality="144p", include_captions=False)
    await asyncio.to_thread(archive.emulator.wait_for, kind="media", count=2)
    small = await archive.create(sample.VIDEO_OK, quality="144p", include_captions=False)
    await eventually(lambda: archive.queued(small))
    mark = archive.emulator.last()
    job, _items = await archive.wait_for_end(small)
    assert job.counts.archived == 1
    started = [entry["video_id"] for entry in archive.emulator.log(since=mark, kind="watch")]
    slots = archive.stack.config.download.slots
    # only dispatches that were released before may start first
    assert sample.VIDEO_OK not in started or started.index(sample.VIDEO_OK) <= slots
    await archive.command(large, "cancel")


async def test_a_stop_keeps_a_partial_download_and_the_next_start_resumes_it(
    emulated: Config, emulator: EmulatorClient
) -> None:
    emulator.add_fault("media", "throttle", rate=1_500_000, video_id=sample.VIDEO_LARGE)
    async with Stack(emulated) as stack, aiohttp.ClientSession() as http:
        before = Archive(stack, http, emulator)
        job_id = await before.create(sample.VIDEO_LARGE, include_captions=False)
        await before.wait_for_progress(job_id, 20)
    partial = emulated.storage.tmp_dir / f"{sample.VIDEO_LARGE}.part"
    assert any(path.name.endswith(".part") for path in partial.iterdir())
    emulator.clear_faults()
    mark = emulator.last()
    async with Stack(emulated) as stack, aiohttp.ClientSession() as http:
        job, items = await Archive(stack, http, emulator).wait_for_end(job_id)
    assert job.counts.archived == 1
    assert items[sample.VIDEO_LARGE].attempts == 0
    ranges = [entry["range"] for entry in emulator.log(since=mark, kind="media")]
    assert any(given and not given.startswith("bytes=0-") for given in ranges)
    decode(emulated.storage.base_path / "videos" / sample.VIDEO_LARGE / f"{sample.VIDEO_LARGE}.mp4")


def _forked_children() -> set[int]:
    """Return the ids of the yt-dlp children of this process."""
    servers = [child for child in children_of(os.getpid()) if "child.fork_server" in command_of(child)]
    return {child for server in servers for child in children_of(server)}


async def test_cancelling_a_job_stops_its_download_and_no_other_job(archive: Archive) -> None:
    archive.emulator.add_fault("media", "throttle", rate=300_000, video_id=sample.VIDEO_LARGE)
    large = await archive.create(sample.VIDEO_LARGE, include_captions=False)
    await archive.wait_for_progress(large, 1)
    other = await archive.create(sample.PLAYLIST_3)
    children = _forked_children()
    asked = time.monotonic()
    await archive.command(large, "cancel")
    job, items = await archive.wait_for_end(large)
    assert time.monotonic() - asked < 2
    assert job.status == "cancelled"
    assert items[sample.VIDEO_LARGE].status is ItemStatus.CANCELLED
    assert len(_forked_children() & children) == len(children) - 1
    assert not (archive.stack.config.storage.tmp_dir / f"{sample.VIDEO_LARGE}.part").exists()
    assert not archive.media(sample.VIDEO_LARGE).exists()
    finished, _items = await archive.wait_for_end(other)
    assert finished.counts.archived == 3


async def test_cancelling_one_of_two_jobs_does_not_stop_their_shared_download(
    archive: Archive, eventually: Callable[..., Awaitable[object]]
) -> None:
    archive.emulator.add_fault("media", "throttle", rate=3_000_000, video_id=sample.VIDEO_LARGE)
    first = await archive.create(sample.VIDEO_LARGE, include_captions=False)
    await archive.wait_for_progress(first, 1)
    second = await archive.create(sample.VIDEO_LARGE, include_captions=False)
    await eventually(lambda: archive.waits(second))
    await archive.command(first, "cancel")
    assert (await archive.wait_for_end(first))[0].status == "cancelled"
    assert (await archive.wait_for_end(second))[0].counts.archived == 1
    assert len(archive.emulator.log(kind="watch", video_id=sample.VIDEO_LARGE)) == 1


async def test_a_paused_job_starts_no_download_until_it_is_resumed(archive: Archive) -> None:
    job_id = await archive.create(sample.PLAYLIST_20, quality="144p", include_captions=False)
    await asyncio.to_thread(archive.emulator.wait_for, kind="media", count=2)
    assert (await archive.command(job_id, "pause")).paused
    await archive.save(sample.VIDEO_OK, quality="144p", include_captions=False)  # other jobs continue
    mark = archive.emulator.last()
    await archive.save(sample.VIDEO_480P, quality="144p", include_captions=False)
    assert {entry["video_id"] for entry in archive.emulator.log(since=mark, kind="watch")} == {sample.VIDEO_480P}
    await archive.command(job_id, "resume")
    assert (await archive.wait_for_end(job_id))[0].counts.archived == 20


async def test_a_retry_of_a_completed_job_requests_only_the_missing_videos(archive: Archive) -> None:
    job, _items = await archive.save(sample.DEMO_PLAYLIST)
    archive.emulator.set_kind(sample.VIDEO_PRIVATE, "ok")
    mark = archive.emulator.last()
    await archive.command(job.job_id, "retry")
    again, items = await archive.wait_for_end(job.job_id)
    assert (again.counts.archived, again.counts.unavailable) == (11, 1)
    assert items[sample.VIDEO_PRIVATE].status is ItemStatus.ARCHIVED
    asked = {entry["video_id"] for entry in archive.emulator.log(since=mark)}
    assert asked == {sample.VIDEO_PRIVATE, sample.VIDEO_DELETED}
    resolved = {entry["video_id"]: entry["resolved_at"] for entry in plan_of(again)["unavailable_videos"]}
    assert resolved[sample.VIDEO_PRIVATE] is not None
    assert resolved[sample.VIDEO_DELETED] is None
