"""Injected faults, and the reaction of unmodified yt-dlp to them."""

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest
import yt_dlp

from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

VIDEO = sample.VIDEO_OK
URL = f"https://www.youtube.com/watch?v={VIDEO}"
LARGE = f"https://www.youtube.com/watch?v={sample.VIDEO_LARGE}"

Download = Callable[..., dict[str, Any]]

# yt-dlp does not close the sockets of failed requests; the garbage collector does
pytestmark = pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")


class WarningRecorder:
    """Logger for yt-dlp that keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, message: str) -> None: ...

    error = debug

    def warning(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture
def emulator(emulator: EmulatorClient, monkeypatch: pytest.MonkeyPatch) -> EmulatorClient:
    """Let yt-dlp in this process trust the emulator's certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(emulator.ca_file))
    return emulator


@pytest.fixture
def recorder() -> WarningRecorder:
    return WarningRecorder()


@pytest.fixture
def download(emulator: EmulatorClient, tmp_path: Path, recorder: WarningRecorder) -> Iterator[Download]:
    def run(url: str, **options: Any) -> dict[str, Any]:
        settings = {
            "proxy": emulator.proxy_url,
            "compat_opts": {"no-certifi"},
            "ffmpeg_location": imageio_ffmpeg.get_ffmpeg_exe(),
            "format": "136",
            "outtmpl": str(tmp_path / "%(id)s.%(ext)s"),
            "logger": recorder,
            "noprogress": True,
            "cachedir": False,
            "retries": 2,
            **options,
        }
        with yt_dlp.YoutubeDL(settings) as client:
            info: dict[str, Any] = client.extract_info(url)
        return info

    yield run
    gc.collect()  # while the warning filter above applies
    emulator.reset()


def media_requests(emulator: EmulatorClient) -> list[tuple[int, int]]:
    return [(entry["status"], entry["bytes_sent"]) for entry in emulator.log(kind="media")]


def is_whole(info: dict[str, Any]) -> bool:
    size: int = info["requested_downloads"][0]["filesize"]
    return Path(info["requested_downloads"][0]["filepath"]).stat().st_size == size


def test_yt_dlp_retries_after_503(download: Download, emulator: EmulatorClient) -> None:
    emulator.add_fault("media", "status", video_id=VIDEO, status=503, times=2)

    info = download(URL)

    assert is_whole(info)
    assert [status for status, _ in media_requests(emulator)] == [503, 503, 206]


@pytest.mark.parametrize("status", [403, 429])
def test_a_refused_media_request_fails_at_once(download: Download, emulator: EmulatorClient, status: int) -> None:
    emulator.add_fault("media", "status", status=status, retry_after=7)

    with pytest.raises(yt_dlp.utils.DownloadError) as caught:
        download(URL)

    assert caught.value.exc_info[1].status == status
    assert caught.value.exc_info[1].response.headers["Retry-After"] == "7"
    assert len(media_requests(emulator)) == 1


@pytest.mark.parametrize("effect", ["reset", "truncate"])
def test_a_broken_connection_is_resumed_by_range(download: Download, emulator: EmulatorClient, effect: str) -> None:
    emulator.add_fault("media", effect, video_id=VIDEO, after=20_000, times=1)

    info = download(URL)

    assert is_whole(info)
    first, second = emulator.log(kind="media")
    assert first["bytes_sent"] == 20_000
    assert second["status"] == 206
    assert 0 < int(second["range"].removeprefix("bytes=").split("-")[0]) <= 20_000
    assert VIDEO.encode() in Path(info["requested_downloads"][0]["filepath"]).read_bytes()


def test_yt_dlp_gives_up_when_every_connection_breaks(download: Download, emulator: EmulatorClient) -> None:
    emulator.add_fault("media", "truncate", after=100)

    with pytest.raises(yt_dlp.utils.DownloadError, match=r"bytes read, \d+ more expected"):
        download(URL, retries=1)


def test_a_later_run_resumes_the_partial_file(download: Download, emulator: EmulatorClient, tmp_path: Path) -> None:
    fault = emulator.add_fault("media", "reset", video_id=sample.VIDEO_LARGE, after=3_000_000)
    with pytest.raises(yt_dlp.utils.DownloadError):
        download(LARGE, retries=0)
    part = tmp_path / f"{sample.VIDEO_LARGE}.mp4.part"
    held = part.stat().st_size
    assert 0 < held <= 3_000_000
    emulator.remove_fault(fault)
    before = emulator.last()

    info = download(LARGE)

    assert is_whole(info)
    assert info["requested_downloads"][0]["filesize"] == sample.LARGE_SIZE
    resumed = emulator.log(since=before, kind="media")
    assert resumed[0]["range"].startswith(f"bytes={held}-")
    assert sum(entry["bytes_sent"] for entry in resumed) == sample.LARGE_SIZE - held
    whole = (tmp_path / f"{sample.VIDEO_LARGE}.mp4").read_bytes()
    again = download(LARGE, outtmpl=str(tmp_path / "again.%(ext)s"))
    assert Path(again["requested_downloads"][0]["filepath"]).read_bytes() == whole


def test_a_stalled_connection_times_out_and_is_retried(download: Download, emulator: EmulatorClient) -> None:
    emulator.add_fault("media", "stall", video_id=VIDEO, after=10_000, times=1)

    info = download(URL, socket_timeout=0.5)

    assert is_whole(info)
    assert [status for status, _ in media_requests(emulator)] == [206, 206]
    # the stall ends when the client disconnects, long before its hour is over
    assert all(entry["done"] for entry in emulator.wait_for(kind="media", count=2))


def test_a_throttled_connection_keeps_its_rate(download: Download, emulator: EmulatorClient) -> None:
    emulator.add_fault("media", "throttle", video_id=VIDEO, rate=12_000)

    began = time.monotonic()
    info = download(URL, format="134")
    seconds = time.monotonic() - began

    size = info["requested_downloads"][0]["filesize"]
    assert is_whole(info)
    assert size > 15_000
    assert size / 12_000 * 0.8 < seconds < size / 12_000 + 5


def test_expired_urls_are_refused_and_new_ones_work(download: Download, emulator: EmulatorClient) -> None:
    emulator.set_url_lifetime(-1)
    with pytest.raises(yt_dlp.utils.DownloadError) as caught:
        download(URL)
    assert caught.value.exc_info[1].status == 403

    emulator.set_url_lifetime(60)
    assert is_whole(download(URL))


def test_issued_urls_can_be_expired(download: Download, emulator: EmulatorClient) -> None:
    def expire(_info: dict[str, Any], *, incomplete: bool) -> None:
        del incomplete
        emulator.expire_urls(VIDEO)

    with pytest.raises(yt_dlp.utils.DownloadError) as caught:
        download(URL, match_filter=expire)  # called after the extraction and before the download
    assert caught.value.exc_info[1].status == 403

    assert is_whole(download(URL))


def test_a_failed_player_request_is_only_a_warning(
    download: Download, emulator: EmulatorClient, recorder: WarningRecorder
) -> None:
    emulator.add_fault("player", "status", status=429)

    with pytest.raises(yt_dlp.utils.DownloadError, match="No video formats found"):
        download(URL)
    assert any("HTTP Error 429" in line for line in recorder.warnings)


def test_failed_captions_fail_the_video(download: Download, emulator: EmulatorClient) -> None:
    emulator.add_fault("caption", "status", video_id=VIDEO, status=429)

    with pytest.raises(yt_dlp.utils.DownloadError, match="Unable to download video subtitles"):
        download(URL, writesubtitles=True, ignoreerrors=False)


def test_a_fault_applies_to_matching_requests_only(download: Download, emulator: EmulatorClient) -> None:
    emulator.add_fault("media", "status", video_id=sample.VIDEO_LARGE, status=403)
    emulator.add_fault("media", "status", itag=137, status=403)
    emulator.add_fault("watch", "delay", seconds=0.2, times=1)

    began = time.monotonic()
    assert is_whole(download(URL))
    assert time.monotonic() - began >= 0.2
    with pytest.raises(yt_dlp.utils.DownloadError):
        download(URL, format="137", outtmpl="other.mp4")
    assert len(emulator.state()["faults"]) == 3
    emulator.clear_faults()
    assert emulator.state()["faults"] == []
