"""Videos that vanish from or return to YouTube: the history records it, archived files are kept.

All five services run against the emulator.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from services.common.errors import NotFound
from services.common.events import JobCreated
from services.common.models import JobOptions, JobStatus
from services.common.settings.load import Config
from services.jobs.service import JobsService
from services.storage.playlists.playlist_file import read_playlist_file
from services.storage.reporting.history import HistoryReader
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample
from ytarchive.stack import Stack

PLAYLIST = "PLemulator00000000000availability"
STAYS, TURNS_PRIVATE, IS_REMOVED, COMES_BACK = (
    sample.VIDEO_OK, sample.VIDEO_TWO_CAPTIONS, sample.VIDEO_NO_CAPTIONS, sample.VIDEO_PRIVATE,
)  # fmt: skip
Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]
KEY = "key-of-these-tests"


@pytest.fixture
def config(config: Config, emulator: EmulatorClient) -> Config:
    youtube = config.youtube.model_copy(
        update={"proxy": emulator.proxy_url, "ca_file": emulator.ca_file, "api_endpoint": emulator.api_endpoint}
    )
    return config.model_copy(update={"youtube": youtube})


@pytest.fixture
async def stack(config: Config) -> AsyncIterator[Stack]:
    async with Stack(config) as stack:
        yield stack


async def save(stack: Stack, eventually: Eventually, *, by_api: bool = False) -> None:
    """Download the playlist in a new job and wait until storage has written everything."""
    jobs = stack.services["jobs"]
    assert isinstance(jobs, JobsService)
    options = JobOptions(quality="144p", include_captions=False)
    event = JobCreated(job_id=str(uuid4()), targets=(PLAYLIST,), options=options)
    if by_api:
        await jobs.parts.queue.hand_over(event.job_id, KEY, "trace")
    await jobs.parts.queue.submit(event, "trace")

    async def completed() -> bool:
        job = await jobs.parts.reader.find(event.job_id)
        return job is not None and job.status is JobStatus.COMPLETED

    await eventually(completed)
    await stack.drain()


def playlist(emulator: EmulatorClient, *video_ids: str) -> None:
    emulator.put_playlist(PLAYLIST, title="Comings and goings", channel=sample.CHANNEL, entries=list(video_ids))


def files(archive: Path) -> dict[str, str]:
    """Return the checksum of every file of a video, by path."""
    found = (path for path in (archive / "videos").rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def history(config: Config, id: str) -> list[tuple[str, str | None]]:
    """Return the changes, oldest first, each with its reason or its video."""
    lines = HistoryReader(config.storage).read(id, 100, 0).events
    return [(line.change, line.reason or line.video_id) for line in lines[::-1]]


async def test_videos_removed_upstream_stay_archived_and_are_recorded_in_the_history(
    stack: Stack, config: Config, emulator: EmulatorClient, eventually: Eventually
) -> None:
    playlist(emulator, STAYS, TURNS_PRIVATE, IS_REMOVED, COMES_BACK)
    await save(stack, eventually)
    before = files(config.storage.base_path)
    assert len([path for path in before if path.endswith(".mp4")]) == 3

    emulator.set_kind(TURNS_PRIVATE, "private")
    emulator.set_kind(COMES_BACK, "ok")
    emulator.change_video(STAYS, title="Another name")
    playlist(emulator, STAYS, TURNS_PRIVATE, COMES_BACK)
    await save(stack, eventually)

    after = files(config.storage.base_path)
    assert before.items() <= after.items()
    assert any(path.endswith(f"{COMES_BACK}.mp4") for path in after)
    timelines = {id: history(config, id) for id in (PLAYLIST, STAYS, TURNS_PRIVATE, IS_REMOVED, COMES_BACK)}
    assert timelines == {
        PLAYLIST: [
            ("first_look", None), ("private", COMES_BACK),
            ("retitled", STAYS), ("private", TURNS_PRIVATE), ("came_back", COMES_BACK), ("vanished", IS_REMOVED),
        ],
        STAYS: [("first_look", None), ("archived", STAYS), ("retitled", STAYS)],
        TURNS_PRIVATE: [("first_look", None), ("archived", TURNS_PRIVATE), ("private", TURNS_PRIVATE)],
        IS_REMOVED: [("first_look", None), ("archived", IS_REMOVED), ("vanished", IS_REMOVED)],
        COMES_BACK: [
            ("first_look", None), ("private", COMES_BACK), ("found_gone", "private"), ("came_back", COMES_BACK),
            ("archived", COMES_BACK), ("came_back", COMES_BACK),
        ],
    }  # fmt: skip
    page = HistoryReader(config.storage).read(PLAYLIST, 2, 1)
    assert (page.kind, page.title, page.total) == ("playlist", "Comings and goings", 6)
    assert [line.video_id for line in page.events] == [COMES_BACK, TURNS_PRIVATE]
    with pytest.raises(NotFound):
        HistoryReader(config.storage).read("nobodyknows", 100, 0)


async def test_a_change_of_the_listing_source_is_not_a_change_of_the_playlist(
    stack: Stack, config: Config, emulator: EmulatorClient, eventually: Eventually
) -> None:
    """Alternate between listings without and with an API key."""
    playlist(emulator, STAYS, COMES_BACK, sample.VIDEO_DELETED)
    for by_api in (False, True, False, True):
        await save(stack, eventually, by_api=by_api)
    file = read_playlist_file(config.storage.metadata_dir / "playlists" / f"{PLAYLIST}.json")
    assert file is not None
    assert [look.source for look in file.listings] == ["yt_dlp", "data_api"] * 2
    assert history(config, PLAYLIST) == [
        ("first_look", None),
        ("private", COMES_BACK),
        ("deleted", sample.VIDEO_DELETED),
    ]
