"""Playlists that the metadata service is still reading."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web

from services.common.domain.videos import Entry, PlaylistMetadata, Target, TargetKind
from services.common.errors import NetworkTimeout
from services.common.models import ErrorCode, ErrorDetail, ServiceResponse
from services.metadata.api import PlaylistPage
from ytarchive.client.metadata import MetadataClient
from ytarchive.client.rest import Rest

LIST = Target(kind=TargetKind.PLAYLIST, id="PLslow")
PAGE = PlaylistPage(
    playlist=PlaylistMetadata(playlist_id=LIST.id, title="slow"),
    entries=[Entry(video_id="aaaaaaaaaaa", position=0)],
    complete=True,
    read_at=datetime.now(UTC),
    total=1,
    limit=500,
    offset=0,
)


class Metadata:
    """Says `late` times that the list is still being read; with `kind`, that the site does not answer."""

    def __init__(self) -> None:
        self.base = ""
        self.late = 0
        self.details: dict[str, str] | None = None
        self.asked = 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        error = ErrorDetail(code=ErrorCode.NETWORK_TIMEOUT, message="still reading", details=self.details)
        late = self.asked <= self.late
        data = None if late else PAGE.model_dump(mode="json")
        body = ServiceResponse(success=not late, data=data, error=error if late else None, trace_id="t")
        return web.Response(status=503 if late else 200, text=body.model_dump_json())


@pytest.fixture
async def metadata() -> AsyncIterator[Metadata]:
    server, app = Metadata(), web.Application()
    app.router.add_route("*", "/api/v1/{rest:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


async def test_a_list_that_takes_long_to_read_is_waited_for(metadata: Metadata) -> None:
    """More often than the circuit breaker allows failures: the service is at work, and says so."""
    metadata.late = 12
    async with Rest.open(metadata.base) as rest:
        playlist, entries = await MetadataClient(rest).listing(LIST)
    assert (playlist.title, [entry.video_id for entry in entries]) == ("slow", ["aaaaaaaaaaa"])
    assert metadata.asked == 13


async def test_a_site_that_does_not_answer_is_told(metadata: Metadata) -> None:
    metadata.late, metadata.details = 100, {"kind": "passing"}
    async with Rest.open(metadata.base) as rest:
        with pytest.raises(NetworkTimeout, match="still reading"):
            await MetadataClient(rest).listing(LIST)
    assert metadata.asked == 1
