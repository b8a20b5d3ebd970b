"""Streams that YouTube serves and the emulator does not (VP9, Opus): they also end in an mp4 or an m4a."""

import gc
import subprocess
import warnings
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from yt_dlp.utils import DownloadError

from services.common.settings.load import YouTube
from services.common.youtube.child.media import MediaIncomplete, fetch_media, is_audio
from services.common.youtube.child.session import Session
from services.common.youtube.messages import Downloading
from services.common.youtube.options import base_options
from services.common.youtube.tools import find_ffmpeg

VIDEO = "dQw4w9WgXcQ"
FFMPEG = str(find_ffmpeg())
PICTURE = ("-f", "lavfi", "-i", "testsrc2=s=160x90:r=5:d=1")
SOUND = ("-f", "lavfi", "-i", "sine=d=1")


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Discard the message."""


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a folder with WebM streams."""
    folder = tmp_path_factory.mktemp("streams")
    for name, arguments in {
        "video.webm": (*PICTURE, "-c:v", "libvpx-vp9"),
        "audio.webm": (*SOUND, "-c:a", "libopus"),
        "both.webm": (*PICTURE, *SOUND, "-c:v", "libvpx-vp9", "-c:a", "libopus"),
    }.items():
        subprocess.run([FFMPEG, "-v", "error", *arguments, str(folder / name)], check=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def stream(url: str, vcodec: str, acodec: str, **more: Any) -> dict[str, Any]:
    return {"format_id": Path(url).stem, "url": url, "ext": "webm", "vcodec": vcodec, "acodec": acodec, **more}


def fetch(directory: Path, streams: list[dict[str, Any]], selector: str, **more: Any) -> tuple[Path, list[Downloading]]:
    options = base_options(YouTube(proxy=""), socket_timeout=5, ffmpeg=Path(FFMPEG))
    session = Session(options | {"fragment_retries": 1})
    params = session.ydl.params
    params["paths"], params["merge_output_format"] = {"home": str(directory)}, "mp4"
    params["outtmpl"]["default"] = f"{VIDEO}.%(ext)s"
    session.ydl.format_selector = session.ydl.build_format_selector(selector)
    raw = {"id": VIDEO, "title": "x", "extractor": "youtube", "extractor_key": "Youtube", "webpage_url": "http://x/"}
    info = session.ydl.process_ie_result({**raw, **more, "formats": streams}, download=False)
    directory.mkdir()
    told: list[Downloading] = []
    try:
        path = fetch_media(session, info, directory, audio=is_audio(info), connections=2, tell=told.append)
    finally:
        session.ydl.close()
    return path, told


def ffmpeg_report(path: Path) -> str:
    ran = subprocess.run([FFMPEG, "-i", str(path)], capture_output=True, text=True, check=False)
    return ran.stderr


def test_two_webm_streams_are_merged_into_an_mp4(streams: str, tmp_path: Path) -> None:
    formats = [stream(f"{streams}/video.webm", "vp9", "none"), stream(f"{streams}/audio.webm", "none", "opus")]
    path, told = fetch(tmp_path / "work", formats, "bv*+ba/b")
    assert path.name == f"{VIDEO}.mp4"
    text = ffmpeg_report(path)
    assert "Video: vp9" in text
    assert "Audio: opus" in text
    assert told[-1].downloaded > 0


def test_one_webm_stream_is_remuxed_into_an_mp4(streams: str, tmp_path: Path) -> None:
    path, _ = fetch(tmp_path / "work", [stream(f"{streams}/both.webm", "vp9", "opus")], "b")
    assert path.name == f"{VIDEO}.mp4"
    assert "Video: vp9" in ffmpeg_report(path)


def test_opus_is_transcoded_for_an_m4a(streams: str, tmp_path: Path) -> None:
    path, _ = fetch(tmp_path / "work", [stream(f"{streams}/audio.webm", "none", "opus")], "ba")
    assert path.name == f"{VIDEO}.m4a"
    assert "Audio: aac" in ffmpeg_report(path)


def test_a_stream_shorter_than_announced_is_refused(streams: str, tmp_path: Path) -> None:
    announced = stream(f"{streams}/both.webm", "vp9", "opus", filesize=10_000_000)
    with pytest.raises(MediaIncomplete, match="10000000 expected"):
        fetch(tmp_path / "work", [announced], "b")
    assert list((tmp_path / "work").glob("*.webm")) == []


@pytest.fixture
def fragments(tmp_path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder with a stream of six fragments of 2 s, and its format."""
    folder = tmp_path / "hls"
    folder.mkdir()
    picture = ("-f", "lavfi", "-i", "testsrc2=s=160x90:r=5:d=12", "-c:v", "libx264", "-g", "10", "-keyint_min", "10")
    made = [*picture, "-f", "hls", "-hls_time", "2", "-hls_list_size", "0", str(folder / "index.m3u8")]
    subprocess.run([FFMPEG, "-v", "error", *made], check=True)
    assert len(list(folder.glob("*.ts"))) == 6
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/index.m3u8"
    yield folder, stream(url, "avc1.42C01F", "none") | {"ext": "mp4", "protocol": "m3u8_native"}
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_stream_of_fragments_is_saved_whole(tmp_path: Path, fragments: tuple[Path, dict[str, Any]]) -> None:
    _folder, hls = fragments
    path, _ = fetch(tmp_path / "work", [hls], "bv", duration=12)
    assert "Duration: 00:00:12" in ffmpeg_report(path)


def test_a_fragment_that_cannot_be_had_fails_the_download(
    tmp_path: Path, fragments: tuple[Path, dict[str, Any]]
) -> None:
    """By default yt-dlp leaves a hole, and reports success."""
    folder, hls = fragments
    (folder / "index2.ts").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # yt-dlp leaves the connection of a failed fragment open
        with pytest.raises(DownloadError, match="404"):
            fetch(tmp_path / "work", [hls], "bv", duration=12)
        gc.collect()
    assert list((tmp_path / "work").glob("*.mp4")) == []


def test_a_download_that_is_shorter_than_the_video_is_refused(
    tmp_path: Path, fragments: tuple[Path, dict[str, Any]]
) -> None:
    folder, hls = fragments
    lines = (folder / "index.m3u8").read_text().splitlines()
    end = lines.index("index3.ts") - 1
    (folder / "index.m3u8").write_text("\n".join([*lines[:end], "#EXT-X-ENDLIST", ""]))
    with pytest.raises(MediaIncomplete, match="6 s long, 12 s were announced"):
        fetch(tmp_path / "work", [hls], "bv", duration=12)
    assert list((tmp_path / "work").glob("*.mp4")) == []
