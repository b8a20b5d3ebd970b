"""The REST surface that all services share: OpenAPI document, documentation page, metrics, HEAD, paths, Retry-After."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp_sse import sse_response
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, Field

from bus import BusSettings, EmbeddedServer, Handlers
from services.common.errors import QuotaExceeded
from services.common.events import DeadLettered
from services.common.service import ServiceBase
from services.common.settings.load import Config, load_config
from services.common.web.routing import Call, Route

pytestmark = pytest.mark.asyncio(loop_scope="module")
API = "/api/v1"
Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


class ThingPath(BaseModel):
    thing_id: str = Field(pattern=r"^[a-z]{3}$")
    number: int = Field(ge=1, le=9)


class QuotaQuery(BaseModel):
    kind: Literal["time", "seconds", "past", "text", "none"]


RETRY: dict[str, Any] = {"seconds": 2.2, "past": datetime(2020, 1, 1, tzinfo=UTC), "text": "soon", "none": None}


class Probe(ServiceBase):
    name: ClassVar[str] = "logging"
    handlers: ClassVar[Handlers] = Handlers("logging")

    def __init__(self, config: Config, bus: BusSettings) -> None:
        super().__init__(config, bus)
        self.routes = self._routes()

    def _routes(self) -> Sequence[Route]:
        one = f"{API}/things/{{thing_id}}/{{number}}"
        return (
            Route("GET", one, self.thing, "One", path_model=ThingPath, response=ThingPath),
            Route("DELETE", one, self.thing, "Away", path_model=ThingPath, response=ThingPath, needs_bus=True),
            Route("GET", f"{API}/quota", self.quota, "None left", query=QuotaQuery, response=str, also={429: ""}),
            Route("GET", f"{API}/stream", self.stream, "Follow", streams=True),
        )

    async def thing(self, _call: Call, path: ThingPath) -> ThingPath:
        return path

    async def quota(self, _call: Call, query: QuotaQuery) -> str:
        at = datetime.now(UTC) + timedelta(seconds=90) if query.kind == "time" else RETRY[query.kind]
        raise QuotaExceeded("Nothing is left of it.", retry_after=at)

    async def stream(self, call: Call) -> web.StreamResponse:
        async with sse_response(call.raw) as stream:
            await stream.send("hello")
        return stream

    def metrics(self) -> dict[str, Any]:
        return {"lines": 3, "scanning": None, "full": True, "by host": {'a"b': 1.5, "c": "text"}, "text": "no number"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    text: str
    json: Any


class Client:
    def __init__(self, http: aiohttp.ClientSession, probe: Probe) -> None:
        self._http = http
        self.probe = probe

    async def ask(self, method: str, path: str, **headers: str) -> Answer:
        async with self._http.request(method, f"{self.probe.url}{API}/{path}", headers=headers) as answer:
            text = await answer.text()
            told = await answer.json() if text and answer.content_type == "application/json" else None
            return Answer(answer.status, answer.headers, text, told)

    async def read_metrics(self) -> dict[tuple[str, ...], float]:
        """Return the samples by name and label values (sorted by label name, without the service)."""
        answer = await self.ask("GET", "metrics")
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        found = {}
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                assert sample.labels.get("service", "logging") == "logging"
                labels = [value for name, value in sorted(sample.labels.items()) if name not in {"service", "le"}]
                found[(sample.name, *labels)] = sample.value
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    root = tmp_path_factory.mktemp("surface")
    env = {"YTARCHIVE_SERVICES__LOGGING__PORT": "0", "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(root / "data")}
    server = EmbeddedServer(root / "nats", like=BusSettings(url="nats://127.0.0.1"))
    probe = Probe(load_config(env=env, cwd=root), await server.start())
    await probe.startup()
    try:
        async with aiohttp.ClientSession() as http:
            yield Client(http, probe)
    finally:
        await probe.shutdown(5)
        await server.stop()


async def test_the_openapi_document_is_served(client: Client) -> None:
    answer = await client.ask("GET", "openapi.json")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json["openapi"] == "3.1.0"
    assert f"{API}/things/{{thing_id}}/{{number}}" in answer.json["paths"]


async def test_the_documentation_page_is_served_with_its_security_policy(client: Client) -> None:
    answer = await client.ask("GET", "docs")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert f"curl &#x27;{client.probe.url}{API}/things/THING_ID/NUMBER&#x27;" in answer.text
    assert 'href="http://127.0.0.1:8000/api/v1/docs"' in answer.text


async def test_every_response_carries_the_trace_id(client: Client) -> None:
    for path in ("health", "metrics", "docs", "openapi.json", "stream", "nothing", "things/abc/1"):
        assert (await client.ask("GET", path, **{"X-Trace-Id": "mine"})).headers["X-Trace-Id"] == "mine", path


async def test_head_is_get_without_the_body(client: Client) -> None:
    for path in ("things/abc/1", "docs", "openapi.json", "things/ABC/1"):
        got, asked = await client.ask("GET", path), await client.ask("HEAD", path)
        assert (asked.status, asked.text) == (got.status, ""), path
        assert asked.headers["Content-Length"] == str(len(got.text.encode())), path
        assert asked.headers["Content-Type"] == got.headers["Content-Type"]
    assert (await client.ask("HEAD", "metrics")).status == 200
    assert (await client.ask("HEAD", "stream")).status == 405


async def test_a_wrong_method_is_answered_with_the_allowed_ones(client: Client) -> None:
    for method in ("OPTIONS", "POST", "PATCH"):
        answer = await client.ask(method, "things/abc/1")
        assert answer.status == 405
        assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD", "DELETE"}
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_path_parameters_are_passed_as_their_model(client: Client) -> None:
    answer = await client.ask("GET", "things/abc/7")
    assert answer.json["data"] == {"thing_id": "abc", "number": 7}


@pytest.mark.parametrize("path", ["things/ABC/1", "things/abcd/1", "things/abc/0", "things/abc/x", "things/abc%0A/1"])
async def test_invalid_path_parameters_are_not_found(client: Client, path: str) -> None:
    for method in ("GET", "DELETE"):
        answer = await client.ask(method, path)
        assert answer.status == 404
        assert answer.json["error"]["code"] == "E007"
        assert answer.json["error"]["details"]["errors"][0]["field"] in {"thing_id", "number"}


@pytest.mark.parametrize("path", ["things/abc/1", "health", "metrics", "docs", "openapi.json", "stream"])
async def test_an_unknown_query_parameter_is_refused(client: Client, path: str) -> None:
    answer = await client.ask("GET", f"{path}?surprise=1")
    assert answer.status == 400
    assert answer.json["error"]["code"] == "E007"
    assert "surprise" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("kind", "told"), [("time", "89|90"), ("seconds", "3"), ("past", "0"), ("text", "absent"), ("none", "absent")]
)
async def test_retry_after_follows_the_retry_time_of_the_error(client: Client, kind: str, told: str) -> None:
    answer = await client.ask("GET", f"quota?kind={kind}")
    assert answer.status == 429
    assert answer.json["error"]["code"] == "E001"
    assert re.fullmatch(told, answer.headers.get("Retry-After", "absent"))


async def test_metrics_count_requests_by_route(client: Client) -> None:
    before = await client.read_metrics()
    one = f"{API}/things/{{thing_id}}/{{number}}"
    for path in ("things/abc/1", "things/abc/2", "things/ABC/1", "nothing"):
        await client.ask("GET", path)
    await client.ask("PROPFIND", "things/abc/1")
    after = await client.read_metrics()

    def more(*key: str) -> float:
        return after[key] - before.get(key, 0.0)

    assert more("ytarchive_http_requests_total", "GET", one, "200") == 2
    assert more("ytarchive_http_requests_total", "GET", one, "404") == 1
    assert more("ytarchive_http_requests_total", "GET", "none", "404") == 1
    assert more("ytarchive_http_requests_total", "other", "none", "405") == 1
    assert more("ytarchive_http_request_duration_seconds_count", "GET", one) == 3
    assert after["ytarchive_http_requests_in_hand",] == 1  # the scrape


async def test_metrics_contain_the_state_of_the_service(client: Client) -> None:
    found = await client.read_metrics()
    assert found["ytarchive_up",] == 1
    assert found["ytarchive_bus_connected",] == 1
    assert found["ytarchive_uptime_seconds",] > 0
    assert found["ytarchive_background_task_failures",] == 0
    assert found["ytarchive_build_info", client.probe.instance, client.probe.version] == 1
    assert found["ytarchive_health_check", "disk_space_available"] == 1
    assert len([key for key in found if key[0] == "ytarchive_health_check"]) == 4


async def test_metrics_contain_the_numbers_of_the_service(client: Client) -> None:
    found = await client.read_metrics()
    own = {key: value for key, value in found.items() if key[0].startswith("ytarchive_logging_")}
    assert own == {
        ("ytarchive_logging_lines",): 3,
        ("ytarchive_logging_full",): 1,
        ("ytarchive_logging_by_host", 'a"b'): 1.5,
    }


async def test_metrics_count_task_failures_and_dead_letters(client: Client) -> None:
    failed = asyncio.Event()

    async def fail() -> None:
        failed.set()
        raise RuntimeError("for the test")

    client.probe.spawn(fail, "one that fails")
    await failed.wait()
    dead_letter = DeadLettered(
        consumer="logging-events", sequence=1, type="job.created", error="for the test", payload=""
    )
    client.probe.dead_letters.note(dead_letter)
    found = await client.read_metrics()
    assert found["ytarchive_background_task_failures",] == 1
    assert found["ytarchive_dead_letters",] == 1
    assert found["ytarchive_up",] == 0
    assert found["ytarchive_health_check", "no_critical_errors"] == 0


@pytest.mark.asyncio(loop_scope="function")
async def test_metrics_are_served_without_a_broker(config: Config, tmp_path: Path, eventually: Eventually) -> None:
    server = EmbeddedServer(tmp_path / "nats", like=BusSettings(url="nats://127.0.0.1"))
    probe = Probe(config, await server.start())
    await probe.startup()
    try:
        await server.stop()
        async with aiohttp.ClientSession() as http:
            client = Client(http, probe)

            async def noticed() -> object:
                return not probe.bus_connected

            await eventually(noticed)
            found = await client.read_metrics()
        assert found["ytarchive_bus_connected",] == 0
        assert found["ytarchive_up",] == 0
        assert found["ytarchive_health_check", "dependencies_available"] == 0
        assert found["ytarchive_logging_lines",] == 3
    finally:
        await probe.shutdown(0.1)
