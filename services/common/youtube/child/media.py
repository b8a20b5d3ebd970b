"""Media of one video: chosen formats down, merged, in the one container that we keep."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from yt_dlp.postprocessor.ffmpeg import FFmpegExtractAudioPP, FFmpegVideoRemuxerPP

from services.common.youtube.child.session import Session
from services.common.youtube.messages import Downloading
from services.common.youtube.partial import keep_if_same, media_of

_QUIET = 0.2  # seconds between two progress messages
_SLACK = 100  # bytes by which YouTube's announced sizes may be wrong (yt-dlp allows as many)


class MediaIncomplete(Exception):
    """What arrived is not what was announced."""


class Tally:
    """Progress over all formats of a video, from yt-dlp's progress per file."""

    def __init__(self, streams: Sequence[Mapping[str, Any]], held: int, tell: Callable[[Downloading], None]) -> None:
        sizes = [stream.get("filesize") or stream.get("filesize_approx") or 0 for stream in streams]
        self._total = sum(sizes) if all(sizes) else 0  # 0: not known
        self._files: dict[str, int] = {}
        self._tell = tell
        self._told = 0.0
        tell(Downloading(downloaded=held, total=self._whole(held)))

    def hear(self, status: Mapping[str, Any]) -> None:
        """yt-dlp's progress hook. Raises MediaIncomplete for a finished file that is not as long as announced."""
        finished = status["status"] == "finished"
        have = status.get("downloaded_bytes") or (status.get("total_bytes") if finished else None) or 0
        self._files[status["filename"]] = have
        if finished:
            _check_size(status.get("info_dict") or {}, have, Path(status["filename"]))
        elif time.monotonic() - self._told < _QUIET:
            return
        self._told = time.monotonic()
        downloaded, speed = int(sum(self._files.values())), status.get("speed")
        total = self._whole(downloaded)
        left = total - downloaded if total else None
        eta = round(left / speed) if speed and left is not None else None
        self._tell(Downloading(downloaded=downloaded, total=total, speed=speed, eta=eta))

    def _whole(self, downloaded: int) -> int | None:
        return max(int(self._total), downloaded) if self._total else None


def _check_size(info: Mapping[str, Any], have: int, path: Path) -> None:
    announced = info.get("filesize") or 0
    if have < announced - _SLACK:
        path.unlink(missing_ok=True)  # else the next attempt would take it for whole
        raise MediaIncomplete(f"format {info.get('format_id')}: {have} bytes read, {announced} expected")


def fetch_media(
    session: Session, info: dict[str, Any], directory: Path, *, audio: bool, tell: Callable[[Downloading], None]
) -> Path:
    """Download, merge, and bring into `{id}.mp4` or `{id}.m4a`; resumes what lies in the directory.

    `info` is a processed result (formats chosen) and is changed. Raises what yt-dlp raises, and MediaIncomplete.
    """
    video_id = info["id"]
    streams = info.get("requested_formats") or [info]
    keep_if_same(directory, video_id, [_identity(stream) for stream in streams])
    tally = Tally(streams, sum(path.stat().st_size for path in media_of(directory, video_id)), tell)
    session.on_progress = tally.hear
    try:
        session.ydl.process_info(info)
    finally:
        session.on_progress = None
    path = Path(info.get("filepath") or "")
    if not path.is_file():
        raise MediaIncomplete("yt-dlp ended without a file")
    if path.stat().st_size == 0 or (len(streams) > 1 and path.stem != video_id):
        raise MediaIncomplete(f"{path.name} is empty, or was not merged")
    path = _contain(session.ydl, info, path, audio=audio)
    for leftover in media_of(directory, video_id):  # of a process that was killed between merging and tidying up
        if leftover != path:
            leftover.unlink()
    return path


def _contain(ydl: Any, info: dict[str, Any], path: Path, *, audio: bool) -> Path:
    """The same streams in our container; only audio that does not fit into it is encoded again."""
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
    """Whether the chosen formats hold no picture."""
    streams = info.get("requested_formats") or [info]
    return all(stream.get("vcodec") == "none" for stream in streams)


def _identity(stream: Mapping[str, Any]) -> dict[str, Any]:
    """What tells the bytes of a stream from those of another, or of the same one encoded again."""
    return {name: stream.get(name) for name in ("format_id", "ext", "filesize", "vcodec", "acodec", "tbr")}
