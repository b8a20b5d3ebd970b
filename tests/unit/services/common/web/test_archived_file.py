"""Files of the archive over REST: what is sent when the file is replaced after it was looked up."""

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.common.web.archived_file import ArchivedFileResponse


@pytest.mark.parametrize(("kind", "status", "body"), [("file", 200, b"film"), ("link", 404, b""), ("folder", 404, b"")])
async def test_only_the_regular_file_itself_is_sent(tmp_path: Path, kind: str, status: int, body: bytes) -> None:
    path, outside = tmp_path / "videos" / "a" / "a.mp4", tmp_path / "secret"
    path.parent.mkdir(parents=True)
    outside.write_bytes(b"secret")
    path.with_name("a.mp4.gz").write_bytes(b"not listed")  # aiohttp would send it to a client that accepts gzip
    match kind:
        case "file":
            path.write_bytes(b"film")
        case "link":
            path.symlink_to(outside)
        case _:
            path.mkdir()

    async def serve(_request: web.Request) -> web.StreamResponse:
        return ArchivedFileResponse(tmp_path / "videos", path)

    app = web.Application()
    app.router.add_get("/", serve)
    async with TestClient(TestServer(app)) as client, client.get("/", headers={"Accept-Encoding": "gzip"}) as answer:
        assert (answer.status, await answer.read()) == (status, body)
        assert "Content-Encoding" not in answer.headers
