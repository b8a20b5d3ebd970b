"""The programs that yt-dlp needs, and the versions of all tools."""

import platform
import re
import shutil
import subprocess
import sysconfig
from functools import cache
from importlib import metadata
from pathlib import Path

import imageio_ffmpeg

import services


def find_ffmpeg(configured: Path | None = None) -> Path | None:
    """Return the configured ffmpeg, else the static one of imageio-ffmpeg (docs/decisions/0032), else that on PATH.
    Return None without any."""
    if configured is not None:
        return configured.expanduser().absolute()
    # The package would start it, to see whether it runs.
    packaged = sorted(Path(imageio_ffmpeg.__file__).with_name("binaries").glob("ffmpeg-*"))
    runnable = (shutil.which(str(program)) for program in (*packaged, "ffmpeg"))
    return next((Path(found) for found in runnable if found), None)


def scripts_directory() -> Path:
    """Return the folder of the interpreter's scripts, which contains deno."""
    return Path(sysconfig.get_path("scripts"))


def code_directory() -> Path:
    """Return the folder of our top-level packages."""
    return Path(services.__file__).parents[1]


def duration_of(media: Path, ffmpeg: Path) -> float | None:
    """Return the length of a media file in seconds, as its container says; None when ffmpeg does not read it."""
    command = [str(ffmpeg), "-hide_banner", "-i", str(media)]  # ends with an error: there is no output
    ran = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603  # the path is our own find
    found = re.search(r"Duration: (\d+):(\d+):(\d+(?:\.\d+)?)", ran.stderr.decode(errors="replace"))
    return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3]) if found else None


@cache
def versions(ffmpeg: str) -> dict[str, str]:
    """Return tool names and versions for Provenance; runs ffmpeg once."""
    found = {"python": platform.python_version(), "ffmpeg": _ffmpeg_version(ffmpeg)}
    for name, distribution in (("yt-dlp", "yt-dlp"), ("deno", "deno"), ("ytarchive", "ytarchive")):
        try:
            found[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return found


def _ffmpeg_version(ffmpeg: str) -> str:
    ran = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603  # the path is our own find
    words = ran.stdout.split(maxsplit=3)
    return words[2] if words[:2] == ["ffmpeg", "version"] else "unknown"
