"""Mask secrets in texts and data: the only rules of what a secret looks like, for logs, events, dead letters and
`config show`."""

import re
from collections.abc import Mapping
from typing import Any

MASK = "********"

_SECRET_KEYS = frozenset(
    {"api_key", "apikey", "token", "cookie", "cookies", "set_cookie", "password", "passwd", "secret"}
    | {"authorization", "proxy_authorization", "x_goog_api_key"}
)
_SECRET_ENDINGS = ("_api_key", "_token", "_password", "_secret", "_cookie", "_cookies")
_IN_TEXT = (
    # ?key=… and &access_token=… of a URL
    (re.compile(r"(?i)([?&](?:key|api_key|token|access_token|password)=)[^&#\s\"'<>]+"), rf"\1{MASK}"),
    # user:password@ of a proxy or a broker, also with / ? # in the password, unless it looks as a port does
    (
        re.compile(
            r"(?i)(\b[a-z][a-z0-9+.-]{0,30}://)"
            r"[^\s\"'<>\[/?#:@]{1,256}:(?!\d{1,5}[/?#])[^\s\"'<>]{0,512}@(?=[\w\[])"
        ),
        rf"\1{MASK}@",
    ),
    # token@, or what is left of the above, also with @ in it
    (re.compile(r"(?i)(\b[a-z][a-z0-9+.-]{0,30}://)[^\s\"'<>/?#]{1,512}@"), rf"\1{MASK}@"),
    # user:password@host:port without a scheme
    (
        re.compile(
            r"(?i)(?<![^\s\"'<>=,;(\[])[^\s\"'<>/:@=]{1,256}:[^\s\"'<>@/]"
            r"[^\s\"'<>]{0,512}@(?=(?:\[[0-9a-f:.]+\]|[\w.-]+):\d{1,5}\b)"
        ),
        f"{MASK}@",
    ),
    # quoted HTTP headers
    (re.compile(r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)(\s*[:=]\s*)[^\r\n]+"), rf"\1\2{MASK}"),
    # "nats_token": "..." of JSON, also when it is cut off
    (
        re.compile(r'(?i)("[^"\\]{0,50}(?:api_?key|token|passw(?:or)?d|secret)"\s*:\s*)"(?:[^"\\]|\\.)*"?'),
        rf'\1"{MASK}"',
    ),
    # api_key: ..., password=...
    (
        re.compile(
            r"(?i)\b([\w-]{0,50}(?:api_?key|token|passw(?:or)?d|secret))([\"']?\s*[:=]\s*[\"']?)[^\s\"'&,;)}\]]+"
        ),
        rf"\1\2{MASK}",
    ),
    # an access token of our own, or a Google API key, wherever it occurs
    (re.compile(r"\byta_[0-9A-Za-z_-]{43}"), MASK),
    (re.compile(r"AIza[0-9A-Za-z_-]{35}"), MASK),
)
_SIGNS = re.compile(r"[=:]|AIza|yta_")  # a text without any of them contains no secret


def is_secret_key(key: str) -> bool:
    plain = key.lower().replace("-", "_")
    return plain in _SECRET_KEYS or plain.endswith(_SECRET_ENDINGS)


def mask_url(text: str) -> str:
    """Mask everything before the address of a URL, or of a list of them: user, password, token, whatever their
    characters. The scheme may be missing."""
    head, scheme, rest = text.partition("://")
    _secret, at, address = (rest if scheme else head).rpartition("@")
    return f"{head if scheme else ''}{scheme}{MASK}@{address}" if at else mask_text(text)


def mask_text(text: str) -> str:
    if _SIGNS.search(text) is None:
        return text
    for pattern, replacement in _IN_TEXT:
        text = pattern.sub(replacement, text)
    return text


def mask(value: Any) -> Any:
    """Return a copy of JSON-like data with secrets masked at any depth. None and empty values stay: they show that no
    secret was set."""
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, Mapping):
        return {key: MASK if inner and is_secret_key(str(key)) else mask(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [mask(inner) for inner in value]
    return value
