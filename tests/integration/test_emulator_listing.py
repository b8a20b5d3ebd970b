"""Unmodified yt-dlp lists playlists and channels of the emulator."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yt_dlp

from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample
from ytarchive.emulator.situations import ALBUM, ALBUM_PLAYLIST

PLAYLIST = "https://www.youtube.com/playlist?list="

Listing = Callable[..., dict[str, Any]]


# yt-dlp does not close the sockets of failed requests; the garbage collector does
pytestmark = pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")


class SilentLogger:
    """Logger for yt-dlp that discards all messages."""

    def debug(self, message: str) -> None: ...

    warning = error = debug


@pytest.fixture
def emulator(emulator: EmulatorClient, monkeypatch: pytest.MonkeyPatch) -> EmulatorClient:
    """Let yt-dlp in this process trust the emulator's certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(emulator.ca_file))
    return emulator


@pytest.fixture
def listing(emulator: EmulatorClient) -> Iterator[Listing]:
    """Return a function that lists a URL with yt-dlp and returns the info dict with its entries."""

    def run(url: str, *compat: str, **options: str) -> dict[str, Any]:
        settings = {
            "proxy": emulator.proxy_url,
            "compat_opts": {"no-certifi", *compat},
            "extract_flat": "in_playlist",
            "extractor_retries": 0,
            "logger": SilentLogger(),
            "cachedir": False,
            **options,
        }
        with yt_dlp.YoutubeDL(settings) as client:
            info: dict[str, Any] = client.sanitize_info(client.extract_info(url, download=False))
        return info

    yield run
    gc.collect()  # while the warning filter above applies
    emulator.reset()


def ids(info: dict[str, Any]) -> list[str]:
    return [entry["id"] for entry in info["entries"]]


def test_the_demo_playlist_is_listed_with_its_unavailable_videos(listing: Listing) -> None:
    info = listing(PLAYLIST + sample.DEMO_PLAYLIST)

    assert (info["title"], info["playlist_count"], len(info["entries"])) == ("YTArchive demo", 12, 12)
    assert (info["uploader"], info["channel_id"]) == ("Loopback Lectures", sample.CHANNEL)
    assert info["description"] == "Twelve short films, two of them no longer available."
    entries = {entry["id"]: entry for entry in info["entries"]}
    assert (entries[sample.VIDEO_DELETED]["title"], entries[sample.VIDEO_DELETED]["duration"]) == (
        "[Deleted video]",
        None,
    )
    assert entries[sample.VIDEO_PRIVATE]["title"] == "[Private video]"
    assert entries[sample.VIDEO_OK]["duration"] == 2
    assert entries[sample.VIDEO_OK]["channel_id"] == sample.CHANNEL
    assert entries[sample.VIDEO_HOSTILE_TITLE]["title"] == sample.HOSTILE_TITLE


def test_a_playlist_of_250_comes_in_pages_of_100(listing: Listing, emulator: EmulatorClient) -> None:
    info = listing(PLAYLIST + sample.PLAYLIST_250)

    titles = [entry["title"] for entry in info["entries"]]
    assert len(titles) == 250
    assert [n for n, title in enumerate(titles) if title == "[Deleted video]"] == [*sample.PLAYLIST_250_DELETED]
    assert [n for n, title in enumerate(titles) if title == "[Private video]"] == [*sample.PLAYLIST_250_PRIVATE]
    assert len(set(ids(info))) == 250
    assert [entry["kind"] for entry in emulator.log()] == ["playlist_page", "browse", "browse", "browse"]


def test_the_default_page_of_a_playlist_hides_unavailable_videos(listing: Listing) -> None:
    info = listing(PLAYLIST + sample.PLAYLIST_250, "no-youtube-unavailable-videos")
    assert len(info["entries"]) == 250 - len(sample.PLAYLIST_250_DELETED) - len(sample.PLAYLIST_250_PRIVATE)
    assert {entry["duration"] for entry in info["entries"]} == {2}


@pytest.mark.parametrize(
    ("playlist", "count"), [(sample.PLAYLIST_3, 3), (sample.PLAYLIST_20, 20), (sample.PLAYLIST_120, 120)]
)
def test_playlists_of_several_sizes_are_listed_completely(listing: Listing, playlist: str, count: int) -> None:
    assert len(ids(listing(PLAYLIST + playlist))) == count


def test_a_playlist_of_any_size_can_be_created(listing: Listing, emulator: EmulatorClient) -> None:
    emulator.put_playlist("PLmany000000000000", count=1201, channel=sample.CHANNEL, deleted=[0, 1200])

    info = listing(PLAYLIST + "PLmany000000000000")

    assert len(set(ids(info))) == 1201
    assert [info["entries"][n]["title"] for n in (0, 1, 1200)] == [
        "[Deleted video]",
        "Part 2 of 1201",
        "[Deleted video]",
    ]


@pytest.mark.parametrize(
    "address",
    [
        sample.CHANNEL_HANDLE,
        f"{sample.CHANNEL_HANDLE}/videos",
        sample.CHANNEL_HANDLE.lower(),
        f"channel/{sample.CHANNEL}",
        f"c/{sample.CHANNEL_OLD_NAME}",
        f"user/{sample.CHANNEL_OLD_NAME}",
        sample.CHANNEL_OLD_NAME,
    ],
)
def test_a_channel_is_listed_by_any_of_its_addresses(listing: Listing, address: str) -> None:
    info = listing(f"https://www.youtube.com/{address}")

    assert (info["channel_id"], info["channel"], info["uploader_id"]) == (
        sample.CHANNEL,
        "Loopback Lectures",
        sample.CHANNEL_HANDLE,
    )
    assert ids(info) == [f"upload-{n:04d}" for n in range(sample.CHANNEL_UPLOADS, 0, -1)]
    assert {entry["duration"] for entry in info["entries"]} == {2}


def test_upcoming_and_live_videos_are_marked_in_listings(listing: Listing, emulator: EmulatorClient) -> None:
    emulator.put_channel(sample.OTHER_CHANNEL, handle=sample.OTHER_CHANNEL_HANDLE, title="Second Source",
                         uploads=[sample.KINDS["upcoming"], sample.VIDEO_LIVE, sample.VIDEO_OK])  # fmt: skip
    for address in (f"playlist?list=UU{sample.OTHER_CHANNEL[2:]}", sample.OTHER_CHANNEL_HANDLE):
        entries = listing(f"https://www.youtube.com/{address}")["entries"]
        assert [(entry["live_status"], entry["duration"]) for entry in entries] == [
            ("is_upcoming", None),
            ("is_live", None),
            (None, 2),
        ]


def test_the_uploads_playlist_hides_unavailable_videos(listing: Listing, emulator: EmulatorClient) -> None:
    emulator.set_kind("upload-0036", "private")

    info = listing(PLAYLIST + sample.UPLOADS_PLAYLIST)

    assert (info["title"], info["channel_id"]) == ("Uploads from Loopback Lectures", sample.CHANNEL)
    assert len(info["entries"]) == sample.CHANNEL_UPLOADS - 1
    assert "upload-0036" not in ids(info)


def test_an_empty_channel_has_an_empty_listing(listing: Listing) -> None:
    assert listing(f"https://www.youtube.com/{sample.OTHER_CHANNEL_HANDLE}")["entries"] == []


def test_a_video_inside_a_playlist_leads_to_the_playlist(listing: Listing) -> None:
    address = f"https://www.youtube.com/watch?v={sample.VIDEO_OK}&list={sample.DEMO_PLAYLIST}"
    info = listing(address)
    assert info["id"] == sample.DEMO_PLAYLIST
    assert info["_type"] in ("url", "playlist")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (f"playlist?list={sample.PLAYLIST_MISSING}", "The playlist does not exist"),
        ("@nobody", "HTTP Error 404"),
        (f"{sample.CHANNEL_HANDLE}/shorts", "does not have a shorts tab"),
    ],
)
def test_missing_targets_fail_with_youtubes_message(listing: Listing, address: str, message: str) -> None:
    with pytest.raises(yt_dlp.utils.DownloadError, match=message):
        listing(f"https://www.youtube.com/{address}")


def test_an_album_leads_to_its_playlist(listing: Listing, emulator: EmulatorClient) -> None:
    emulator.begin("album")
    since = emulator.last()

    info = listing(f"https://music.youtube.com/browse/{ALBUM}")

    assert (info["id"], len(info["entries"])) == (ALBUM_PLAYLIST, 3)
    asked = [entry["kind"] for entry in emulator.log(since=since)]
    assert asked == ["resolve", "browse", "playlist_page", "browse"]


@pytest.mark.parametrize(("list_id", "title"), [("WL", "Watch later"), ("LL", "Liked videos")])
def test_the_list_of_an_account_is_shown_with_its_cookies_only(
    listing: Listing, emulator: EmulatorClient, tmp_path: Path, list_id: str, title: str
) -> None:
    emulator.begin("private_lists")
    cookies = tmp_path / "cookies.txt"
    lines = (f".youtube.com\tTRUE\t/\tTRUE\t4102444800\t{name}\tx\n" for name in ("SAPISID", "LOGIN_INFO"))
    cookies.write_text("# Netscape HTTP Cookie File\n" + "".join(lines))

    with pytest.raises(yt_dlp.utils.DownloadError, match="does not exist"):
        listing(PLAYLIST + list_id)
    info = listing(PLAYLIST + list_id, cookiefile=str(cookies))

    assert (info["title"], info["availability"], len(info["entries"])) == (title, "private", 3)
