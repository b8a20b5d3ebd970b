"""All checks, in the order in which they are shown. A look that fails is a finding too: nothing here raises."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import aiohttp

from services.common.errors import ConfigError
from services.common.models import HealthCheck
from services.common.settings.load import Config, load_config
from services.common.settings.masking import mask_text
from ytarchive.cli.doctor import access, probes, settings
from ytarchive.cli.doctor.finding import Finding, problem
from ytarchive.client.health import check_all
from ytarchive.text import safe_text

YOUTUBE = access.Way("www.youtube.com", 443)
_DATA_API = "https://youtube.googleapis.com"
_A_VIDEO = "jNQXAC9IVRw"  # the first one of all
_TIMEOUT = aiohttp.ClientTimeout(total=15.0)

Looked = Finding | list[Finding]
Look = tuple[str, Awaitable[Looked]]


async def examine(file: Path | None, environment: Mapping[str, str], *, online: bool) -> list[Finding]:
    """`file` as of `--config`; without a valid configuration only what does not depend on it is looked at."""
    try:
        config = load_config(file, env=environment)
    except ConfigError as error:
        first = settings.configuration(None, error.message)
        return [first, *await _all([*_programs()])]
    first = settings.configuration(config.source, None)
    more = [*_programs(), *_places(config), *_access(config), *(_online(config) if online else [])]
    return [first, settings.variables(environment), *await _all(more)]


async def _all(wanted: Sequence[Look]) -> list[Finding]:
    answers = await asyncio.gather(*(look for _name, look in wanted), return_exceptions=True)
    found: list[Finding] = []
    for (name, _look), answer in zip(wanted, answers, strict=True):
        if isinstance(answer, BaseException):
            why = safe_text(mask_text(f"{type(answer).__name__}: {answer}"), 500)
            found.append(problem(name, f"could not be looked at: {why}", "Mend that, and ask again."))
        else:
            found += answer if isinstance(answer, list) else [answer]
    return found


def _look(name: str, look: Callable[[], Looked]) -> Look:
    return name, asyncio.to_thread(look)


def _programs() -> list[Look]:
    return [
        _look("python", probes.python),
        _look("ffmpeg", probes.ffmpeg),
        _look("javascript", probes.javascript),
        _look("yt-dlp", probes.ytdlp),
    ]


def _places(config: Config) -> list[Look]:
    url = config.nats.url
    return [
        _look("broker", probes.own_broker if url is None else lambda: probes.external_broker(url)),
        _look("folders", lambda: probes.folders(config)),
        _look("data disk", lambda: probes.data_disk(config)),
        ("ports", _ports(config)),
        _look("stack", lambda: probes.stack(config)),
    ]


async def _ports(config: Config) -> Finding:
    """Services that run on their own, without a stack here, are known by their answers."""
    answers = await check_all(config) if config.nats.url is not None else {}
    answering = {name: isinstance(answer, HealthCheck) for name, answer in answers.items()}
    return await asyncio.to_thread(probes.ports, config, answering)


def _access(config: Config) -> list[Look]:
    return [
        _look("API key", lambda: probes.api_key(config)),
        _look("cookies", lambda: probes.cookies(config)),
        _look("certificates", lambda: probes.certificates(config)),
        _look("proxy", lambda: probes.proxy(config)),
    ]


def _online(config: Config) -> list[Look]:
    found: list[Look] = []
    way = access.way_out(config.youtube.proxy)
    if not isinstance(way, str):
        there = way or YOUTUBE
        found.append(_look("proxy online", lambda: probes.live_way(there, direct=way is None)))
    if config.youtube.api_key is not None and config.youtube.api_key.get_secret_value().strip():
        secret = config.youtube.api_key.get_secret_value().strip()
        found.append(("API key online", _live_key(config.youtube.api_endpoint or _DATA_API, secret)))
    return found


async def _live_key(endpoint: str, key: str) -> Finding:
    """One request, of one quota unit."""
    url = f"{endpoint.rstrip('/')}/youtube/v3/videos"
    query = {"part": "id", "id": _A_VIDEO, "key": key}
    async with (
        aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=True) as session,
        session.get(url, params=query) as answer,
    ):
        return access.live_key(answer.status, await answer.read())
