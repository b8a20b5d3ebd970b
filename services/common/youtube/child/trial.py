"""The operation `try`: whether this yt-dlp has what we use of it, private parts included. No request leaves it.

Request:  {"folder": where yt-dlp must come from}
Messages: {"version": …}

The extractors of YouTube load and take our URLs; from made-up formats the best is selected; a video, its captions and a
picture are read from `data:` URLs, with our own code for all of it.
"""

import base64
import io
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yt_dlp
from yt_dlp.networking import Request

from services.common.youtube.child.captions import fetch_caption, problem_of
from services.common.youtube.child.fetch import select
from services.common.youtube.child.media import fetch_media
from services.common.youtube.child.session import Session, session
from services.common.youtube.child.video import public_info, video_metadata
from services.common.youtube.messages import Downloading, FormatChoice

_VIDEO_ID = "trial-00000"
_OTHER_OPERATIONS = ("services.common.youtube.child.listing", "services.common.youtube.child.offer")
_EXTRACTORS = {
    "Youtube": f"https://www.youtube.com/watch?v={_VIDEO_ID}",
    "YoutubeTab": "https://www.youtube.com/playlist?list=PLtrial00000000000000000000000000",
}
_MEDIA = bytes(range(256)) * 64
_CAPTION = b"WEBVTT\n\n00:00.000 --> 00:01.000\ntrial\n"


class Unsuitable(Exception):
    """This yt-dlp does not do what we need of it."""


def run(request: dict[str, Any], options: dict[str, Any], emit: Callable[[dict[str, Any]], None]) -> None:
    """Emit the version. Raise Unsuitable, or whatever yt-dlp raises."""
    source, folder = Path(yt_dlp.__file__).resolve(), Path(request["folder"]).resolve()
    _require(source.is_relative_to(folder), f"yt-dlp was loaded from {source}, not from {folder}")
    for operation in _OTHER_OPERATIONS:  # they import what they need of yt-dlp
        import_module(operation)
    tried = session(options)
    for name, url in _EXTRACTORS.items():
        _require(tried.ydl.get_info_extractor(name).suitable(url), f"its extractor {name} does not take {url}")
    tried.ydl.cookiejar.save(io.StringIO())
    with TemporaryDirectory() as directory:
        _try_download(tried, Path(directory))
    emit({"version": yt_dlp.version.__version__})


def _try_download(tried: Session, directory: Path) -> None:
    raw = _extraction()
    found = select(tried.ydl, raw, FormatChoice(selector="bv*+ba/b", sort=("res:480",), audio=False, original=True))
    _require(found.get("format_id") == "18", f"it selected the format {found.get('format_id')} instead of 18")
    _require(video_metadata(found).video_id == _VIDEO_ID, "its result has another id")
    public_info(tried.ydl.sanitize_info(found, remove_private_keys=True))
    caption = directory / f"{_VIDEO_ID}_en.vtt"
    track = {"url": _data_url("text/vtt", _CAPTION), "ext": "vtt"}
    _require(fetch_caption(tried.ydl, found, track, caption), f"captions: {'; '.join(tried.warnings)}")
    _require(problem_of(caption) is None, "captions are not stored as they are")
    with tried.ydl.urlopen(Request(_data_url("image/jpeg", _MEDIA))) as answer:
        _require(answer.read(len(_MEDIA) + 1) == _MEDIA, "a picture is not read as it is")
    params = tried.ydl.params
    params["paths"] = {"home": str(directory)}
    params["outtmpl"]["default"] = f"{_VIDEO_ID}.%(ext)s"
    progress: list[Downloading] = []
    media = fetch_media(tried, found, directory, audio=False, connections=1, tell=progress.append)
    _require(media.read_bytes() == _MEDIA, "a video is not stored as it is")
    _require(progress[-1].downloaded == len(_MEDIA), "it reports no progress")


def _extraction() -> dict[str, Any]:
    """Return what the extractor of a video would: two formats with picture and sound, of which one is served."""
    formats = [
        {
            "format_id": name,
            "url": _data_url("video/mp4", _MEDIA),
            "ext": "mp4",
            "protocol": "https",
            "vcodec": "avc1.42001E",
            "acodec": "mp4a.40.2",
            "width": height * 16 // 9,
            "height": height,
            "filesize": len(_MEDIA),
        }
        for name, height in (("17", 144), ("18", 360))
    ]
    return {
        "id": _VIDEO_ID,
        "title": "Trial",
        "duration": 1,
        "extractor": "youtube",
        "extractor_key": "Youtube",
        "webpage_url": _EXTRACTORS["Youtube"],
        "formats": formats,
    }


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _require(met: bool, otherwise: str) -> None:
    if not met:
        raise Unsuitable(otherwise)
