"""What is open ends when its client may no longer read: a stream with and without its first bytes."""

import asyncio

import pytest
from aiohttp import ClientSession, ServerDisconnectedError, web
from aiohttp.client_exceptions import ClientPayloadError

from services.common.settings.load import Config, Endpoint
from services.common.web.access import AccessRules
from services.common.web.bound_socket import BoundSocket
from services.common.web.routing import Call, RestApplication, Route
from services.common.web.tokens import TokenStore
from tests.unit.services.common.web.test_limits import Owner


async def ticks(call: Call) -> web.StreamResponse:
    """A stream that never ends by itself."""
    response = web.StreamResponse()
    await response.prepare(call.raw)
    await response.write(b"tick\n")
    await asyncio.Event().wait()
    return response


async def late(_call: Call) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("path", ["/ticks", "/late"])
async def test_a_revoked_token_ends_what_is_open(config: Config, path: str, caplog: pytest.LogCaptureFixture) -> None:
    tokens = TokenStore(config)
    kept, lost = (tokens.issue(name, "read") for name in ("kept", "lost"))
    routes = [Route("GET", "/ticks", ticks, streams=True), Route("GET", "/late", late, streams=True)]
    application = RestApplication(Owner(), routes, AccessRules("probe", tokens=tokens, ask_again=0.05))
    bound = BoundSocket.bind("probe", Endpoint(port=0))
    await application.start(bound)
    try:
        async with ClientSession(f"http://localhost:{bound.url.rpartition(':')[2]}") as http:

            async def read(token: str) -> int:
                async with http.get(path, headers={"Authorization": f"Bearer {token}"}) as answer:
                    await answer.read()
                    return answer.status

            other = asyncio.create_task(read(kept))
            mine = asyncio.create_task(read(lost))
            await asyncio.wait({mine, other}, timeout=0.3)  # several questions later both are open
            assert not mine.done()
            tokens.revoke("lost")
            if path == "/late":
                assert await asyncio.wait_for(mine, 20) == 401
            else:
                with pytest.raises((ClientPayloadError, ServerDisconnectedError, ConnectionError)):
                    await asyncio.wait_for(mine, 20)
            assert not other.done()
            other.cancel()
    finally:
        await application.stop()
    assert not [record for record in caplog.records if record.exc_info]
