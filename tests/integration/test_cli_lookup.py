"""Lookups of playlists whose listing the metadata service has not completed yet."""

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


class FakeMetadata:
    """A metadata service that answers 503 `late` times; with `details`, because the site does not answer."""

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
async def metadata() -> AsyncIterator[FakeMetadata]:
    server, app = FakeMetadata(), web.Application()
    app.router.add_route("*", "/api/v1/{rest:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


async def test_a_listing_in_progress_is_requested_until_it_is_complete(metadata: FakeMetadata) -> None:
    """More 503 answers than the circuit breaker allows failures do not open it: the listing is in progress."""
    metadata.late = 12
    async with Rest.open(metadata.base) as rest:
        playlist, entries = await MetadataClient(rest).listing(LIST)
    assert (playlist.title, [entry.video_id for entry in entries]) == ("slow", ["aaaaaaaaaaa"])
    assert metadata.asked == 13


async def test_a_timeout_of_the_site_is_reported_without_a_retry(metadata: FakeMetadata) -> None:
    metadata.late, metadata.details = 100, {"kind": "passing"}
    async with Rest.open(metadata.base) as rest:
        with pytest.raises(NetworkTimeout, match="still reading"):
            await MetadataClient(rest).listing(LIST)
    assert metadata.asked == 1
