"""Access to YouTube: API key, cookies, certificate authority, proxy. Pure; secrets are never shown."""

import json
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.common.settings.masking import mask_text
from services.common.settings.urls import PROXY_SCHEMES, parse_address
from ytarchive.doctor.finding import Finding, ok, problem, warning
from ytarchive.text import safe_text

_API_KEY = re.compile(r"AIza[0-9A-Za-z_-]{35}")
_FIELDS = 7  # domain, subdomains, path, secure, expires, name, value
_QUOTA = {"quotaExceeded", "dailyLimitExceeded", "rateLimitExceeded"}


def api_key(key: str | None, origin: str) -> Finding:
    """Check the format of a key; `live_key` checks whether the Data API accepts it."""
    if not key:
        return ok("API key", "none; listings use yt-dlp, which needs none")
    if not _API_KEY.fullmatch(key):
        return problem(
            "API key",
            f"the key from {origin} has an invalid format: {len(key)} characters instead of AIza and 35 more",
            "Copy it again from the Google Cloud console (APIs & Services, Credentials), or remove it.",
        )
    return ok("API key", f"AIza… from {origin}; the format is valid")


def live_key(status: int, body: bytes) -> Finding:
    """Check the answer of the Data API to a request for one video."""
    if status == 200:
        return ok("API key online", "accepted by the Data API")
    reason, message = _refusal(body)
    found = f"the Data API answers {status}: {mask_text(safe_text(message or reason or 'without a reason'))}"
    if reason in _QUOTA:
        return warning("API key online", found, "The quota of today is used up; until tomorrow listings use yt-dlp.")
    if status >= 500:
        return warning("API key online", found, "Try again later.")
    return problem(
        "API key online",
        found,
        "Check that the key is valid, that the YouTube Data API v3 is enabled for its"
        " project, and that its restrictions allow this machine.",
    )


def _refusal(body: bytes) -> tuple[str, str]:
    try:
        error = json.loads(body)["error"]
        errors = error.get("errors") or [{}]
        return str(errors[0].get("reason", "")), str(error.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return "", ""


# --- cookies ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CookieFile:
    """`text` None: the file cannot be read, because of `why`."""

    path: Path
    text: str | None
    mode: int = 0o600
    why: str = ""


def cookies(file: CookieFile | None, browser: str | None, now: float) -> Finding:
    """Check for the Netscape format, which yt-dlp reads. `now`: seconds of Unix time."""
    remedy = "Export the cookies of youtube.com again, in the Netscape format (`# Netscape HTTP Cookie File`)."
    if file is None:
        return ok("cookies", f"from the browser {browser}" if browser else "none")
    if file.text is None:
        return problem("cookies", f"{file.path} cannot be used: {file.why}", "Correct [youtube] cookies_file.")
    lines = cookie_lines(file.text)
    broken = sum(1 for line in lines if len(line) != _FIELDS)
    if broken or not lines:
        what = f"{broken} of {len(lines)} lines do not have {_FIELDS} fields" if broken else "it has no cookies"
        return problem("cookies", f"{file.path} is not in the Netscape format: {what}", remedy)
    return _judged(file, lines, now, remedy)


def _judged(file: CookieFile, lines: Sequence[Sequence[str]], now: float, remedy: str) -> Finding:
    ours = [line for line in lines if line[0].lstrip(".").endswith(("youtube.com", "google.com"))]
    if not ours:
        return warning("cookies", f"{file.path} has no cookie of youtube.com", remedy)
    if all(_expired(line[4], now) for line in ours):
        return warning("cookies", f"all cookies of youtube.com in {file.path} have expired", remedy)
    if file.mode & (stat.S_IRGRP | stat.S_IROTH):
        return warning(
            "cookies",
            f"{file.path} is readable for other users; it grants access like a password",
            f"chmod 600 {file.path}",
        )
    return ok("cookies", f"{file.path}: {len(ours)} of youtube.com")


def cookie_lines(text: str) -> list[list[str]]:
    kept = (line.removeprefix("#HttpOnly_") for line in text.splitlines())
    return [line.split("\t") for line in kept if line.strip() and not line.startswith("#")]


def _expired(at: str, now: float) -> bool:
    """Return whether a cookie has expired. 0 and empty: a session cookie, which yt-dlp uses."""
    return at.isdecimal() and 0 < int(at) < now


# --- connection ---------------------------------------------------------------------------------------------------


def certificates(path: Path | None, why_not: str | None) -> Finding:
    """`why_not`: the error of OpenSSL for the file."""
    if path is None:
        return ok("certificates", "those of this system")
    if why_not is not None:
        return problem(
            "certificates",
            f"{path}: {safe_text(why_not)}",
            "Set [youtube] ca_file to a file of PEM certificates (-----BEGIN …).",
        )
    return ok("certificates", str(path))


@dataclass(frozen=True)
class Way:
    host: str
    port: int


def way_out(proxy: str | None) -> Way | str | None:
    """Return the address of the proxy, a text for an invalid one, None without a proxy."""
    if not proxy:
        return None
    try:
        scheme, host, port = parse_address(proxy, PROXY_SCHEMES)
    except ValueError as error:
        return str(error)
    standard = 1080 if scheme.startswith("socks") else 443 if scheme == "https" else 80
    return Way(host, port or standard)


def proxy(url: str | None, way: Way | str | None) -> Finding:
    if way is None:
        return ok("proxy", "none")
    shown = safe_text(mask_text(url or ""))
    if isinstance(way, str):
        return problem("proxy", f"{shown}: {way}", "Correct [youtube] proxy: http://host:port or socks5h://host:port.")
    return ok("proxy", shown)


def live_way(way: Way, why_not: str | None, *, direct: bool) -> Finding:
    """`why_not`: the error of the connection to the proxy, or with `direct` to YouTube."""
    where = f"{way.host}:{way.port}"
    check = "YouTube online" if direct else "proxy online"
    if why_not is None:
        return ok(check, f"{where} accepts connections")
    remedy = "Check this machine's internet connection" if direct else "Start the proxy"
    return problem(check, f"{where}: {safe_text(why_not)}", f"{remedy}, or correct [youtube] proxy.")
