"""Probes that collect the facts for the checks: they run programs, read files, try ports. All of them block."""

import shutil
import socket
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from bus import BusError
from bus.embedded.program import find_server
from services.common.infra.files import free_space, ignores_case, lock_holder, syncs_directories, writable
from services.common.names import SERVICES
from services.common.settings.load import Config, Endpoint
from services.common.web.bound_socket import is_free
from services.common.youtube.cookies import Cookies, CookiesUnreadable
from services.common.youtube.tools import find_ffmpeg, scripts_directory
from services.common.youtube.ytdlp import release
from services.common.youtube.ytdlp.installations import Installations, YtDlpInUse
from ytarchive.doctor import access, folder_checks, programs
from ytarchive.doctor.finding import Finding
from ytarchive.doctor.versions import ask_version
from ytarchive.running_stack import StackInfo, find_running

_PATIENCE = 5.0  # seconds for an answer over the network
_NATS_PORT = 4222
_PLACES = (
    "base_data_dir", "jobs_dir", "registry_dir", "work_plans_dir", "tmp_dir", "logs_dir",
    "base_path", "metadata_dir", "videos_dir",
)  # fmt: skip


# --- programs -----------------------------------------------------------------------------------------------------


def python() -> Finding:
    return programs.python(sys.version_info[:3], sys.executable)


def own_broker() -> Finding:
    try:
        found = find_server()
    except BusError:
        return programs.broker(None)
    return programs.broker(programs.Program(found, ask_version(found, "--version")))


def external_broker(url: str) -> Finding:
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    try:
        with socket.create_connection((parts.hostname or "", parts.port or _NATS_PORT), _PATIENCE) as connection:
            connection.settimeout(_PATIENCE)
            with connection.makefile("rb") as stream:
                greeting: bytes | str = stream.readline(64 * 1024)
    except (OSError, ValueError) as error:
        greeting = _reason(error)
    return programs.external_broker(f"{parts.hostname}:{parts.port or _NATS_PORT}", greeting)


def ffmpeg(config: Config | None) -> Finding:
    """Without a valid configuration the one that it may name is not known."""
    found = find_ffmpeg(config.download.ffmpeg if config else None)
    return programs.ffmpeg(programs.Program(found, ask_version(found, "-version")) if found else None)


def javascript() -> Finding:
    name = shutil.which("deno", path=str(scripts_directory())) or shutil.which("deno")
    found = programs.Program(Path(name), ask_version(Path(name), "--version")) if name else None
    return programs.javascript(found)


def ytdlp(config: Config | None) -> list[Finding]:
    """Without a valid configuration the folder of updates is not known."""
    found = Installations.of(config.storage).in_use() if config else YtDlpInUse(release.installed())
    today = datetime.now(UTC).date()
    return [
        programs.ytdlp(found.version, today, release.remedy(), found.folder),
        *([programs.ytdlp_update(found.problem)] if found.problem else []),
    ]


# --- folders ------------------------------------------------------------------------------------------------------


def data_disk(config: Config) -> Finding:
    mounts = Path("/proc/mounts")
    text = mounts.read_text(encoding="utf-8", errors="replace") if mounts.exists() else ""
    return folder_checks.data_disk(folder_checks.nearest(config.storage.base_data_dir), text)


def folders(config: Config) -> list[Finding]:
    """Folders below an earlier one are not checked again."""
    seen: list[Path] = []
    found: list[Finding] = []
    for key, path in _folders(config):
        if any(path.is_relative_to(other) for other in seen):
            continue
        seen.append(path)
        usable = writable(path)
        syncs, folds_case = (syncs_directories(path), ignores_case(path)) if usable and path.is_dir() else (True, False)
        place = folder_checks.Place(key, path, usable, free_space(path), syncs, folds_case)
        found += [folder_checks.writable(place), folder_checks.space(place, config.storage.min_free)]
        found += folder_checks.peculiarities(place)
    return found


def _folders(config: Config) -> Iterator[tuple[str, Path]]:
    for key in _PLACES:
        yield key, getattr(config.storage, key)
    for root in config.storage.roots:
        yield "roots", root


def ports(config: Config, answering: Mapping[str, bool]) -> Finding:
    """`answering`: services that gave a health answer at the configured addresses."""
    running = find_running(config)
    found: list[folder_checks.Port] = []
    for name in SERVICES:
        endpoint: Endpoint = getattr(config.services, name)
        holder: folder_checks.Holder = "nobody"
        if not is_free(endpoint):
            holder = "ours" if _is_of(running, name, endpoint) or answering.get(name) else "stranger"
        found.append(folder_checks.Port(name, f"{endpoint.host}:{endpoint.port}", endpoint.port, holder))
    return folder_checks.ports(found)


def _is_of(running: StackInfo | None, name: str, endpoint: Endpoint) -> bool:
    return running is not None and urlsplit(running.services.get(name, "")).port == endpoint.port


def stack(config: Config) -> Finding:
    running = find_running(config)
    held = lock_holder(config.storage.run_dir / "stack.lock") is not None
    return folder_checks.stack(running.pid if running else None, held, len(running.services) if running else 0)


# --- access -------------------------------------------------------------------------------------------------------


def api_key(config: Config) -> Finding:
    secret = config.youtube.api_key.get_secret_value().strip() if config.youtube.api_key else None
    return access.api_key(secret, config.origins.get("youtube.api_key", "the configuration"))


def cookies(config: Config) -> Finding:
    path = config.youtube.cookies_file
    return access.cookies(_cookie_file(path) if path else None, config.youtube.cookies_from_browser, time.time())


def _cookie_file(path: Path) -> access.CookieFile:
    try:
        Cookies(path, path).check()
        return access.CookieFile(path, path.read_text("utf-8-sig"), path.stat().st_mode)
    except CookiesUnreadable as error:
        return access.CookieFile(path, None, why=error.why)


def certificates(config: Config) -> Finding:
    path = config.youtube.ca_file
    if path is None:
        return access.certificates(None, None)
    try:
        ssl.create_default_context(cafile=str(path))
    except OSError as error:  # ssl.SSLError is one
        return access.certificates(path, _reason(error))
    return access.certificates(path, None)


def proxy(config: Config) -> Finding:
    return access.proxy(config.youtube.proxy, access.way_out(config.youtube.proxy))


def live_way(way: access.Way, *, direct: bool) -> Finding:
    try:
        socket.create_connection((way.host, way.port), _PATIENCE).close()
    except OSError as error:
        return access.live_way(way, _reason(error), direct=direct)
    return access.live_way(way, None, direct=direct)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
