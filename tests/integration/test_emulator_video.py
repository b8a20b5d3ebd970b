"""Unmodified yt-dlp downloads from the emulator: files, refusals, thumbnails."""

import gc
import hashlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest
import yt_dlp

from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

WATCH = "https://www.youtube.com/watch?v="
FFMPEG = str(imageio_ffmpeg.get_ffmpeg_exe())

Download = Callable[..., dict[str, Any]]


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
def download(emulator: EmulatorClient, tmp_path: Path) -> Iterator[Download]:
    """Return a function that downloads (`fetch=False`: only extracts) with yt-dlp and returns the info dict."""

    def run(url: str, *, fetch: bool = True, **options: Any) -> dict[str, Any]:
        settings = {
            "proxy": emulator.proxy_url,
            "compat_opts": {"no-certifi"},
            "ffmpeg_location": FFMPEG,
            "format": "bv*[ext=mp4]+ba[ext=m4a]/b",
            "outtmpl": str(tmp_path / "%(id)s.%(ext)s"),
            "logger": SilentLogger(),
            "noprogress": True,
            "cachedir": False,
            **options,
        }
        with yt_dlp.YoutubeDL(settings) as client:
            info: dict[str, Any] = client.extract_info(url, download=fetch)
        return info

    yield run
    gc.collect()  # while the warning filter above applies
    emulator.reset()


def media_file(info: dict[str, Any]) -> Path:
    return Path(info["requested_downloads"][0]["filepath"])


def decode(path: Path) -> subprocess.CompletedProcess[str]:
    command = [FFMPEG, "-v", "error", "-xerror", "-i", str(path), "-f", "null", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.claim("15.3")
def test_a_video_is_downloaded_with_captions_and_thumbnail(download: Download, tmp_path: Path) -> None:
    video = sample.VIDEO_TWO_CAPTIONS
    info = download(WATCH + video, writesubtitles=True, subtitleslangs=["all"], writethumbnail=True)

    assert (info["format_id"], info["width"], info["height"]) == ("137+140", 1920, 1080)
    assert (info["title"], info["channel"], info["channel_id"], info["uploader_id"]) == (
        "Part 2: in two languages",
        "Loopback Lectures",
        sample.CHANNEL,
        sample.CHANNEL_HANDLE,
    )
    assert (info["upload_date"], info["duration"], info["like_count"]) == ("20240301", 2, 10)
    assert decode(media_file(info)).stderr == ""
    assert f"video={video} itag=137".encode() in media_file(info).read_bytes()
    for language in ("en", "de"):
        text = (tmp_path / f"{video}.{language}.vtt").read_text()
        assert text.startswith("WEBVTT\n")
        assert f"{video} says hello ({language})" in text
    picture = (tmp_path / f"{video}.webp").read_bytes()
    assert picture[:4] == b"RIFF"
    assert video.encode() in picture


def test_every_archived_file_differs(download: Download, emulator: EmulatorClient) -> None:
    """Including videos with the same clip, in every format, and after a remux."""
    emulator.put_playlist("PLdiffers000000000", count=6, channel=sample.CHANNEL)
    ids = emulator.state()["playlists"]["PLdiffers000000000"]["entries"]

    for wanted in ("134+140", "18", "140", "133"):
        files = [media_file(download(WATCH + v, format=wanted, overwrites=True)) for v in ids]
        assert [(decode(file).returncode, decode(file).stderr) for file in files] == [(0, "")] * len(ids)
        assert len({hashlib.sha256(file.read_bytes()).hexdigest() for file in files}) == len(ids)
        assert all(v.encode() in file.read_bytes() for v, file in zip(ids, files, strict=True))
        for file in files:
            file.unlink()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("private", "Private video. Sign in if you've been granted access"),
        ("deleted", "Video unavailable. This video has been removed by the uploader"),
        ("missing", "Video unavailable. This video isn't available anymore"),
        (
            "terminated",
            "Video unavailable. This video is no longer available because the YouTube account"
            " associated with this video has been terminated",
        ),
        ("copyright", "Video unavailable. This video contains content from Example Records"),
        ("geo", "The uploader has not made this video available in your country"),
        ("age", "Sign in to confirm your age"),
        ("members", "This video is available to this channel's members"),
        ("upcoming", "This live event will begin in 3 hours"),
        ("premiere", "Premieres in 3 hours"),
        ("ended_live", "This live stream recording is not available"),
        ("bot_check", "Sign in to confirm you\N{RIGHT SINGLE QUOTATION MARK}re not a bot"),
        (
            "rate_limit",
            "Video unavailable. This content isn't available, try again later."
            " The current session has been rate-limited",
        ),
    ],
)
def test_every_kind_of_refusal_is_worded_as_youtube_does(download: Download, kind: str, message: str) -> None:
    with pytest.raises(yt_dlp.utils.DownloadError) as caught:
        download(WATCH + sample.KINDS[kind])

    error = caught.value.exc_info[1]
    assert error.expected
    assert error.orig_msg.startswith(message)
    assert getattr(error, "countries", None) == (["DE", "FR"] if kind == "geo" else None)


def test_a_live_stream_is_recognized(download: Download) -> None:
    info = download(WATCH + sample.VIDEO_LIVE, fetch=False)
    assert (info["live_status"], info.get("duration")) == ("is_live", None)
    assert {f["height"] for f in info["formats"]} == {360, 720}


def test_every_kind_has_a_sample(emulator: EmulatorClient) -> None:
    videos = emulator.state()["videos"]
    assert {kind: videos[video]["kind"] for kind, video in sample.KINDS.items()} == {k: k for k in sample.KINDS}


def test_a_video_can_turn_private_and_become_available_again(download: Download, emulator: EmulatorClient) -> None:
    emulator.set_kind(sample.VIDEO_OK, "private")
    with pytest.raises(yt_dlp.utils.DownloadError, match="Private video"):
        download(WATCH + sample.VIDEO_OK)

    emulator.set_kind(sample.VIDEO_OK, "ok")
    assert media_file(download(WATCH + sample.VIDEO_OK)).exists()


def test_a_blocked_address_cannot_play_any_video(download: Download, emulator: EmulatorClient) -> None:
    emulator.set_kind("*", "bot_check")
    with pytest.raises(yt_dlp.utils.DownloadError, match="not a bot"):
        download(WATCH + sample.VIDEO_OK, fetch=False)

    emulator.set_kind("*", "ok")
    assert download(WATCH + sample.VIDEO_OK, fetch=False)["id"] == sample.VIDEO_OK


@pytest.mark.parametrize(
    ("video", "formats"),
    [
        (sample.VIDEO_480P, {"160", "133", "134", "135", "140", "18"}),
        (sample.VIDEO_2160P, {"160", "133", "134", "135", "136", "137", "264", "266", "140", "18"}),
    ],
)
def test_a_video_has_its_configured_heights(download: Download, video: str, formats: set[str]) -> None:
    info = download(WATCH + video)

    assert {f["format_id"] for f in info["formats"]} == formats
    assert all(f["filesize"] > 0 for f in info["formats"])
    assert decode(media_file(info)).returncode == 0


def test_an_old_video_lacks_the_large_thumbnails(download: Download, emulator: EmulatorClient, tmp_path: Path) -> None:
    download(WATCH + sample.VIDEO_NO_MAXRES, writethumbnail=True, skip_download=True)

    assert (tmp_path / f"{sample.VIDEO_NO_MAXRES}.jpg").read_bytes()[:2] == b"\xff\xd8"
    tries = emulator.log(kind="thumbnail")
    assert tries[0]["path"] == f"/vi_webp/{sample.VIDEO_NO_MAXRES}/maxresdefault.webp"
    assert tries[-1]["path"] == f"/vi/{sample.VIDEO_NO_MAXRES}/hqdefault.jpg"
    assert {entry["status"] for entry in tries[:-1]} == {404}


def test_automatic_captions_are_listed_separately(download: Download) -> None:
    info = download(WATCH + sample.VIDEO_AUTO_CAPTIONS, fetch=False)
    assert info["subtitles"] == {}
    assert set(info["automatic_captions"]) == {"en", "en-orig"}


@pytest.mark.parametrize("form", ["youtu.be/{}", "www.youtube.com/shorts/{}", "m.youtube.com/watch?v={}&t=1s",
                                  "www.youtube.com/live/{}", "www.youtube.com/embed/{}"])  # fmt: skip
def test_every_form_of_url_refers_to_the_video(download: Download, form: str) -> None:
    address = form.format(sample.VIDEO_LEADING_DASH)
    assert download(f"https://{address}", fetch=False)["id"] == sample.VIDEO_LEADING_DASH
