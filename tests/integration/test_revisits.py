"""Archived videos that might get better: why, the look that asks, and what it fetches (docs/decisions/0026)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from bus import BusSettings
from services.common.domain.jobs import Item, ItemStatus
from services.common.events import JobCreated
from services.common.settings.load import Config
from services.storage.index.queries import VideoQuery
from services.storage.service import StorageService
from tests.fixtures.emulated import emulated_config
from tests.fixtures.stack_client import Archive
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site.sample import CHANNEL, VIDEO_480P, VIDEO_OK
from ytarchive.stack import Stack

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
LIST = "PLemulator0000000000000000000one"
PLAIN: dict[str, Any] = {"include_captions": False}


@pytest.fixture
async def archive(config: Config, emulator: EmulatorClient) -> AsyncIterator[Archive]:
    """All services; what might get better is looked at in every run."""
    variables = {"YTARCHIVE_DOWNLOAD__SOCKET_TIMEOUT": "3", "YTARCHIVE_REVISIT__AFTER": "0s"}
    async with Stack(emulated_config(config, emulator, **variables)) as stack, aiohttp.ClientSession() as http:
        yield Archive(stack, http, emulator)


async def save(archive: Archive, video_id: str = VIDEO_OK, **options: Any) -> Item:
    """Run a job for a video and return its item."""
    _job, items = await archive.save(video_id, type="video_download", **{**PLAIN, **options})
    return items[video_id]


def lines(archive: Archive, video_id: str = VIDEO_OK) -> int:
    found: int = archive.record(video_id)["revisit"]["resolution"]
    return found


def reasons(archive: Archive, video_id: str = VIDEO_OK) -> list[str]:
    found: list[str] = archive.record(video_id)["revisit"]["reasons"]
    return found


def kinds(archive: Archive, since: int) -> list[str]:
    """Return the kinds of all requests to YouTube since then."""
    return [entry["kind"] for entry in archive.emulator.log(since=since)]


async def test_a_fresh_upload_in_360p_is_replaced_when_720p_is_offered(archive: Archive) -> None:
    """It was "already archived" for ever."""
    archive.emulator.begin("fresh_upload")
    assert (await save(archive)).status is ItemStatus.ARCHIVED
    assert (lines(archive), reasons(archive)) == (360, ["lower"])
    before = archive.media(VIDEO_OK).read_bytes()

    mark = archive.emulator.last()
    item = await save(archive)
    assert item.status is ItemStatus.SKIPPED
    assert "nothing better yet" in (item.message or "")
    asked = kinds(archive, mark)
    assert asked.count("watch") == 1
    assert not {"media", "thumbnail", "caption"} & set(asked), "a look asks for the formats only"
    assert archive.media(VIDEO_OK).read_bytes() == before
    assert len(archive.record(VIDEO_OK)["take_ins"]) == 1

    archive.emulator.begin("fresh_upload_done")
    mark = archive.emulator.last()
    item = await save(archive)
    assert item.status is ItemStatus.ARCHIVED
    assert lines(archive) == 720
    assert not {"thumbnail", "caption"} & set(kinds(archive, mark))
    assert archive.media(VIDEO_OK).read_bytes() != before
    assert [look["outcome"] for look in archive.record(VIDEO_OK)["looks"]] == ["nothing better"]


async def test_a_video_that_exists_in_480p_only_is_complete(archive: Archive) -> None:
    await save(archive, VIDEO_480P)
    assert (lines(archive, VIDEO_480P), reasons(archive, VIDEO_480P)) == (480, [])
    mark = archive.emulator.last()
    for quality in ("1080p", "best"):
        item = await save(archive, VIDEO_480P, quality=quality)
        assert (item.status, item.message) == (ItemStatus.SKIPPED, "already archived")
    assert archive.emulator.log(since=mark) == []


async def test_yt_dlps_warnings_of_missing_formats_are_a_reason(archive: Archive) -> None:
    """They were gathered and read by nobody."""
    archive.emulator.begin("formats_missing")
    await save(archive)
    assert (lines(archive), reasons(archive)) == (360, ["formats_missing"])
    warning, *_others = archive.record(VIDEO_OK)["provenance"]["missing_formats"]
    assert "SABR" in warning
    for _look in range(2):
        assert (await save(archive)).status is ItemStatus.SKIPPED
        assert reasons(archive) == ["formats_missing"]
    archive.emulator.change_video(VIDEO_OK, without_url=[])
    await save(archive)
    assert (lines(archive), reasons(archive)) == (1080, [])


async def test_captions_that_come_later_are_fetched_alone(archive: Archive) -> None:
    archive.emulator.begin("captions_later")
    await save(archive, include_captions=True)
    assert reasons(archive) == ["captions_absent"]
    assert archive.record(VIDEO_OK)["absent"] == ["captions/en"]
    media = archive.media(VIDEO_OK).stat()

    archive.emulator.change_video(VIDEO_OK, captions=["en"])
    mark = archive.emulator.last()
    await save(archive, include_captions=True)
    asked = kinds(archive, mark)
    assert asked.count("caption") == 1
    assert not {"media", "thumbnail"} & set(asked)
    assert f"captions/{VIDEO_OK}_en.vtt" in archive.files(VIDEO_OK)
    assert (archive.record(VIDEO_OK)["absent"], reasons(archive)) == ([], [])
    assert archive.media(VIDEO_OK).stat().st_mtime_ns == media.st_mtime_ns


@pytest.mark.parametrize("situation", ["captions_refused", "captions_need_token"])
async def test_captions_that_cannot_be_had_are_not_absent(archive: Archive, situation: str) -> None:
    archive.emulator.begin(situation)
    job, items = await archive.save(VIDEO_OK, type="video_download")
    assert items[VIDEO_OK].status is ItemStatus.ARCHIVED
    assert job.notes == []
    short = items[VIDEO_OK].shortfall
    assert short is not None
    assert short.unfetched == ("captions/en",)
    assert short.next_look is not None
    for _look in range(2):
        record = archive.record(VIDEO_OK)
        assert (record["absent"], record["revisit"]["left_out"]) == ([], ["en"])
        assert reasons(archive) == ["captions_refused"]
        item = await save(archive, include_captions=True)
        assert item.status is ItemStatus.SKIPPED
    archive.emulator.clear_faults()
    archive.emulator.change_video(VIDEO_OK, captions_need_token=False)
    await save(archive, include_captions=True)
    assert f"captions/{VIDEO_OK}_en.vtt" in archive.files(VIDEO_OK)
    assert reasons(archive) == []


async def test_the_recording_of_a_stream_that_has_just_ended_may_become_longer(archive: Archive) -> None:
    archive.emulator.begin("stream_ended")
    await save(archive)
    assert reasons(archive) == ["stream_ended"]
    assert (await save(archive)).status is ItemStatus.SKIPPED
    archive.emulator.begin("stream_processed")
    assert (await save(archive)).status is ItemStatus.ARCHIVED
    assert archive.record(VIDEO_OK)["provenance"]["duration_seconds"] == 600


async def test_a_length_that_differs_from_the_listings_is_a_reason(archive: Archive) -> None:
    archive.emulator.change_video(VIDEO_OK, listed_duration=100)
    archive.emulator.put_playlist(LIST, title="One", channel=CHANNEL, entries=[VIDEO_OK])
    await archive.save(LIST, **PLAIN)
    assert reasons(archive) == ["length"]
    assert (await save(archive)).status is ItemStatus.SKIPPED
    assert reasons(archive) == ["length"], "the length in the listing is remembered"
    archive.emulator.change_video(VIDEO_OK, duration=100)
    _job, items = await archive.save(LIST, **PLAIN)
    assert items[VIDEO_OK].status is ItemStatus.ARCHIVED
    assert reasons(archive) == []


async def test_the_shorter_side_of_the_picture_counts(archive: Archive) -> None:
    """480 x 853: more than 720 lines, and less than 720p."""
    today = datetime.now(UTC).date().isoformat()
    archive.emulator.change_video(VIDEO_OK, vertical=True, heights=[144, 480], upload_date=today)
    await save(archive, quality="720p")
    assert archive.record(VIDEO_OK)["provenance"]["height"] == 853
    assert (lines(archive), reasons(archive)) == (480, ["lower"])


async def test_a_look_at_a_video_that_is_gone_keeps_it_and_counts(archive: Archive, eventually: Eventually) -> None:
    archive.emulator.begin("fresh_upload")
    await save(archive)
    before = archive.media(VIDEO_OK).read_bytes()
    archive.emulator.set_kind(VIDEO_OK, "private")
    job, items = await archive.save(VIDEO_OK, type="video_download", **PLAIN)
    assert items[VIDEO_OK].status is ItemStatus.SKIPPED
    assert "could not be looked at again: " in (items[VIDEO_OK].message or "")
    assert (job.counts.unavailable, job.counts.failed, job.work_plan) == (0, 0, None)
    assert archive.media(VIDEO_OK).read_bytes() == before

    async def noted() -> bool:
        looks = archive.record(VIDEO_OK)["looks"]
        return bool(looks) and "Private video" in looks[-1]["outcome"]

    await eventually(noted)
    assert reasons(archive) == ["lower"]


async def test_a_lower_request_looks_for_what_was_asked_for_before(archive: Archive) -> None:
    archive.emulator.begin("fresh_upload")
    await save(archive)
    archive.emulator.begin("fresh_upload_done")
    await save(archive, quality="240p")
    assert lines(archive) == 720


async def test_a_running_stack_looks_when_it_is_due_and_not_before(
    config: Config, emulator: EmulatorClient, eventually: Eventually
) -> None:
    emulator.begin("fresh_upload")
    async with Stack(emulated_config(config, emulator)) as stack, aiohttp.ClientSession() as http:
        archive = Archive(stack, http, emulator)
        await save(archive)
        mark = emulator.last()
        item = await save(archive)
        assert (item.status, item.message) == (ItemStatus.SKIPPED, "already archived")
        storage = stack.services["storage"]
        assert isinstance(storage, StorageService)
        assert await storage.parts.revisits.round() == []
        (shown,) = (await storage.parts.queries.videos(VideoQuery(below_wanted=True))).videos
        assert shown.prospect is not None
        assert shown.prospect.next_look == shown.archived_at + timedelta(hours=2)
        assert emulator.log(since=mark) == []
    emulator.begin("fresh_upload_done")
    hasty = emulated_config(config, emulator, YTARCHIVE_REVISIT__AFTER="1s")
    async with Stack(hasty) as stack, aiohttp.ClientSession() as http:

        async def replaced() -> bool:
            return lines(Archive(stack, http, emulator)) == 720

        await eventually(replaced)


async def test_a_due_look_is_requested_once(
    config: Config, emulator: EmulatorClient, broker: BusSettings, eventually: Eventually
) -> None:
    emulator.begin("fresh_upload")
    async with Stack(emulated_config(config, emulator)) as stack, aiohttp.ClientSession() as http:
        await save(Archive(stack, http, emulator))
    created: list[JobCreated] = []
    for _start in range(2):
        hasty = emulated_config(config, emulator, YTARCHIVE_REVISIT__AFTER="1s")
        service = StorageService(hasty, broker, rechecks=False)
        await service.startup()
        try:
            created += await eventually(service.parts.revisits.round)  # a second after the archiving
            assert await service.parts.revisits.round() == []
        finally:
            await service.shutdown(5.0)
    first, second = created
    assert first == second, "jobs ignores a known id"
    assert (first.targets, first.priority, first.options.quality) == ((VIDEO_OK,), -100, "1080p")
    assert first.job_id.startswith("revisit-")


async def test_a_higher_request_for_a_fresh_upload_is_no_less_looked_at(archive: Archive) -> None:
    """360p was all that there was, and all that was asked for; then more is asked for."""
    archive.emulator.begin("fresh_upload")
    await save(archive, quality="360p")
    assert reasons(archive) == []
    assert (await save(archive, quality="1080p")).status is ItemStatus.ARCHIVED
    assert reasons(archive) == ["lower"]
    archive.emulator.begin("fresh_upload_done")
    await save(archive, quality="1080p")
    assert lines(archive) == 720


async def test_refused_captions_are_not_asked_for_in_every_run(config: Config, emulator: EmulatorClient) -> None:
    emulator.begin("captions_refused")
    async with Stack(emulated_config(config, emulator)) as stack, aiohttp.ClientSession() as http:
        archive = Archive(stack, http, emulator)
        await save(archive, include_captions=True)
        mark = emulator.last()
        item = await save(archive, include_captions=True)
        assert (item.status, item.message) == (ItemStatus.SKIPPED, "already archived")
        assert emulator.log(since=mark) == []
