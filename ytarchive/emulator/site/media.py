"""Media files and thumbnails: ffmpeg encodes a few clips once, and each video gets a copy with its id written into it.

The id is inside the streams (in the encoder text of x264 in the first frame, and in the filler of the first AAC frame)
and so survives a remux: every archived file differs, and the id of its video can be read from it.
"""

import asyncio
import hashlib
import re
import shutil
import struct
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import imageio_ffmpeg

from ytarchive.emulator.site.world import HEIGHTS, THUMBNAILS, UHD_HEIGHTS, Video
from ytarchive.emulator.transport.blob import PAD_BLOCK, Blob

AUDIO_ITAG = 140
MUXED_ITAG = 18
VIDEO_ITAGS = {144: 160, 240: 133, 360: 134, 480: 135, 720: 136, 1080: 137, 1440: 264, 2160: 266}
THUMBNAIL_SIZES = dict(zip(THUMBNAILS, ((1280, 720), (640, 480), (480, 360), (320, 180), (120, 90)), strict=True))
SECONDS = 2
FPS = 5

_RECIPE = "media-v2"
_SOURCES = (
    f"testsrc2=s=640x360:r={FPS}:d={SECONDS}",
    f"testsrc=s=1280x720:r={FPS}:d={SECONDS}",
    f"smptehdbars=s=1280x720:r={FPS}:d={SECONDS},hue=h=60*t",
)
_X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "38", "-movflags", "+faststart")
_AAC = ("-c:a", "aac", "-b:a", "64k", "-movflags", "+faststart")
_X264_TEXT = re.compile(rb"x264 - core .{0,200}? - options: ", re.DOTALL)
_AAC_TEXT = re.compile(rb"Lavc\d+\.\d+\.\d+")


class MediaError(RuntimeError):
    """ffmpeg failed to encode the clips, or its output has no place for the video id."""


def ffmpegs() -> list[str]:
    """Return the ffmpeg programs to try: the system's, if installed, then that of the package imageio-ffmpeg."""
    system = shutil.which("ffmpeg")
    return [*([system] if system else []), str(imageio_ffmpeg.get_ffmpeg_exe())]


class Media:
    """The clips in one cache directory. Call `prepare` first; UHD clips are encoded when first requested."""

    def __init__(self, cache_dir: Path) -> None:
        self._clips = cache_dir / _RECIPE
        self._uhd = cache_dir / f"{_RECIPE}-uhd"
        self._lock = asyncio.Lock()
        self._ready: set[Path] = set()

    async def prepare(self) -> None:
        """Encode the clips unless they are cached; this takes about a second. Raise MediaError."""
        await self._ensure_encoded(self._clips)

    async def itags(self, video: Video) -> dict[int, Blob]:
        """Return all formats of a video, by itag. Raise MediaError."""
        if set(video.heights) & set(UHD_HEIGHTS):
            await self._ensure_encoded(self._uhd)
        wanted = [VIDEO_ITAGS[height] for height in video.heights] + [AUDIO_ITAG]
        if 360 in video.heights:
            wanted.append(MUXED_ITAG)
        return {itag: self._signed(video, itag) for itag in wanted}

    def thumbnail(self, video_id: str, name: str, ext: str) -> bytes:
        """Return the image for a name in THUMBNAILS as `jpg` or `webp`, with the video id in it."""
        data = _load(self._clips / f"{_variant(video_id)}-{name}.{ext}")
        signature = f"ytarchive-emulator {video_id}".encode()
        if ext == "jpg":  # insert a comment segment after the start-of-image marker
            return data[:2] + b"\xff\xfe" + struct.pack(">H", len(signature) + 2) + signature + data[2:]
        signature += b" " * (len(signature) % 2)  # append a RIFF chunk of unknown type, which decoders skip
        body = data[8:] + b"YTAE" + struct.pack("<I", len(signature)) + signature
        return b"RIFF" + struct.pack("<I", len(body)) + body

    def _signed(self, video: Video, itag: int) -> Blob:
        uhd = {VIDEO_ITAGS[height] for height in UHD_HEIGHTS}
        path = self._uhd / f"{itag}.mp4" if itag in uhd else self._clips / f"{_variant(video.id)}-{itag}.mp4"
        head = _sign(path, video.id, itag)
        pad = video.size - len(head) - 8
        if itag == AUDIO_ITAG or pad < 0:
            return Blob(head)
        pattern = hashlib.shake_256(f"{video.id} {itag}".encode()).digest(PAD_BLOCK)
        return Blob(head + struct.pack(">I4s", pad + 8, b"free"), pad, pattern)

    async def _ensure_encoded(self, directory: Path) -> None:
        async with self._lock:
            if directory not in self._ready:
                await asyncio.to_thread(_encode, directory, uhd=directory == self._uhd)
                self._ready.add(directory)


def _variant(video_id: str) -> int:
    return hashlib.sha256(video_id.encode()).digest()[0] % len(_SOURCES)


@lru_cache(maxsize=64)
def _load(path: Path) -> bytes:
    return path.read_bytes()


@lru_cache(maxsize=64)
def _sign(path: Path, video_id: str, itag: int) -> bytes:
    """Return the clip with the id written over the encoder text, without a change of any offset."""
    data = bytearray(_load(path))
    start = data.index(b"mdat")
    marks = 0
    if found := _X264_TEXT.search(data, start):
        signature = f"ytarchive-emulator video={video_id} itag={itag} ".encode()
        data[found.end() : found.end() + len(signature)] = signature
        marks += 1
    if itag in (AUDIO_ITAG, MUXED_ITAG) and (found := _AAC_TEXT.search(data, start)):
        length = found.end() - found.start()
        data[found.start() : found.end()] = video_id.encode()[:length].ljust(length)
        marks += 1
    if marks != 1 + (itag == MUXED_ITAG):
        raise MediaError(f"no place for the video id in {path.name}: this ffmpeg writes no encoder text")
    return bytes(data)


def _encode(directory: Path, *, uhd: bool) -> None:
    if directory.exists():
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".media-", dir=directory.parent))
    try:
        if uhd:
            _run(staging, _uhd_command(staging))
        else:
            for number in range(len(_SOURCES)):
                _run(staging, _clip_command(staging, number))
                _run(staging, _thumbnail_command(staging, number))
        try:
            staging.rename(directory)
        except OSError:
            if not directory.exists():  # otherwise another process encoded the clips first; they are used
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _clip_command(staging: Path, number: int) -> list[str]:
    """Return the ffmpeg arguments that encode all heights, the audio and the muxed 360p in one run."""
    heights = (*HEIGHTS, 360)
    splits = "".join(f"[s{n}]" for n in range(len(heights)))
    scales = ";".join(
        f"[s{n}]scale=-2:{height}:flags=neighbor,format=yuv420p[v{n}]" for n, height in enumerate(heights)
    )
    graph = (
        f"{_SOURCES[number]},split={len(heights)}{splits};{scales};"
        f"sine=f={440 + 110 * number}:d={SECONDS},asplit=2[a0][a1]"
    )
    command = ["-filter_complex", graph]
    for n, height in enumerate(HEIGHTS):
        command += ["-map", f"[v{n}]", *_X264, str(staging / f"{number}-{VIDEO_ITAGS[height]}.mp4")]
    command += ["-map", f"[v{len(HEIGHTS)}]", "-map", "[a0]", *_X264, *_AAC]
    command.append(str(staging / f"{number}-{MUXED_ITAG}.mp4"))
    command += ["-map", "[a1]", *_AAC, str(staging / f"{number}-{AUDIO_ITAG}.mp4")]
    return command


def _uhd_command(staging: Path) -> list[str]:
    command = []
    for height in UHD_HEIGHTS:
        source = f"color=c=steelblue:s={height * 16 // 9}x{height}:r=1:d={SECONDS},format=yuv420p"
        command += ["-filter_complex", f"{source}[v{height}]", "-map", f"[v{height}]", *_X264]
        command.append(str(staging / f"{VIDEO_ITAGS[height]}.mp4"))
    return command


def _thumbnail_command(staging: Path, number: int) -> list[str]:
    targets = [(name, ext) for name in THUMBNAILS for ext in ("jpg", "webp")]
    splits = "".join(f"[s{n}]" for n in range(len(targets)))
    scales = ";".join(
        f"[s{n}]scale={THUMBNAIL_SIZES[name][0]}:{THUMBNAIL_SIZES[name][1]}[t{n}]"
        for n, (name, _) in enumerate(targets)
    )
    command = ["-filter_complex", f"{_SOURCES[number]},trim=end_frame=1,split={len(targets)}{splits};{scales}"]
    for n, (name, ext) in enumerate(targets):
        quality = ("-q:v", "6") if ext == "jpg" else ("-c:v", "libwebp", "-q:v", "50")
        command += ["-map", f"[t{n}]", "-frames:v", "1", *quality, str(staging / f"{number}-{name}.{ext}")]
    return command


def _run(staging: Path, arguments: list[str]) -> None:
    message = ""
    for ffmpeg in ffmpegs():  # the system's ffmpeg may lack x264 or WebP
        command = [ffmpeg, "-v", "error", "-nostdin", "-y", *arguments]
        done = subprocess.run(command, cwd=staging, capture_output=True, text=True, check=False)  # noqa: S603  # the arguments are constants and our own paths
        if done.returncode == 0:
            return
        message = done.stderr.strip()[-500:]
    raise MediaError(f"ffmpeg failed: {message}")
