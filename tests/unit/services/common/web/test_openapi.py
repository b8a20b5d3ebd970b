"""The OpenAPI documents (valid, complete, consistent with the routes) and the HTML page rendered from them."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, ConfigDict, Field
from yarl import URL

from bus import BusSettings
from services.common.names import SERVICES
from services.common.service import ServiceBase
from services.common.settings.load import Config
from services.common.web import docs_page, openapi
from services.common.web.routing import Call, Route
from services.common.web.standard_routes import Surface
from ytarchive.stack import load_service

ORIGIN = "http://127.0.0.1:8000"


def surface(name: str) -> Surface:
    return load_service(name)(Config(), BusSettings(url="nats://nowhere")).surface()


@pytest.fixture(scope="module", params=SERVICES)
def real(request: pytest.FixtureRequest) -> Surface:
    return surface(request.param)


class ThingPath(BaseModel):
    thing_id: str = Field(pattern="^[a-z]{3}$")


class ThingQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1)
    word: str | None = None
    must: bool


class NewThing(BaseModel):
    """<script>alert(1)</script> & more"""

    name: str = Field(min_length=1, description="its <b>name</b>")
    size: int = 3


class Thing(NewThing):
    made_by: str | None = None


async def handle(_call: Call, **_models: BaseModel) -> Thing:
    """What <i>happens</i>."""
    return Thing(name="x")


ONE = "/api/v1/things/{thing_id}"
ROUTES = (
    Route("GET", ONE, handle, "One <thing>", path_model=ThingPath, query=ThingQuery, response=Thing, also={429: ""}),
    Route("POST", "/api/v1/things", handle, "Make one", body=NewThing, response=Thing, status=201, needs_bus=True),
    Route("DELETE", ONE, handle, "Remove", path_model=ThingPath, status=204),
    Route("GET", f"{ONE}/events", handle, "Follow", streams=True, headers={"Last-Event-ID": "go on there"}),
    Route(
        "GET", ONE + "/files/{name:.+}", handle, "A file", media_type="application/octet-stream", also={206: "A part"}
    ),
    Route("GET", "/api/v1/state", handle, "State", response=Thing, failure=Thing, common=True),
)


@pytest.fixture
def document() -> openapi.Schema:
    return openapi.document("things", "1.0", ROUTES)


def test_every_document_is_valid_openapi(real: Surface, document: openapi.Schema) -> None:
    for one in (real.document, document):
        assert one["openapi"] == "3.1.0"
        OpenAPIV31SpecValidator(json.loads(json.dumps(one))).validate()


def test_the_validator_rejects_an_invalid_document(document: openapi.Schema) -> None:
    del document["paths"]["/api/v1/things"]["post"]["responses"]["201"]["description"]
    assert list(OpenAPIV31SpecValidator(document).iter_errors())


def operations(document: openapi.Schema) -> list[tuple[str, str, openapi.Schema]]:
    return [(m.upper(), path, operation) for path, found in document["paths"].items() for m, operation in found.items()]


def test_every_route_is_an_operation_with_unique_id_summary_and_tags(real: Surface) -> None:
    listed = operations(real.document)
    assert len(listed) == len(real.routes)
    assert {"health", "metrics", "openapi.json", "docs"} <= {path.rpartition("/")[2] for _, path, _ in listed}
    ids = [operation["operationId"] for *_, operation in listed]
    assert len(set(ids)) == len(ids)
    assert [operation["operationId"] for *_, operation in listed if not operation["summary"]] == []
    tags = {tag["name"] for tag in real.document["tags"]}
    assert {tag for *_, operation in listed for tag in operation["tags"]} == tags


def test_every_operation_accepts_and_returns_a_trace_id(real: Surface) -> None:
    for *_, operation in operations(real.document):
        assert {"$ref": "#/components/parameters/TraceId"} in operation["parameters"]
        for answer in operation["responses"].values():
            assert "X-Trace-Id" in answer["headers"]


def test_generating_a_document_is_deterministic(real: Surface) -> None:
    assert surface(real.document["info"]["title"].split()[-1]).document == real.document


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for inner in value.values() for found in references(inner)]
    return [found for inner in value for found in references(inner)] if isinstance(value, list) else []


def test_every_reference_resolves_and_every_schema_is_referenced(real: Surface) -> None:
    found = set(references(real.document))
    for reference in found:
        place: Any = real.document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]  # KeyError: unresolved reference
    named = {reference.removeprefix(openapi.REFERENCE) for reference in found}
    assert set(real.document["components"]["schemas"]) - named == set()


def test_parameters_come_from_path_query_and_header_models(document: openapi.Schema) -> None:
    operation = document["paths"][ONE]["get"]["parameters"]
    by_name = {one["name"]: one for one in operation if "name" in one}
    assert by_name["thing_id"]["schema"]["pattern"] == "^[a-z]{3}$"
    assert by_name["thing_id"]["required"]
    assert by_name["limit"]["schema"] == {"type": "integer", "minimum": 1, "default": 50, "title": "Limit"}
    assert by_name["word"]["schema"] == {"type": "string", "title": "Word"}
    assert not by_name["word"]["required"]
    assert by_name["must"]["required"]
    events = document["paths"][f"{ONE}/events"]["get"]["parameters"]
    assert {"thing_id", "Last-Event-ID"} <= {one.get("name") for one in events}


def test_json_answers_are_wrapped_in_a_service_response(document: openapi.Schema) -> None:
    found = document["paths"]["/api/v1/things"]["post"]
    assert set(found["responses"]) == {"201", "400", "401", "403", "413", "429", "503"}
    schema = found["responses"]["201"]["content"]["application/json"]["schema"]
    assert schema["allOf"][0] == {"$ref": "#/components/schemas/ServiceResponse"}
    assert schema["allOf"][1]["properties"]["data"] == {"$ref": "#/components/schemas/Thing"}
    refused = found["responses"]["400"]["content"]["application/json"]["schema"]
    assert refused == {"$ref": "#/components/schemas/Failure"}
    assert found["requestBody"]["required"]
    plain, wrapped = found["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert wrapped["required"] == ["trace_id", "timestamp", "data"]
    assert wrapped["properties"]["data"] == plain


def test_the_data_of_a_failure_can_have_a_schema(document: openapi.Schema) -> None:
    schema = document["paths"]["/api/v1/state"]["get"]["responses"]["503"]["content"]["application/json"]["schema"]
    assert schema["allOf"][1]["properties"]["data"] == {
        "anyOf": [{"$ref": "#/components/schemas/Thing"}, {"type": "null"}]
    }


def test_streams_files_and_empty_answers_are_not_service_responses(document: openapi.Schema) -> None:
    paths = document["paths"]
    assert list(paths[f"{ONE}/events"]["get"]["responses"]["200"]["content"]) == ["text/event-stream"]
    file = paths[f"{ONE}/files/{{name}}"]["get"]["responses"]
    assert list(file["206"]["content"]) == ["application/octet-stream"]
    assert "content" not in paths[ONE]["delete"]["responses"]["204"]
    assert "Retry-After" in paths[ONE]["get"]["responses"]["429"]["headers"]


def test_two_routes_with_the_same_method_and_path_are_refused() -> None:
    with pytest.raises(ValueError, match="GET /api/v1/state is declared twice"):
        openapi.document("things", "1.0", [ROUTES[-1], ROUTES[-1]])


# --- the HTML page ------------------------------------------------------------------------------------------------


class PageParser(HTMLParser):
    """Collect the tags, attributes, ids and links of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        by_name = dict(attrs)
        self.ids += [by_name["id"]] if by_name.get("id") else []  # type: ignore[list-item]  # not None, by the condition
        self.links += [by_name["href"]] if by_name.get("href") else []  # type: ignore[list-item]  # as above
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_shows_every_operation_and_loads_no_resources(real: Surface) -> None:
    page = docs_page.page(real.document, ORIGIN, {"other": "http://127.0.0.1:9/api/v1/docs"})
    seen = PageParser(page)
    assert seen.open == []
    assert not seen.tags & {"script", "link", "img", "iframe", "form", "object"}
    assert not {name for name in seen.attributes if name.startswith("on") or name in {"style", "src"}}
    assert len(set(seen.ids)) == len(seen.ids)
    assert {operation["operationId"] for *_, operation in operations(real.document)} <= set(seen.ids)
    assert {link for link in seen.links if link.startswith("#")} <= {f"#{name}" for name in seen.ids}
    outside = {link for link in seen.links if not link.startswith("#")}
    assert outside == {"/api/v1/openapi.json", "http://127.0.0.1:9/api/v1/docs"}


def test_every_text_on_the_page_is_escaped(document: openapi.Schema) -> None:
    page = docs_page.page(document, ORIGIN + "/<u>", {"<em>": 'http://x/"><s>'})
    seen = PageParser(page)
    assert not seen.tags & {"script", "i", "b", "thing", "u", "em", "s"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert "What &lt;i&gt;happens&lt;/i&gt;." in page


def test_the_content_security_policy_allows_only_the_inline_style(document: openapi.Schema) -> None:
    policy = docs_page.HEADERS["Content-Security-Policy"]
    style = docs_page.page(document, ORIGIN, {}).partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_the_curl_example_of_an_operation(document: openapi.Schema) -> None:
    operation = document["paths"]["/api/v1/things"]["post"]
    assert docs_page.curl("POST", "/api/v1/things", operation, document, ORIGIN) == (
        "curl -X POST -H 'Content-Type: application/json' -d '{\"name\": \"...\"}' '" + ORIGIN + "/api/v1/things'"
    )
    operation = document["paths"][f"{ONE}/events"]["get"]
    command = docs_page.curl("GET", f"{ONE}/events", operation, document, ORIGIN)
    assert command == f"curl --no-buffer '{ORIGIN}/api/v1/things/THING_ID/events'"


class _Jobs(ServiceBase):
    name = "jobs"


def test_links_to_the_other_services_use_their_configured_addresses() -> None:
    services = {"storage": {"host": "nas", "port": 9}, "logging": {"port": 0}, "download": {"host": "0.0.0.0"}}  # noqa: S104 - not bound
    config = Config.model_validate({"services": services})
    found = docs_page.others(_Jobs(config, BusSettings(url="nats://nowhere")), URL("http://me:1"))
    assert found == {
        "metadata": "http://me:8001/api/v1/docs",
        "download": "http://me:8002/api/v1/docs",
        "storage": "http://nas:9/api/v1/docs",
    }


def test_operation_ids_are_identifiers(real: Surface) -> None:
    assert all(re.fullmatch(r"\w+", openapi.operation_id(route)) for route in real.routes)
