"""From `[youtube]` and `[download]` to what the child gets: YoutubeDL options and an environment. Pure.

The options are plain JSON and hold nothing of a single request; they travel over the child's pipe, never in argv, for
a proxy may carry a password.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.common.errors import ConfigError
from services.common.settings.load import YouTube

_PROXY_VARIABLES = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"})
_BROWSER = re.compile(
    r"(?P<name>[^+:]+)(?:\s*\+\s*(?P<keyring>[^:]+))?(?:\s*:\s*(?!:)(?P<profile>.+?))?(?:\s*::\s*(?P<container>.+))?"
)


def base_options(youtube: YouTube, *, socket_timeout: float, ffmpeg: Path | None = None) -> dict[str, Any]:
    """YoutubeDL options that every operation shares. The numbers of retries are those of yt-dlp's command line.

    Raises ConfigError for a `cookies_from_browser` that cannot be read.
    """
    options: dict[str, Any] = {
        "quiet": True,
        "noprogress": True,
        "color": {"stdout": "never", "stderr": "never"},
        "noplaylist": True,
        "retries": 10,
        "fragment_retries": 10,
        "file_access_retries": 3,
        "extractor_retries": 3,
        "socket_timeout": socket_timeout,
        "proxy": youtube.proxy,
        "ratelimit": youtube.rate_limit,
        "extractor_args": youtube.extractor_args,
        "compat_opts": ["no-certifi"] if youtube.ca_file else [],
        "cookiefile": str(youtube.cookies_file.expanduser().absolute()) if youtube.cookies_file else None,
        "cookiesfrombrowser": _browser(youtube.cookies_from_browser) if youtube.cookies_from_browser else None,
        "ffmpeg_location": str(ffmpeg) if ffmpeg else None,
    }
    return {name: value for name, value in options.items() if value is not None}


def child_environment(youtube: YouTube, environ: Mapping[str, str], *, scripts: Path, code: Path) -> dict[str, str]:
    """The child's environment: `scripts` (where deno lies) is added to PATH, `code` is where our packages are found.

    Proxy variables are left out: `[youtube] proxy` is the one way to name a proxy, else a request could take
    another way out than the one that blocks are counted for.
    """
    kept = {name: value for name, value in environ.items() if name.lower() not in _PROXY_VARIABLES}
    kept["PATH"] = f"{scripts}:{kept['PATH']}" if kept.get("PATH") else str(scripts)
    kept["PYTHONPATH"] = f"{code}:{kept['PYTHONPATH']}" if kept.get("PYTHONPATH") else str(code)
    kept["PYTHONIOENCODING"] = "utf-8"
    if youtube.ca_file:
        kept["SSL_CERT_FILE"] = str(youtube.ca_file.expanduser().absolute())
    return kept


def _browser(text: str) -> list[str | None]:
    """`BROWSER[+KEYRING][:PROFILE][::CONTAINER]`, as on yt-dlp's command line."""
    found = _BROWSER.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"[youtube] cookies_from_browser: {text!r} is not BROWSER[+KEYRING][:PROFILE][::CONTAINER]; "
            "write `firefox`, say"
        )
    keyring = found["keyring"]
    return [found["name"].lower(), found["profile"], keyring.upper() if keyring else None, found["container"]]
