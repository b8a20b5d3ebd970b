"""Requests under foreign host names and from pages of other sites, over real sockets."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from bus import BusSettings
from services.common.models import ErrorCode, ServiceResponse
from services.common.names import TOKEN_SCOPES
from services.common.settings.load import Config, Endpoint
from services.common.web.tokens import TokenStore
from services.jobs.rest_models import JobQuery
from services.jobs.service import JobsService

API = "/api/v1"


@pytest.fixture
async def jobs(config: Config, broker: BusSettings) -> AsyncIterator[JobsService]:
    """A jobs service that is bound to all addresses and has one further host name."""
    services = config.services.model_copy(
        update={"jobs": Endpoint(host="0.0.0.0", port=0), "allowed_hosts": ("archive.example.org",)}  # noqa: S104
    )  # hence it needs a token
    service = JobsService(config.model_copy(update={"services": services}), broker)
    await service.startup()
    yield service
    await service.shutdown(5)


@pytest.fixture
async def http(jobs: JobsService) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {TokenStore(jobs.config).own()}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{jobs.port}", headers=headers) as session:
        yield session


@pytest.mark.parametrize("path", [f"{API}/health", f"{API}/jobs", f"{API}/docs", f"{API}/jobs/any/events", "/nothing"])
async def test_dns_rebinding_opens_no_route(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(path, headers={"Host": "evil.example"}) as response:
        assert response.status == 403
        error = ServiceResponse.model_validate_json(await response.read()).error
    assert error is not None
    assert error.code is ErrorCode.INVALID_REQUEST
    assert "evil.example" in error.message
    assert "allowed_hosts" in error.message


async def test_a_rebound_page_creates_no_job(http: aiohttp.ClientSession, jobs: JobsService) -> None:
    headers = {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}
    async with http.post(f"{API}/jobs", json={"targets": ["video000001"]}, headers=headers) as response:
        assert response.status == 403
    assert (await jobs.parts.reader.jobs(JobQuery())).total == 0


async def test_an_image_of_another_page_is_refused(http: aiohttp.ClientSession) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    async with http.get(f"{API}/jobs", headers=headers) as response:
        assert response.status == 403


@pytest.mark.parametrize("host", [None, "localhost", "archive.example.org", "archive.example.org:443"])
async def test_names_of_the_service_are_answered(http: aiohttp.ClientSession, host: str | None) -> None:
    async with http.get(f"{API}/jobs", headers={"Host": host} if host else {}) as response:
        assert response.status == 200


@pytest.mark.parametrize("path", [f"{API}/jobs", f"{API}/docs", f"{API}/metrics", f"{API}/jobs/any"])
async def test_other_origins_cannot_embed_an_answer(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(path) as response:
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_without_a_token_nothing_is_answered(jobs: JobsService) -> None:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{jobs.port}") as session:
        for route in jobs.surface().routes:
            path = route.path.replace("{job_id}", "any")
            async with session.request(route.method, path) as response:
                assert response.status == 401, path
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert ServiceResponse.model_validate_json(await response.read()).error is not None
        async with session.get("/nothing") as response:
            assert response.status == 401


async def test_scopes(jobs: JobsService) -> None:
    store = TokenStore(jobs.config)
    statuses = {}
    for scope in TOKEN_SCOPES:
        headers = {"Authorization": f"Bearer {store.issue(scope, scope)}"}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{jobs.port}{API}/", headers=headers) as session:
            read = await session.get("jobs")
            requested = await session.post("jobs", json={"targets": []})
            operated = await session.post("jobs/any/cancel")
        statuses[scope] = (read.status, requested.status, operated.status)
    assert statuses == {"read": (200, 403, 403), "request": (200, 400, 403), "operate": (200, 400, 404)}
