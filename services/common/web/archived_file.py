"""Sending a file of the archive over REST. Uses private parts of aiohttp (3.14)."""

import mimetypes
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from services.common.infra.no_links import open_below

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class ArchivedFileResponse(web.FileResponse):
    """Range and conditional requests as FileResponse, but the file is opened without following links below `base`, a
    compressed sibling is not sent in its place, and If-Range may be an entity tag, which aiohttp does not know."""

    def __init__(self, base: Path, path: Path) -> None:
        kind = {".vtt": "text/vtt", ".m4a": "audio/mp4"}.get(path.suffix) or mimetypes.guess_type(path.name)[0]
        super().__init__(
            path,
            headers={
                "Content-Type": kind or "application/octet-stream",
                "Content-Disposition": f"inline; filename*=UTF-8''{quote(path.name)}",
                "X-Content-Type-Options": "nosniff",
            },
        )
        self._base = base

    def _make_response(self, request: web.BaseRequest, _accept_encoding: str) -> tuple[Any, ...]:
        """Runs in a thread. An OSError is answered with 404 (403 where permissions are missing)."""
        with os.fdopen(open_below(self._base, self._path), "rb") as ours:
            result, file, found, encoding = super()._make_response(request, "")
            if file is None:
                return result, None, found, encoding
            file.close()
            return result, os.fdopen(os.dup(ours.fileno()), "rb"), os.fstat(ours.fileno()), encoding

    async def _prepare_open_file(self, request: web.BaseRequest, *opened: Any) -> Any:
        """RFC 9110, 13.1.5: the whole file is sent when the client has a part of another one."""
        tag = request.headers.get("If-Range", "")
        status: os.stat_result = opened[1]
        if tag.startswith(('"', "W/")) and tag != f'"{status.st_mtime_ns:x}-{status.st_size:x}"':
            request._cache["if_range"] = _LONG_AGO  # older than the file: the range does not apply
        return await super()._prepare_open_file(request, *opened)
