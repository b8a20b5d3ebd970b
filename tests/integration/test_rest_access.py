"""Requests under foreign host names and from pages of other sites, over real sockets."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import aiohttp
import pytest

from bus import BusSettings
from services.common.errors import TooManyRequests, Unauthorized
from services.common.models import ErrorCode, ServiceResponse
from services.common.names import TOKEN_SCOPES
from services.common.settings.load import Config, Endpoint, load_config
from services.common.web.limits import WRONG_TOKENS_AT_ONCE
from services.common.web.tokens import TokenStore
from services.jobs.rest_models import JobQuery
from services.jobs.service import JobsService
from ytarchive.client import rest, sse
from ytarchive.client.endpoints import find_system

API = "/api/v1"


@pytest.fixture
async def jobs(config: Config, broker: BusSettings) -> AsyncIterator[JobsService]:
    """A jobs service that is bound to all addresses and has one further host name."""
    services = config.services.model_copy(
        update={"jobs": Endpoint(host="0.0.0.0", port=0), "allowed_hosts": ("archive.example.org",)}  # noqa: S104 - under test
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


# --- the rate of requests ---------------------------------------------------------------------------------------------

ONE_A_SECOND = 1.0  # and ten at once


@pytest.fixture
async def limited(config: Config, broker: BusSettings) -> AsyncIterator[JobsService]:
    """A jobs service that answers ten requests of a client at once, and one per second. It needs no token."""
    services = config.services.model_copy(update={"jobs": Endpoint(port=0), "request_rate": ONE_A_SECOND})
    service = JobsService(config.model_copy(update={"services": services}), broker)
    await service.startup()
    yield service
    await service.shutdown(5)


async def test_too_many_requests_are_answered_with_429_and_retry_after(limited: JobsService) -> None:
    async with aiohttp.ClientSession(limited.url) as http:
        statuses = [(await http.get(f"{API}/jobs")).status for _ in range(30)]
        assert statuses[:10] == [200] * 10
        assert statuses.count(429) >= 15
        async with http.get(f"{API}/jobs") as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "1")
            answer = ServiceResponse.model_validate_json(await response.read())
        assert answer.error is not None
        assert answer.error.code is ErrorCode.SERVICE_UNAVAILABLE
        assert answer.error.details == {"retry_after": 1, "reason": "rate", "trace_id": answer.trace_id}
        for _ in range(30):
            async with http.get(f"{API}/health") as response:
                assert response.status == 200


async def test_a_refused_request_changes_nothing(limited: JobsService) -> None:
    async with aiohttp.ClientSession(limited.url) as http:
        for _ in range(30):
            await http.get(f"{API}/jobs")
        async with http.post(f"{API}/jobs", json={"targets": ["video000001"]}) as response:
            assert response.status == 429
    assert (await limited.parts.reader.jobs(JobQuery())).total == 0


async def test_a_stream_counts_once(limited: JobsService) -> None:
    async with aiohttp.ClientSession(limited.url) as http, http.get(f"{API}/events") as stream:
        assert stream.status == 200
        statuses = [(await http.get(f"{API}/jobs")).status for _ in range(9)]
    assert statuses == [200] * 9


async def test_the_client_waits_until_its_requests_are_answered(limited: JobsService) -> None:
    async with rest.Rest.open(limited.url) as client:
        for _ in range(13):
            assert (await client.get("jobs"))["total"] == 0
        created = await client.send("POST", "jobs", {"targets": ["video000001"]})
        assert (await client.get(f"jobs/{created['job_id']}"))["job"]["job_id"] == created["job_id"]


async def test_the_client_reports_a_rate_that_does_not_fall(config: Config, broker: BusSettings) -> None:
    services = config.services.model_copy(update={"jobs": Endpoint(port=0), "request_rate": 0.01})  # one at once
    service = JobsService(config.model_copy(update={"services": services}), broker)
    await service.startup()
    try:
        async with rest.Rest.open(service.url) as client:
            await client.get("jobs")
            with pytest.raises(TooManyRequests, match=r"too many requests\. Try again in"):
                await client.get("jobs")
        with pytest.raises(sse.StreamLost):  # its caller opens it again
            async with aclosing(sse.stream(service.url, "events")) as events:
                await anext(events)
    finally:
        await service.shutdown(5)


async def test_guessing_a_token_is_slow_and_does_not_stop_clients_that_have_one(jobs: JobsService) -> None:
    own = {"Authorization": f"Bearer {TokenStore(jobs.config).own()}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{jobs.port}") as http:
        assert (await http.get(f"{API}/jobs", headers=own)).status == 200
        statuses = []
        for number in range(5 * WRONG_TOKENS_AT_ONCE):
            path = f"{API}/{'health' if number % 2 else 'jobs'}"  # health is no way around it
            statuses.append((await http.get(path, headers={"Authorization": f"Bearer guess-{number}"})).status)
        assert statuses[:WRONG_TOKENS_AT_ONCE] == [401] * WRONG_TOKENS_AT_ONCE
        assert statuses.count(429) > 2 * WRONG_TOKENS_AT_ONCE
        assert (await http.get(f"{API}/jobs", headers=own)).status == 200


async def test_a_command_with_a_wrong_token_waits_until_it_is_told_so(jobs: JobsService, tmp_path: Path) -> None:
    """It does not take the services for absent, although too many wrong tokens came from its address."""
    other = load_config(
        env={
            "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(tmp_path / "other"),
            "YTARCHIVE_NATS__URL": "nats://127.0.0.1:9",
            "YTARCHIVE_SERVICES__JOBS__PORT": str(jobs.port),
            "YTARCHIVE_AUTH__TOKEN": "of another system",
        },
        cwd=tmp_path,
    )
    async with aiohttp.ClientSession(f"http://127.0.0.1:{jobs.port}") as http:
        while (await http.get(f"{API}/jobs", headers={"Authorization": "Bearer wrong"})).status == 401:
            pass
    with pytest.raises(Unauthorized, match="not valid"):
        await find_system(other)
