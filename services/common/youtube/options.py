"""Derive the child's YoutubeDL options and environment from `[youtube]` and `[download]`. Pure.

The options are plain JSON, independent of a request. They are sent through the pipe and never in argv, because a proxy
may contain a password.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bus import fault_injection
from services.common.errors import ConfigError
from services.common.settings.load import YouTube

# What Python, deno, ffmpeg and the reading of a browser's cookies need; any other variable may contain a secret.
_NEEDED = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "LANG", "LANGUAGE", "SSL_CERT_FILE", "SSL_CERT_DIR"}
    | {"DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "DESKTOP_SESSION", "GNOME_DESKTOP_SESSION_ID"}
    | {fault_injection.VARIABLE}
)
_NEEDED_PREFIXES = ("LC_", "LD_", "DYLD_", "XDG_", "KDE_", "PYTHON", "DENO_", "COVERAGE_")
_BROWSER = re.compile(
    r"(?P<name>[^+:]+)(?:\s*\+\s*(?P<keyring>[^:]+))?(?:\s*:\s*(?!:)(?P<profile>.+?))?(?:\s*::\s*(?P<container>.+))?"
)


def base_options(youtube: YouTube, *, socket_timeout: float, ffmpeg: Path | None = None) -> dict[str, Any]:
    """Return the YoutubeDL options of all operations. The numbers of retries are the defaults of yt-dlp's command line.

    Raise ConfigError for an invalid `cookies_from_browser`.
    """
    options: dict[str, Any] = {
        "quiet": True,
        "noprogress": True,
        "color": {"stdout": "never", "stderr": "never"},
        "noplaylist": True,
        "retries": 10,
        "fragment_retries": 10,
        "skip_unavailable_fragments": False,  # by default yt-dlp leaves a hole
        "file_access_retries": 3,
        "extractor_retries": 3,
        "socket_timeout": socket_timeout,
        "proxy": youtube.proxy,
        "ratelimit": youtube.rate_limit,
        "source_address": youtube.bound_address,
        "sleep_interval_requests": youtube.sleep_requests or None,
        "extractor_args": youtube.extractor_args,
        "compat_opts": ["no-certifi"] if youtube.ca_file else [],
        "cookiefile": str(youtube.cookies_file.expanduser().absolute()) if youtube.cookies_file else None,
        "cookiesfrombrowser": _browser(youtube.cookies_from_browser) if youtube.cookies_from_browser else None,
        "ffmpeg_location": str(ffmpeg) if ffmpeg else None,
    }
    return {name: value for name, value in options.items() if value is not None}


def child_environment(youtube: YouTube, environ: Mapping[str, str], *, scripts: Path, code: Path) -> dict[str, str]:
    """Return the child's environment: `scripts` (which contains deno) is added to PATH, `code` to PYTHONPATH.

    Only variables that the child needs are kept: others may contain secrets. Proxy variables are not, because only
    `[youtube] proxy` names a proxy: otherwise requests could use another egress than the one for which blocks are
    recorded.
    """
    kept = {name: text for name, text in environ.items() if name in _NEEDED or name.startswith(_NEEDED_PREFIXES)}
    kept["PATH"] = f"{scripts}:{kept['PATH']}" if kept.get("PATH") else str(scripts)
    kept["PYTHONPATH"] = f"{code}:{kept['PYTHONPATH']}" if kept.get("PYTHONPATH") else str(code)
    kept["PYTHONIOENCODING"] = "utf-8"
    if youtube.ca_file:
        kept["SSL_CERT_FILE"] = str(youtube.ca_file.expanduser().absolute())
    return kept


def _browser(text: str) -> list[str | None]:
    """Parse `BROWSER[+KEYRING][:PROFILE][::CONTAINER]`, as on yt-dlp's command line."""
    found = _BROWSER.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"[youtube] cookies_from_browser: {text!r} is not BROWSER[+KEYRING][:PROFILE][::CONTAINER]; "
            "write for example `firefox`"
        )
    keyring = found["keyring"]
    return [found["name"].lower(), found["profile"], keyring.upper() if keyring else None, found["container"]]
