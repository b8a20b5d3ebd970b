"""The operation `list` of a real yt-dlp child, with the emulator."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import pytest
import pytest_asyncio

from services.common.domain.videos import Entry, PlaylistMetadata, Target, TargetKind
from services.common.settings.load import load_config
from services.common.youtube.process import ChildFailed, YtDlpChild
from services.common.youtube.settings import ChildSettings
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample
from ytarchive.emulator.situations import ALBUM, ALBUM_PLAYLIST

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLAYLIST = TargetKind.PLAYLIST
CHANNEL = TargetKind.CHANNEL
TIMEOUT = 60
ALBUM_REQUESTS = ["resolve", "browse", "playlist_page", "browse"]


class ListingResult:
    """The messages of a listing: its metadata, and its pages as (offset, lines, entries)."""

    def __init__(self) -> None:
        self.playlists: list[PlaylistMetadata] = []
        self.pages: list[tuple[int, int, list[Entry]]] = []
        self.first_page = asyncio.Event()

    async def add(self, message: dict[str, Any]) -> None:
        if "playlist" in message:
            assert not self.pages
            self.playlists.append(PlaylistMetadata.model_validate(message["playlist"]))
            return
        page = message["page"]
        self.pages.append((page["offset"], page["lines"], [Entry.model_validate(entry) for entry in page["entries"]]))
        self.first_page.set()

    @property
    def entries(self) -> list[Entry]:
        return [entry for _, _, entries in self.pages for entry in entries]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lister(emulator_child: EmulatorClient, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[YtDlpChild]:
    env = {
        "YTARCHIVE_YOUTUBE__PROXY": emulator_child.proxy_url,
        "YTARCHIVE_YOUTUBE__CA_FILE": str(emulator_child.ca_file),
    }
    settings = ChildSettings.of(load_config(env=env, cwd=tmp_path_factory.mktemp("home")))
    settings.options["extractor_retries"] = 1  # each retry sleeps
    child = YtDlpChild(settings)
    yield child
    await child.kill()


@pytest.fixture
def child(lister: YtDlpChild, emulator: EmulatorClient) -> YtDlpChild:
    """The child of the module, with the emulator in its initial state."""
    return lister


async def listed(child: YtDlpChild, kind: TargetKind, id: str, offset: int = 0) -> ListingResult:
    result = ListingResult()
    request = {"target": Target(kind=kind, id=id).model_dump(mode="json"), "offset": offset}
    async with asyncio.timeout(TIMEOUT):
        await child.run("list", request, on_message=result.add)
    return result


def requests(emulator: EmulatorClient) -> list[str]:
    return [entry["kind"] for entry in emulator.log()]


@pytest.mark.parametrize(
    ("playlist", "pages", "asked"),
    [
        (sample.PLAYLIST_3, [3], ["playlist_page", "browse"]),
        (sample.PLAYLIST_20, [20], ["playlist_page", "browse"]),
        (sample.PLAYLIST_250, [100, 100, 50], ["playlist_page", "browse", "browse", "browse"]),
    ],
)
async def test_a_playlist_is_listed_in_pages_and_in_order(
    child: YtDlpChild, emulator: EmulatorClient, playlist: str, pages: list[int], asked: list[str]
) -> None:
    result = await listed(child, PLAYLIST, playlist)
    assert [lines for _, lines, _ in result.pages] == pages
    assert [offset for offset, _, _ in result.pages] == [sum(pages[:n]) for n in range(len(pages))]
    assert [entry.position for entry in result.entries] == list(range(sum(pages)))
    assert len({entry.video_id for entry in result.entries}) == sum(pages)
    assert requests(emulator) == asked


async def test_the_metadata_of_a_playlist_precede_its_pages(child: YtDlpChild, emulator: EmulatorClient) -> None:
    result = await listed(child, PLAYLIST, sample.PLAYLIST_20)
    assert result.playlists == [
        PlaylistMetadata(
            playlist_id=sample.PLAYLIST_20,
            title="A playlist of 20",
            description="20 short videos.",
            channel="Loopback Lectures",
            channel_id=sample.CHANNEL,
            channel_handle=sample.CHANNEL_HANDLE,
            entry_count=20,
            webpage_url=f"https://www.youtube.com/playlist?list={sample.PLAYLIST_20}",
            availability="public",
        )
    ]
    first = result.entries[0]
    assert (first.title, first.duration_seconds, first.channel) == ("Part 1 of 20", 2.0, "Loopback Lectures")


async def test_unavailable_videos_are_listed_and_marked(child: YtDlpChild) -> None:
    result = await listed(child, PLAYLIST, sample.PLAYLIST_250)
    marks = {entry.position: entry.marked for entry in result.entries if entry.marked}
    expected = dict.fromkeys(sample.PLAYLIST_250_DELETED, "deleted") | dict.fromkeys(
        sample.PLAYLIST_250_PRIVATE, "private"
    )
    assert marks == expected


async def test_an_available_video_titled_deleted_video_is_not_marked(
    child: YtDlpChild, emulator: EmulatorClient
) -> None:
    emulator.put_video("a-real-one1", title="[Deleted video]", channel=sample.CHANNEL)
    emulator.put_playlist("PLtitles0000000000", title="x", channel=sample.CHANNEL, entries=["a-real-one1"])
    result = await listed(child, PLAYLIST, "PLtitles0000000000")
    assert [(entry.title, entry.marked) for entry in result.entries] == [("[Deleted video]", None)]


async def test_the_first_page_is_sent_before_the_second_is_read(child: YtDlpChild, emulator: EmulatorClient) -> None:
    emulator.add_fault("browse", "delay", seconds=0, times=1)  # the first browse request adds the unavailable entries
    emulator.add_fault("browse", "delay", seconds=3600)
    result = ListingResult()
    request = {"target": Target(kind=PLAYLIST, id=sample.PLAYLIST_250).model_dump(mode="json")}
    listing = asyncio.create_task(child.run("list", request, on_message=result.add))
    async with asyncio.timeout(TIMEOUT):
        await result.first_page.wait()
    assert not listing.done()
    assert [lines for _, lines, _ in result.pages] == [100]
    listing.cancel()
    await asyncio.gather(listing, return_exceptions=True)
    assert not child.alive  # a cancelled listing ends its child


async def test_an_offset_skips_the_entries_before_it(child: YtDlpChild) -> None:
    result = await listed(child, PLAYLIST, sample.PLAYLIST_250, offset=130)
    assert [(offset, lines) for offset, lines, _ in result.pages] == [(130, 100), (230, 20)]
    assert [entry.position for entry in result.entries] == list(range(130, 250))


async def test_an_offset_beyond_the_end_lists_nothing(child: YtDlpChild) -> None:
    result = await listed(child, PLAYLIST, sample.PLAYLIST_3, offset=200)
    assert result.playlists
    assert not result.pages


@pytest.mark.parametrize(
    ("id", "title", "asked"),
    [
        (sample.CHANNEL_HANDLE, "Loopback Lectures", ["channel_page", "playlist_page", "browse"]),
        (f"c/{sample.CHANNEL_OLD_NAME}", "Loopback Lectures", ["channel_page", "playlist_page", "browse"]),
        (f"user/{sample.CHANNEL_OLD_NAME}", "Loopback Lectures", ["channel_page", "playlist_page", "browse"]),
        (sample.CHANNEL, "Loopback Lectures", ["playlist_page", "browse"]),
    ],
)
async def test_a_channel_is_listed_as_its_uploads(
    child: YtDlpChild, emulator: EmulatorClient, id: str, title: str, asked: list[str]
) -> None:
    result = await listed(child, CHANNEL, id)
    (playlist,) = result.playlists
    assert playlist.playlist_id == sample.UPLOADS_PLAYLIST
    assert playlist.title == playlist.channel == title
    assert (playlist.channel_id, playlist.channel_handle) == (sample.CHANNEL, sample.CHANNEL_HANDLE)
    assert len(result.entries) == sample.CHANNEL_UPLOADS
    assert requests(emulator) == asked


async def test_an_album_is_listed_as_its_playlist(child: YtDlpChild, emulator: EmulatorClient) -> None:
    emulator.begin("album")
    result = await listed(child, PLAYLIST, ALBUM)
    assert result.playlists[0].playlist_id == ALBUM_PLAYLIST
    assert len(result.entries) == 3
    # no more requests than yt-dlp itself, which tests/integration/test_emulator_listing.py counts
    assert requests(emulator) == ALBUM_REQUESTS


async def test_the_list_of_an_account_is_not_shown_to_others(child: YtDlpChild, emulator: EmulatorClient) -> None:
    emulator.begin("private_lists")
    with pytest.raises(ChildFailed, match="YouTube shows Watch later to its owner only") as failed:
        await listed(child, PLAYLIST, "WL")
    assert failed.value.facts.type == "OwnersOnly"


async def test_an_empty_playlist_has_no_pages(child: YtDlpChild, emulator: EmulatorClient) -> None:
    emulator.put_playlist("PLempty00000000000", title="Nothing yet", channel=sample.CHANNEL, entries=[])
    result = await listed(child, PLAYLIST, "PLempty00000000000")
    assert result.playlists[0].title == "Nothing yet"
    assert not result.pages


async def test_a_missing_playlist_fails_and_the_child_keeps_running(child: YtDlpChild) -> None:
    with pytest.raises(ChildFailed, match="does not exist"):
        await listed(child, PLAYLIST, sample.PLAYLIST_MISSING)
    pid = child.pid
    assert (await listed(child, PLAYLIST, sample.PLAYLIST_3)).entries
    assert child.pid == pid


async def test_a_missing_channel_fails_with_its_status(child: YtDlpChild) -> None:
    with pytest.raises(ChildFailed) as failed:
        await listed(child, CHANNEL, "@nobody_is_here")
    assert failed.value.facts.status == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize("status", [429, 503])
async def test_an_error_between_two_pages_fails_the_listing(
    child: YtDlpChild, emulator: EmulatorClient, status: int
) -> None:
    emulator.add_fault("browse", "delay", seconds=0, times=1)
    emulator.add_fault("browse", "status", status=status)
    result = ListingResult()
    request = {"target": Target(kind=PLAYLIST, id=sample.PLAYLIST_250).model_dump(mode="json")}
    with pytest.raises(ChildFailed) as failed:
        await child.run("list", request, on_message=result.add)
    assert failed.value.facts.status == status
    assert len(result.entries) == 100


async def test_a_transient_error_between_two_pages_is_retried(child: YtDlpChild, emulator: EmulatorClient) -> None:
    emulator.add_fault("browse", "delay", seconds=0, times=1)
    emulator.add_fault("browse", "status", status=503, times=1)
    result = await listed(child, PLAYLIST, sample.PLAYLIST_250)
    assert len(result.entries) == 250
