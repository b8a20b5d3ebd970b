"""Releases of yt-dlp: the installed one and its age, whether a newer one is known, and how to update it here.

The newest version is asked for by `ytarchive up`, `update` and `doctor --online` only, and kept in run/yt-dlp.json. A
page that does not answer is no error: then nothing is known.
"""

import asyncio
import re
import shlex
import sys
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from importlib import metadata
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ValidationError

from services.common.infra.files import write_atomically

VERSION = r"[0-9][0-9A-Za-z.+-]{0,40}"
OLD_AFTER = 90  # days; YouTube changes more often than that
REQUIREMENT = "yt-dlp[default]"
UPDATE_COMMAND = "ytarchive update"
_TIMEOUT = 10.0  # seconds
_DATE = re.compile(r"(\d{4})\.(\d{1,2})\.(\d{1,2})(?:\D.*)?")
_LOWER_BOUND = re.compile(r"yt-dlp\[default\]\s*>=\s*([0-9.]+)")
_ASK_EVERY = timedelta(days=1)
_IMAGE_MARK = Path("/etc/ytarchive-image")  # made by our Dockerfile


class NewestRelease(BaseModel):
    """The newest version on yt-dlp's release page."""

    version: str
    asked_at: AwareDatetime


class _LatestRelease(BaseModel):
    """The part of the latest release that is needed."""

    tag_name: str  # is the version


def installed() -> str | None:
    try:
        return metadata.version("yt-dlp")
    except metadata.PackageNotFoundError:
        return None


def lowest() -> str:
    """Return the oldest version that we support: the lower bound of our own requirement."""
    found = (_LOWER_BOUND.fullmatch(requirement) for requirement in metadata.requires("ytarchive") or ())
    return next((match[1] for match in found if match), "0")


def released(version: str) -> date | None:
    """Return the day of the release, which the version names."""
    found = _DATE.fullmatch(version)
    try:
        return date(*(int(part) for part in found.groups())) if found else None
    except ValueError:
        return None


def age(version: str, today: date) -> int | None:
    """Return the age in days; None when it is unknown."""
    day = released(version)
    return max((today - day).days, 0) if day is not None else None


def is_newer(version: str, than: str) -> bool:
    """Compare two versions as numbers."""
    return _numbers(version) > _numbers(than)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def installation_command(prefix: Path | None = None, executable: str | None = None, image: bool | None = None) -> str:
    """Return the command that updates the installed yt-dlp: of pipx, of our image, or of pip.

    `prefix`, `executable`: of the Python environment; `image`: whether it is that of our image. Default: this one.
    """
    home = prefix or Path(sys.prefix)
    if image is None:
        image = _IMAGE_MARK.exists()
    if (home / "pipx_metadata.json").exists():
        return f"pipx runpip {home.name} install -U {shlex.quote(REQUIREMENT)}"
    if image:
        return "docker compose build --pull --build-arg YTDLP=latest --no-cache && docker compose up -d"
    return f"{shlex.quote(executable or sys.executable)} -m pip install -U {shlex.quote(REQUIREMENT)}"


def remedy(image: bool | None = None) -> str:
    """Return how to update yt-dlp here, as a part of a sentence. `image` as in `installation_command`."""
    if image is None:
        image = _IMAGE_MARK.exists()
    there = " (`docker compose run --rm cli update`)" if image else ""
    return f"`{UPDATE_COMMAND}`{there}, or `{installation_command(image=image)}`"


def advice(version: str | None, run_dir: Path, now: datetime) -> str:
    """Return sentences about the yt-dlp in use: version, age, whether a newer one is known, the commands."""
    if version is None:
        return f"yt-dlp is not installed: {remedy()}."
    days = age(version, now.date())
    old = f" ({days} days old)" if days is not None else ""
    newest = known_newest(run_dir)
    if newest is None:
        return f"yt-dlp {version}{old} may be out of date. Update it: {remedy()}."
    if is_newer(newest.version, version):
        return f"yt-dlp {version}{old} is out of date: {newest.version} exists. Update it: {remedy()}."
    return f"yt-dlp {version}{old} was the newest on {newest.asked_at:%Y-%m-%d}. Try later: {remedy()}."


def known_newest(run_dir: Path) -> NewestRelease | None:
    """Return the newest version as it was last asked for; None when it never was."""
    try:
        return NewestRelease.model_validate_json(_path(run_dir).read_bytes())
    except (OSError, ValidationError):
        return None


async def ask_newest(releases_url: str) -> NewestRelease | None:
    """Ask yt-dlp's release page. None when it does not answer, or not as expected."""
    import aiohttp  # takes 0.1 s, and most commands ask nothing

    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT), trust_env=True) as session,
            session.get(releases_url) as answer,
        ):
            answer.raise_for_status()
            found = _LatestRelease.model_validate_json(await answer.read())
    except (aiohttp.ClientError, TimeoutError, OSError, ValidationError):
        return None
    if not re.fullmatch(VERSION, found.tag_name):
        return None
    return NewestRelease(version=found.tag_name, asked_at=datetime.now(UTC))


async def ask_daily(releases_url: str, run_dir: Path) -> None:
    """Ask now and every day, and keep the answer. Never returns."""
    while True:
        known = await asyncio.to_thread(known_newest, run_dir)
        wait = known.asked_at + _ASK_EVERY - datetime.now(UTC) if known is not None else timedelta(0)
        if wait <= timedelta(0):
            if (newest := await ask_newest(releases_url)) is not None:
                with suppress(OSError):  # it is only advice
                    await asyncio.to_thread(keep_newest, run_dir, newest)
            wait = _ASK_EVERY
        await asyncio.sleep(wait.total_seconds())


def keep_newest(run_dir: Path, newest: NewestRelease) -> None:
    """Store it for `advice`, unless there is no data directory yet. Blocks: use a thread. Raise OSError."""
    if run_dir.is_dir():
        write_atomically(_path(run_dir), newest.model_dump_json())


def _path(run_dir: Path) -> Path:
    return run_dir / "yt-dlp.json"
