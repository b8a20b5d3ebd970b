"""Download the selected formats of a video and merge them into our container."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from yt_dlp.postprocessor.ffmpeg import FFmpegExtractAudioPP, FFmpegVideoRemuxerPP

from services.common.domain.lengths import is_shorter
from services.common.youtube.child.session import Session
from services.common.youtube.messages import Downloading
from services.common.youtube.partial import keep_if_same, media_of
from services.common.youtube.synced import SyncedLengths
from services.common.youtube.tools import duration_of

_MIN_INTERVAL = 0.2  # seconds between two progress messages
_SLACK = 100  # bytes of tolerance for announced sizes, as in yt-dlp


class MediaIncomplete(Exception):
    """The downloaded data is not what was announced."""


class MediaProgress:
    """Aggregates yt-dlp's progress per file over all formats of a video, which may be downloaded in several threads."""

    def __init__(
        self,
        streams: Sequence[Mapping[str, Any]],
        held: int,
        tell: Callable[[Downloading], None],
        synced: SyncedLengths,
    ) -> None:
        sizes = [stream.get("filesize") or stream.get("filesize_approx") or 0 for stream in streams]
        self._total = sum(sizes) if all(sizes) else 0  # 0: not known
        self._files: dict[str, int] = {}
        self._speeds: dict[str, float] = {}  # bytes per second, of the files that are being downloaded
        self._lock = threading.Lock()
        self._tell = tell
        self._told = 0.0
        self._synced = synced
        tell(Downloading(downloaded=held, total=self._whole(held)))

    def on_status(self, status: Mapping[str, Any]) -> None:
        """yt-dlp's progress hook. Raise MediaIncomplete for a finished file that is shorter than announced."""
        with self._lock:
            self._note(status)

    def _note(self, status: Mapping[str, Any]) -> None:
        name, finished = status["filename"], status["status"] == "finished"
        if not finished:
            self._synced.note(Path(status.get("tmpfilename") or name), status.get("downloaded_bytes") or 0)
        have = status.get("downloaded_bytes") or (status.get("total_bytes") if finished else None) or 0
        self._files[name] = have
        self._speeds[name] = 0.0 if finished else status.get("speed") or 0.0
        if finished:
            _check_size(status.get("info_dict") or {}, have, Path(name))
            self._synced.finished(Path(name))
        elif time.monotonic() - self._told < _MIN_INTERVAL:
            return
        self._told = time.monotonic()
        downloaded, speed = int(sum(self._files.values())), sum(self._speeds.values()) or None
        total = self._whole(downloaded)
        left = total - downloaded if total else None
        eta = round(left / speed) if speed and left is not None else None
        self._tell(Downloading(downloaded=downloaded, total=total, speed=speed, eta=eta))

    def _whole(self, downloaded: int) -> int | None:
        return max(int(self._total), downloaded) if self._total else None


def _check_size(info: Mapping[str, Any], have: int, path: Path) -> None:
    announced = info.get("filesize") or 0
    if have < announced - _SLACK:
        path.unlink(missing_ok=True)  # otherwise the next attempt would consider it complete
        raise MediaIncomplete(f"format {info.get('format_id')}: {have} bytes read, {announced} expected")


def fetch_media(
    session: Session,
    info: dict[str, Any],
    directory: Path,
    *,
    audio: bool,
    connections: int,
    tell: Callable[[Downloading], None],
) -> Path:
    """Download and merge into `{id}.mp4` or `{id}.m4a`; resume partial files in the directory.

    Picture and sound are downloaded at once if more than one connection is allowed. `info` is a processed result
    (formats selected) and is changed. Raise yt-dlp's errors and MediaIncomplete.
    """
    video_id = info["id"]
    streams = info.get("requested_formats") or [info]
    synced = SyncedLengths(directory)
    synced.drop_unsynced(media_of(directory, video_id))
    keep_if_same(directory, video_id, [_identity(stream) for stream in streams])
    synced.clip(media_of(directory, video_id))
    held = sum(path.stat().st_size for path in media_of(directory, video_id))
    progress = MediaProgress(streams, held, tell, synced)
    session.on_progress = progress.on_status
    try:
        with session.ydl.at_once(info, connections) if len(streams) > 1 and connections > 1 else nullcontext():
            session.ydl.process_info(info)
    finally:
        session.on_progress = None
    path = Path(info.get("filepath") or "")
    if not path.is_file():
        raise MediaIncomplete("yt-dlp ended without a file")
    if path.stat().st_size == 0 or (len(streams) > 1 and path.stem != video_id):
        raise MediaIncomplete(f"{path.name} is empty, or was not merged")
    path = _contain(session.ydl, info, path, audio=audio)
    if not all(stream.get("filesize") for stream in streams):
        _check_length(info, path, Path(session.ydl.params["ffmpeg_location"]))
    synced.sync(path)
    for leftover in media_of(directory, video_id):  # left by a process that was killed after merging
        if leftover != path:
            leftover.unlink()
    return path


def _check_length(info: Mapping[str, Any], path: Path, ffmpeg: Path) -> None:
    """Refuse a result that is shorter than announced. Of streams in fragments no size is known."""
    length = duration_of(path, ffmpeg)
    announced = info.get("duration") or 0
    if length is not None and is_shorter(length, announced):
        path.unlink()
        raise MediaIncomplete(f"the download is {length:.0f} s long, {announced:.0f} s were announced")


def _contain(ydl: Any, info: dict[str, Any], path: Path, *, audio: bool) -> Path:
    """Remux into our container; re-encode only audio that does not fit into it."""
    wanted = path.with_suffix(".m4a" if audio else ".mp4")
    if path == wanted:
        return path
    processor = FFmpegExtractAudioPP(ydl, "m4a") if audio else FFmpegVideoRemuxerPP(ydl, "mp4")
    leftovers, changed = processor.run(info)
    for leftover in leftovers:
        Path(leftover).unlink(missing_ok=True)
    made = Path(changed["filepath"])
    if made != wanted:
        made.replace(wanted)
    return wanted


def is_audio(info: Mapping[str, Any]) -> bool:
    """Return whether the selected formats are audio only."""
    streams = info.get("requested_formats") or [info]
    return all(stream.get("vcodec") == "none" for stream in streams)


def _identity(stream: Mapping[str, Any]) -> dict[str, Any]:
    """Return what identifies the bytes of a stream, also after YouTube has re-encoded it."""
    return {name: stream.get(name) for name in ("format_id", "ext", "filesize", "vcodec", "acodec", "tbr")}
