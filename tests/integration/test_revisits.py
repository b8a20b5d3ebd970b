"""Archived videos that might get better: why, the look that asks, and what it fetches (docs/decisions/0026)."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from services.common.domain.jobs import Item, ItemStatus
from services.common.settings.load import Config
from tests.fixtures.emulated import emulated_config
from tests.fixtures.stack_client import Archive
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site.sample import VIDEO_480P, VIDEO_OK
from ytarchive.stack import Stack

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
    assert "watch" in asked
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
