"""Reject requests that a page of another site sends through a user's browser."""

from urllib.parse import urlsplit

from aiohttp import web

from services.common.errors import InvalidRequest

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})  # methods without side effects


def reject_cross_site(request: web.Request) -> None:
    """Reject state-changing requests that a page of another site sends through a user's browser."""
    if request.method in _SAFE:
        return
    origin = request.headers.get("Origin")
    if origin is not None and _authority(origin) != request.host.lower():
        raise InvalidRequest(f"{request.method} from a page of another site ({origin!a}) is refused.", reason="origin")
    if request.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
        raise InvalidRequest(f"{request.method} from a page of another site is refused.", reason="origin")


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
