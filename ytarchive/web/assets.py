"""The files of the page, as `make page` (or the build of the wheel) has put them beside this module.

Names of scripts and styles contain a digest, so that browsers keep them for good; `index.html` is asked for each time.
Every path that is no file and no part of the API is the page itself, which then shows what the path says.
"""

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from services.common.errors import NotFound
from services.common.web.routing import Call, Route

FOLDER = Path(__file__).parent / "static"
INDEX = "index.html"

CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "media-src 'self'",
        "connect-src 'self'",
        "font-src 'self'",
        "manifest-src 'self'",
        "worker-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
}
_FOR_GOOD = "public, max-age=31536000, immutable"
_ASK_EACH_TIME = "no-cache"
_KINDS = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}


class AnyPageQuery(BaseModel):
    """The query of a page, which only the browser reads."""

    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True)
class _Asset:
    body: bytes
    packed: bytes | None  # with gzip
    kind: str
    etag: str
    lasting: bool
    made: int  # when the file was written, in nanoseconds


class Assets:
    """The files of the build, each read once, and again when a new build has replaced it."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._read: dict[str, _Asset] = {}

    def answer(self, name: str, request: web.Request) -> web.Response | None:
        """Return the file `name` (`assets/main-1a2b.js`), or None if there is none."""
        asset = self._asset(name)
        if asset is None:
            return None
        headers = {**HEADERS, "ETag": asset.etag, "Cache-Control": _FOR_GOOD if asset.lasting else _ASK_EACH_TIME,
                   "Vary": "Accept-Encoding"}  # fmt: skip
        if request.headers.get("If-None-Match") == asset.etag:
            return web.Response(status=304, headers=headers)
        body = asset.body
        if asset.packed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
            body, headers["Content-Encoding"] = asset.packed, "gzip"
        charset = "utf-8" if asset.kind.startswith("text/") else None
        return web.Response(body=body, headers=headers, content_type=asset.kind, charset=charset)

    def _asset(self, name: str) -> _Asset | None:
        path = self._folder / name
        if ".." in Path(name).parts or name.endswith(".gz") or not path.is_file():
            return None
        made = path.stat().st_mtime_ns
        if name not in self._read or self._read[name].made != made:
            body = path.read_bytes()
            packed = path.with_name(path.name + ".gz")
            kind = _KINDS.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            self._read[name] = _Asset(
                body,
                packed.read_bytes() if packed.is_file() else None,
                kind,
                f'"{hashlib.sha256(body).hexdigest()[:16]}"',
                lasting=name.startswith("assets/"),
                made=made,
            )
        return self._read[name]


async def show(call: Call, query: AnyPageQuery, assets: Assets) -> web.StreamResponse:
    """The page. What it shows is in the path, and filters are in the query, which only the page reads."""
    name = call.path.get("name", "")
    if name.startswith("api/"):
        raise NotFound(f"There is no {call.raw.path}.")
    found = assets.answer(name, call.raw) if name else None
    if found is None and (name.startswith("assets/") or (Path(name).suffix and name.count("/") == 0)):
        raise NotFound(f"There is no {call.raw.path}.")
    return found or assets.answer(INDEX, call.raw) or _without_page()


ROUTES = tuple(Route("GET", path, show, query=AnyPageQuery, quiet=True, public=True) for path in ("/", "/{name:.+}"))


def _without_page() -> web.Response:
    """Say how to get the page. Everything else works without it."""
    return web.Response(
        status=503,
        headers=HEADERS,
        text=(
            "The page was not built with this installation, because its packages could not be fetched then.\n"
            "In a checkout: `make page`. Otherwise install ytarchive again where the npm registry can be reached.\n"
            "The command line and REST work without it: /api/v1/services/jobs/docs.\n"
        ),
    )
