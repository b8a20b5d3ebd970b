"""The versions of required programs; None for a missing one."""

import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from bus import BusError
from bus.embedded.program import find_server
from services.common.youtube.tools import find_ffmpeg, scripts_directory

_PATIENCE = 10.0  # seconds for one program


def versions(ffmpeg: Path | None = None) -> dict[str, str | None]:
    """`ffmpeg`: the configured one."""
    programs = {
        "nats-server": (_nats_server(), "--version"),
        "ffmpeg": (find_ffmpeg(ffmpeg), "-version"),
        "deno": (_deno(), "--version"),
    }
    with ThreadPoolExecutor() as pool:  # they run at once
        found = pool.map(lambda program: ask_version(*program), programs.values())
        return {
            "ytarchive": _distribution("ytarchive"),
            "python": platform.python_version(),
            "yt-dlp": _distribution("yt-dlp"),
            **dict(zip(programs, found, strict=True)),
        }


def version_in(words: str) -> str | None:
    """`ffmpeg version 7.1 Copyright …`, `deno 2.5.6 (…)`, `nats-server: v2.15.0`: the version."""
    first = words.strip().splitlines()[:1]
    parts = first[0].replace(" version ", " ").split() if first else []
    return parts[1].removeprefix("v") if len(parts) > 1 else None


def _distribution(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def ask_version(program: Path | None, argument: str) -> str | None:
    """Return the version that the program prints; None when it is missing or does not run."""
    if program is None:
        return None
    try:
        ran = subprocess.run(  # noqa: S603 - a program that we would start anyway
            [program, argument],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return version_in(ran.stdout)


def _nats_server() -> Path | None:
    try:
        return find_server()
    except BusError:
        return None


def _deno() -> Path | None:
    found = shutil.which("deno", path=str(scripts_directory())) or shutil.which("deno")
    return Path(found) if found else None
