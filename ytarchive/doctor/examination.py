"""All checks, in the order of the output. A probe that fails is a finding too: nothing here raises."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import aiohttp

from services.common.errors import ConfigError
from services.common.models import HealthCheck
from services.common.settings.load import Config, load_config
from services.common.settings.masking import mask_text
from services.common.youtube.ytdlp import release
from services.common.youtube.ytdlp.installations import Installations
from ytarchive.client.health import check_all
from ytarchive.doctor import access, probes, programs, settings
from ytarchive.doctor.finding import Finding, problem
from ytarchive.text import safe_text

YOUTUBE = access.Way("www.youtube.com", 443)
_DATA_API = "https://youtube.googleapis.com"
_A_VIDEO = "jNQXAC9IVRw"  # the first video of YouTube
_TIMEOUT = aiohttp.ClientTimeout(total=15.0)

ProbeResult = Finding | list[Finding]
Probe = tuple[str, Awaitable[ProbeResult]]


async def examine(file: Path | None, environment: Mapping[str, str], *, online: bool) -> list[Finding]:
    """`file`: that of `--config`. Without a valid configuration only checks that do not depend on it are made."""
    try:
        config = load_config(file, env=environment)
    except ConfigError as error:
        first = settings.configuration(None, error.message)
        return [first, *await _all(_programs(None))]
    first = settings.configuration(config.source, None, config.ignored)
    more = [*_programs(config), *_places(config), *_access(config), *(_online(config) if online else [])]
    return [first, settings.variables(environment), *await _all(more)]


async def _all(wanted: Sequence[Probe]) -> list[Finding]:
    answers = await asyncio.gather(*(probe for _name, probe in wanted), return_exceptions=True)
    found: list[Finding] = []
    for (name, _probe_result), answer in zip(wanted, answers, strict=True):
        if isinstance(answer, BaseException):
            why = safe_text(mask_text(f"{type(answer).__name__}: {answer}"), 500)
            found.append(problem(name, f"the check failed: {why}", "Fix this and run the command again."))
        else:
            found += answer if isinstance(answer, list) else [answer]
    return found


def _probe(name: str, probe: Callable[[], ProbeResult]) -> Probe:
    return name, asyncio.to_thread(probe)


def _programs(config: Config | None) -> list[Probe]:
    return [
        _probe("python", probes.python),
        _probe("ffmpeg", lambda: probes.ffmpeg(config)),
        _probe("javascript", probes.javascript),
        _probe("yt-dlp", lambda: probes.ytdlp(config)),
    ]


def _places(config: Config) -> list[Probe]:
    url = config.nats.url
    return [
        _probe("broker", probes.own_broker if url is None else lambda: probes.external_broker(url)),
        _probe("folders", lambda: probes.folders(config)),
        _probe("data disk", lambda: probes.data_disk(config)),
        ("ports", _ports(config)),
        _probe("stack", lambda: probes.stack(config)),
    ]


async def _ports(config: Config) -> Finding:
    """Separate services, without a stack on this machine, are recognized by their health answers."""
    answers = await check_all(config) if config.nats.url is not None else {}
    answering = {name: isinstance(answer, HealthCheck) for name, answer in answers.items()}
    return await asyncio.to_thread(probes.ports, config, answering)


def _access(config: Config) -> list[Probe]:
    return [
        _probe("API key", lambda: probes.api_key(config)),
        _probe("cookies", lambda: probes.cookies(config)),
        _probe("certificates", lambda: probes.certificates(config)),
        _probe("proxy", lambda: probes.proxy(config)),
    ]


def _online(config: Config) -> list[Probe]:
    found: list[Probe] = []
    way = access.way_out(config.youtube.proxy)
    if not isinstance(way, str):
        there = way or YOUTUBE
        found.append(_probe("proxy online", lambda: probes.live_way(there, direct=way is None)))
    if config.updates.check:
        found.append(("yt-dlp online", _newest_ytdlp(config)))
    if config.youtube.api_key is not None and config.youtube.api_key.get_secret_value().strip():
        secret = config.youtube.api_key.get_secret_value().strip()
        found.append(("API key online", _live_key(config.youtube.api_endpoint or _DATA_API, secret)))
    return found


async def _newest_ytdlp(config: Config) -> ProbeResult:
    """Nothing is found when the index does not answer."""
    newest = await release.ask_newest(config.updates.releases_url)
    version = (await asyncio.to_thread(Installations.of(config.storage).in_use)).version
    if newest is None or version is None:
        return []
    await asyncio.to_thread(release.keep_newest, config.storage.run_dir, newest)
    return programs.newest_ytdlp(version, newest.version, release.remedy())


async def _live_key(endpoint: str, key: str) -> Finding:
    """Send one request, which costs one quota unit."""
    url = f"{endpoint.rstrip('/')}/youtube/v3/videos"
    query = {"part": "id", "id": _A_VIDEO, "key": key}
    async with (
        aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=True) as session,
        session.get(url, params=query) as answer,
    ):
        return access.live_key(answer.status, await answer.read())
