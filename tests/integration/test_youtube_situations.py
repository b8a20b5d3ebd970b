"""YouTube as it really is: situations of the emulator, and what a running stack makes of them (docs/youtube.md)."""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from services.common.domain.jobs import Item, ItemStatus, Job
from services.common.settings.load import Config
from services.common.youtube.ytdlp import release
from services.download.service import DownloadService
from services.jobs.domain.streaks import LEAST
from services.storage.service import StorageService
from tests.fixtures.stack_client import Archive, plan_of
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample
from ytarchive.stack import Stack

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
LIST = "PLemulator0000000000000000000list"
SMALL: dict[str, Any] = {"quality": "144p", "include_captions": False}
SLOTS = 2


def worker(archive: Archive) -> DownloadService:
    service = archive.stack.services["download"]
    assert isinstance(service, DownloadService)
    return service


def extractions(archive: Archive, since: int = 0) -> Counter[str]:
    """Return how often each video was extracted."""
    return Counter(entry["video_id"] for entry in archive.emulator.log(kind="watch", since=since))


async def known_gone(archive: Archive, videos: list[str]) -> set[str]:
    service = archive.stack.services["storage"]
    assert isinstance(service, StorageService)
    return set(await service.parts.catalogue.known_gone(videos))


async def blocked(archive: Archive, job_id: str, eventually: Eventually) -> tuple[Job, list[Item]]:
    """Wait until nothing of the job can start for a block."""

    async def look() -> tuple[Job, list[Item]] | None:
        job, items = await archive.state(job_id)
        return (job, items) if job.status == "retrying" and job.waiting_for else None

    found: tuple[Job, list[Item]] = await eventually(look)
    return found


async def listed(archive: Archive, count: int) -> str:
    archive.emulator.put_playlist(LIST, count=count, channel=sample.CHANNEL)
    return await archive.create(LIST, **SMALL)


async def test_a_throttled_site_does_not_write_good_videos_off(archive: Archive, eventually: Eventually) -> None:
    """4 videos were saved, then the site answers "Video unavailable" for all: 56 of 56 were given up as missing."""
    await archive.save(*(f"upload-{n:04d}" for n in range(1, 5)), **SMALL)
    mark = archive.emulator.last()
    archive.emulator.begin("throttled")
    job, items = await blocked(archive, await listed(archive, 56), eventually)
    assert {(item.status, item.attempts) for item in items} == {(ItemStatus.WAITING, 0)}
    assert len(items) == 56
    asked = extractions(archive, mark)
    assert asked.total() <= LEAST + SLOTS, "a few first looks, and one canary"
    assert len([video for video in asked if video.startswith("upload-")]) == 1
    assert await known_gone(archive, [item.video_id for item in items]) == set()

    async def withdrawn() -> bool:
        job, _items = await archive.state(items[0].job_id)
        return not job.work_plan or not plan_of(job)["failed_downloads"]

    await eventually(withdrawn)
    assert job.waiting_for is not None
    for words in ("This content isn't available.", "saved before is refused as well", "next attempt is at"):
        assert words in job.waiting_for
    assert f"yt-dlp {release.installed()}" in job.waiting_for
    assert release.remedy() in job.waiting_for


async def test_an_outdated_extractor_is_not_tried_on_every_video(archive: Archive, eventually: Eventually) -> None:
    """40 videos, each with "The page needs to be reloaded.": 120 extractions, and all were given up."""
    archive.emulator.begin("reload")
    job, items = await blocked(archive, await listed(archive, 40), eventually)
    assert {(item.status, item.attempts) for item in items} == {(ItemStatus.WAITING, 0)}
    assert extractions(archive).total() <= LEAST + SLOTS + 1
    assert "The page needs to be reloaded." in (job.waiting_for or "")
    assert worker(archive).breakers()[worker(archive).parts.context.egress].state == "open"


async def test_a_restart_keeps_the_block_and_asks_for_nothing(
    emulated: Config, emulator: EmulatorClient, eventually: Eventually
) -> None:
    emulator.begin("reload")
    async with Stack(emulated) as stack, aiohttp.ClientSession() as http:
        before = Archive(stack, http, emulator)
        job_id = await listed(before, 20)
        job, _items = await blocked(before, job_id, eventually)
    mark = emulator.last()
    async with Stack(emulated) as stack, aiohttp.ClientSession() as http:
        again, items = await blocked(Archive(stack, http, emulator), job_id, eventually)
    assert (again.waiting_for, again.retry_at) == (job.waiting_for, job.retry_at)
    assert {(item.status, item.attempts) for item in items} == {(ItemStatus.WAITING, 0)}
    assert emulator.log(since=mark) == []


@pytest.mark.parametrize("situation", ["throttled", "reload", "all_private"])
async def test_after_the_block_every_video_is_saved(archive: Archive, eventually: Eventually, situation: str) -> None:
    worker(archive).parts.breaker.first_wait = timedelta(seconds=1)
    await archive.save("upload-0001", **SMALL)
    archive.emulator.begin(situation)
    job_id = await listed(archive, 20)
    await blocked(archive, job_id, eventually)
    canaries = extractions(archive)["upload-0001"] - 1

    async def probed_again() -> bool:
        return extractions(archive)["upload-0001"] - 1 > canaries

    await eventually(probed_again)
    videos = extractions(archive)
    archive.emulator.set_kind("*", "ok")
    job, items = await archive.wait_for_end(job_id)
    assert (job.counts.archived, job.counts.total, job.waiting_for) == (20, 20, None)
    assert {item.attempts for item in items.values()} == {0}
    assert videos.total() - videos["upload-0001"] <= (17 if situation == "all_private" else LEAST + SLOTS)
    assert await known_gone(archive, list(items)) == set()


async def test_a_served_canary_shows_that_it_is_the_videos(archive: Archive) -> None:
    """Six videos of a list of twenty are refused without a reason: they fail, the others are saved, nothing waits."""
    await archive.save("upload-0001", **SMALL)
    mark = archive.emulator.last()
    archive.emulator.put_playlist(LIST, count=20, channel=sample.CHANNEL)
    state = archive.emulator.state()["playlists"][LIST]["entries"]
    for video in state[:6]:
        archive.emulator.set_kind(video, "unexplained")
    job, items = await archive.save(LIST, **SMALL)
    assert (job.counts.archived, job.counts.failed, job.counts.unavailable) == (14, 6, 0)
    assert {items[video].reason for video in state[:6]} == {"unexplained"}
    asked = extractions(archive, mark)
    assert asked["upload-0001"] <= 1
    assert asked.total() <= 20 + 3, "one canary, and a second look at the video that was held for it"
    plan = plan_of(job)
    assert {entry["video_id"] for entry in plan["failed_downloads"]} == set(state[:6])
    assert plan["failed_downloads"][0]["errors"][-1]["message"] == "Video unavailable. This content isn't available."
    assert await known_gone(archive, list(items)) == set()


@pytest.mark.parametrize(("situation", "reason"), [("other_video", "ip_blocked"), ("bot_check", "bot_check")])
async def test_what_yt_dlp_says_about_a_block_holds_the_queue(
    archive: Archive, eventually: Eventually, situation: str, reason: str
) -> None:
    archive.emulator.begin(situation)
    job, items = await blocked(archive, await archive.create(sample.PLAYLIST_3, **SMALL), eventually)
    assert {item.attempts for item in items} == {0}
    assert f"({reason.replace('_', ' ')})" in (job.waiting_for or "")
    assert extractions(archive).total() <= SLOTS


@pytest.mark.parametrize(
    ("situation", "reason", "attempts", "status"),
    [("one_error", "try_again", 3, ItemStatus.FAILED), ("embedding", "unexplained", 1, ItemStatus.FAILED)],
)
async def test_an_error_of_one_video_among_good_ones_blocks_nothing(
    archive: Archive, situation: str, reason: str, attempts: int, status: ItemStatus
) -> None:
    archive.emulator.begin(situation)
    _job, items = await archive.save(sample.VIDEO_OK, sample.PLAYLIST_20, **SMALL)
    bad = items.pop(sample.VIDEO_OK)
    assert (bad.status, bad.reason, bad.attempts) == (status, reason, attempts)
    assert {item.status for item in items.values()} == {ItemStatus.ARCHIVED}
    assert extractions(archive)[sample.VIDEO_OK] == attempts
    assert await known_gone(archive, [sample.VIDEO_OK]) == set()
    assert worker(archive).parts.breaker.blocks == 0


async def test_a_refusal_by_the_network_blames_the_network(archive: Archive) -> None:
    archive.emulator.set_kind(sample.VIDEO_OK, "network")
    _job, items = await archive.save(sample.VIDEO_OK, sample.VIDEO_480P, **SMALL)
    refused = items[sample.VIDEO_OK]
    assert (refused.status, refused.reason) == (ItemStatus.FAILED, "network_restricted")
    assert "Use another network" in (refused.message or "")


@pytest.mark.claim("7.3")
@pytest.mark.parametrize(
    ("situation", "code", "reason"),
    [("media_404", "E006", "http_404"), ("media_503", "E006", "http_503"), ("short_media", "E003", "truncated")],
)
async def test_media_that_are_not_served_cost_three_attempts_and_then_fail(
    archive: Archive, situation: str, code: str, reason: str
) -> None:
    """503: one attempt was 11 requests in 151 s. Media shorter than announced: 29 extractions in 71 s, without end."""
    archive.emulator.begin(situation)
    job, items = await archive.save(sample.VIDEO_OK, **SMALL)
    item = items[sample.VIDEO_OK]
    assert (item.status, item.reason, item.error_code, item.attempts) == (ItemStatus.FAILED, reason, code, 3)
    assert extractions(archive).total() == 3
    media = len(archive.emulator.log(kind="media"))
    assert 3 <= media <= (6 if situation == "short_media" else 3)  # the sound is requested once the picture is served
    assert len(plan_of(job)["failed_downloads"][0]["errors"]) == 3


async def test_the_back_off_of_media_that_are_not_served_is_shown(archive: Archive, eventually: Eventually) -> None:
    archive.emulator.begin("media_503")
    job_id = await archive.create(sample.VIDEO_OK, **SMALL)

    async def waits() -> Job | None:
        job, _items = await archive.state(job_id)
        return job if job.status == "retrying" else None

    job: Job = await eventually(waits)
    assert job.retry_at is not None
    archive.emulator.clear_faults()
    ended, _items = await archive.wait_for_end(job_id)
    assert ended.counts.archived == 1
