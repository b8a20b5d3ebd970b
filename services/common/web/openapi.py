"""Generate the OpenAPI 3.1 document of a service from its routes; pydantic provides the schemas of the models.

Every answer is a ServiceResponse with typed `data`, except where a route declares something else (`media_type`, SSE).
The document does not depend on the machine or the configuration (docs/decisions/0009).
"""

import inspect
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, Literal

from pydantic import TypeAdapter

from services.common.models import ErrorDetail, ServiceResponse
from services.common.web.routing import BODY_LIMIT, TRACE_HEADER, Route

API = "/api/v1"
REFERENCE = "#/components/schemas/"
Schema = dict[str, Any]
_Mode = Literal["validation", "serialization"]
_PART = re.compile(r"\{(\w+)(?::[^{}]*)?\}")  # a part of a path, as aiohttp writes it

_ABOUT = (
    f"Answers are ServiceResponse: `data` or `error`, and the `trace_id`, which is also the header {TRACE_HEADER}. "
    "Unknown query keys and invalid paths or bodies are rejected and change nothing (400, 404). "
    "A method that a path does not have is answered with 405 and the header Allow. "
    "HEAD is GET without the body, except for event streams."
)
_AUTHENTICATION = (
    "Needed where a service can be reached from other machines. `ytarchive auth token add` issues one with the scope "
    "read, request or operate; each includes those before it. `x-token-scope` of an operation is the one that it needs."
)
_WHEN = {
    400: "The request is invalid; `error` names the part and the problem",
    401: "A token is needed, or the one that was sent is not valid",
    403: "Caused by a page of another site, sent under a foreign host name, or the token lacks the scope",
    404: "Not found",
    413: f"The body is larger than {BODY_LIMIT} bytes",
    429: "This client sends too many requests; the header Retry-After tells when to send the next one",
    503: "The service, or something it depends on, is unavailable; retry later",
}


def document(service: str, version: str, routes: Sequence[Route]) -> Schema:
    """Return the document. Raise ValueError for two routes with the same method and path."""
    shapes = _Shapes(routes)
    paths: dict[str, Schema] = {}
    for number, route in enumerate(routes):
        path = _PART.sub(r"{\1}", route.path)
        operations = paths.setdefault(path, {})
        if route.method.lower() in operations:
            raise ValueError(f"{route.method} {path} is declared twice")
        operations[route.method.lower()] = _operation(service, number, route, shapes)
    head: Schema = {
        "openapi": "3.1.0",
        "info": {"title": f"YTArchive {service}", "version": version, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {}],  # none is needed of a service that only this machine can reach
        "tags": [{"name": name} for name in Counter(_tag(service, route) for route in routes)],
        "paths": paths,
    }
    return {**head, "components": _components(shapes, head)}


def operation_id(route: Route) -> str:
    """Return an id such as `get_jobs_job_id_items`, which is unique because method and path are."""
    path = _PART.sub(r"\1", route.path.removeprefix(API))
    return "_".join([route.method.lower(), *re.findall(r"\w+", path.replace(".", "_"))])


class _Shapes:
    """The JSON Schemas of all models of the routes, generated together so that each has one name."""

    def __init__(self, routes: Sequence[Route]) -> None:
        wanted: list[tuple[tuple[int, str], _Mode, TypeAdapter[Any]]] = [
            ((-1, "response"), "serialization", TypeAdapter(ServiceResponse)),
            ((-1, "error"), "serialization", TypeAdapter(ErrorDetail)),
        ]
        for number, route in enumerate(routes):
            for key, mode, kind in _kinds(route):
                wanted.append(((number, key), mode, TypeAdapter(kind)))
        found, whole = TypeAdapter.json_schemas(wanted, ref_template=f"{REFERENCE}{{model}}")
        self.definitions: dict[str, Schema] = whole.get("$defs", {})
        self._found = {key: schema for (key, _mode), schema in found.items()}

    def of(self, number: int, key: str) -> Schema | None:
        return self._found.get((number, key))

    def fields(self, number: int, key: str) -> Iterator[tuple[str, Schema, bool]]:
        """Yield name, schema and whether it is required, for each field of the model."""
        schema = self.of(number, key) or {}
        if "$ref" in schema:
            schema = self.definitions[schema["$ref"].removeprefix(REFERENCE)]
        for name, field in schema.get("properties", {}).items():
            yield name, field, name in schema.get("required", ())


def _kinds(route: Route) -> Iterator[tuple[str, _Mode, Any]]:
    if route.path_model is not None:
        yield "path", "validation", route.path_model
    if route.query is not None:
        yield "query", "validation", route.query
    if route.body is not None:
        yield "body", "validation", route.body
    if route.response is not None:
        yield "response", "serialization", route.response
    if route.failure is not None:
        yield "failure", "serialization", route.failure


def _operation(service: str, number: int, route: Route, shapes: _Shapes) -> Schema:
    text = inspect.cleandoc(getattr(route.handler, "__doc__", None) or "")
    found: Schema = {
        "operationId": operation_id(route),
        "tags": [_tag(service, route)],
        "summary": route.summary,
        **({"deprecated": True} if route.deprecated else {}),
        **({"description": text} if text else {}),
        "x-token-scope": route.needed,
        "parameters": list(_parameters(number, route, shapes)),
        "responses": dict(sorted(_answers(number, route, shapes))),
    }
    body = shapes.of(number, "body")
    if body is not None:
        whole = shapes.definitions.get(body.get("$ref", "").removeprefix(REFERENCE), body)
        needed = bool(whole.get("required"))  # an empty body is {}
        found["requestBody"] = {"required": needed, "content": {"application/json": {"schema": _either(body)}}}
    return found


def _either(body: Schema) -> Schema:
    """Return the schema of a body, plain or in SPEC's request format."""
    wrapped = {
        "title": "ServiceRequest",
        "description": "The same body as `data`. `trace_id` counts unless the header X-Trace-Id is there.",
        "type": "object",
        "required": ["trace_id", "timestamp", "data"],
        "additionalProperties": False,
        "properties": {
            "trace_id": {"type": "string"},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": body,
        },
    }
    return {"anyOf": [body, wrapped]}


def _tag(service: str, route: Route) -> str:
    return "every service" if route.common else service


# --- requests -----------------------------------------------------------------------------------------------------


def _parameters(number: int, route: Route, shapes: _Shapes) -> Iterator[Schema]:
    known = {name: schema for name, schema, _ in shapes.fields(number, "path")}
    for name in _PART.findall(route.path):
        schema = known.get(name, {"type": "string", "minLength": 1})
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    for name, schema, needed in shapes.fields(number, "query"):
        yield {"name": name, "in": "query", "required": needed, "schema": _sendable(schema)}
    for name, text in route.headers.items():
        yield {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
    yield {"$ref": "#/components/parameters/TraceId"}


def _sendable(schema: Schema) -> Schema:
    """Remove null from a query parameter: a query omits the key instead."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    if rest.get("default", ...) is None:
        del rest["default"]
    if len(options) == 1:
        return options[0] if "$ref" in options[0] and not rest else {**options[0], **rest}
    return {"anyOf": options, **rest} if options else rest


# --- responses ----------------------------------------------------------------------------------------------------


def _answers(number: int, route: Route, shapes: _Shapes) -> Iterator[tuple[str, Schema]]:
    good = {route.status: HTTPStatus(route.status).phrase} | {s: t for s, t in route.also.items() if s < 400}
    for status, text in good.items():
        bare = status in {204, 304}
        content = {} if bare else {"content": _content(route, shapes.of(number, "response"))}
        yield str(status), {"description": text, "headers": _headers(status), **content}
    usual = {400: True, 401: True, 403: True, 404: "{" in route.path, 413: route.body is not None}
    usual |= {429: route.limited, 503: True}
    bad = {status: _WHEN[status] for status, may in usual.items() if may}
    found = shapes.of(number, "failure")
    for status, text in (bad | {s: t for s, t in route.also.items() if s >= 400}).items():
        schema = _failed(found) if found is not None else {"$ref": f"{REFERENCE}Failure"}
        content = {"content": {"application/json": {"schema": schema}}}
        yield str(status), {"description": text or _WHEN.get(status, ""), "headers": _headers(status), **content}


def _content(route: Route, data: Schema | None) -> Schema:
    if route.streams:
        kind = route.media_type or "text/event-stream"
        of_events = {"contentMediaType": "application/json", "contentSchema": data} if data is not None else {}
        text = "server-sent events; see the description"
        return {kind: {"schema": {"type": "string", "description": text, **of_events}}}
    if route.media_type is not None:
        return {route.media_type: {"schema": data} if data is not None else {}}
    return {"application/json": {"schema": _wrapped({"success": {"const": True}, "data": data, "error": _NOTHING})}}


_NOTHING: Schema = {"type": "null"}


def _failed(data: Schema | None = None) -> Schema:
    """`data`: the schema of data beside the error, if the route has any."""
    found = _NOTHING if data is None else {"anyOf": [data, _NOTHING]}
    return _wrapped({"success": {"const": False}, "data": found, "error": {"$ref": f"{REFERENCE}ErrorDetail"}})


def _wrapped(properties: dict[str, Schema | None]) -> Schema:
    narrowed = {name: schema for name, schema in properties.items() if schema is not None}
    required = ["success", "data", "error", "trace_id"]
    whole = {"type": "object", "required": required, "properties": narrowed}
    return {"allOf": [{"$ref": f"{REFERENCE}ServiceResponse"}, whole]}


def _headers(status: int) -> Schema:
    found = {TRACE_HEADER: {"$ref": "#/components/headers/TraceId"}}
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        found["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    return found


def _components(shapes: _Shapes, head: Schema) -> Schema:
    schemas = {**shapes.definitions, "Failure": _failed()}
    used = set(_closure(head, schemas)) | {"ServiceResponse", "ErrorDetail", "ErrorCode", "Failure"}
    return {
        "parameters": {
            "TraceId": {
                "name": TRACE_HEADER,
                "in": "header",
                "description": "Trace id for everything that the request causes. An invalid one is replaced.",
                "schema": {"type": "string"},
            }
        },
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": _AUTHENTICATION}},
        "headers": {
            "TraceId": {"description": "The trace of this request", "required": True, "schema": {"type": "string"}},
            "RetryAfter": {"description": "Seconds to wait before the next attempt", "schema": {"type": "string"}},
        },
        "responses": {
            "MethodNotAllowed": {
                "description": "The path has no such method; the header Allow lists the allowed ones",
                "headers": {"Allow": {"schema": {"type": "string"}}, **_headers(405)},
                "content": {"application/json": {"schema": {"$ref": f"{REFERENCE}Failure"}}},
            }
        },
        "schemas": {name: schema for name, schema in sorted(schemas.items()) if name in used},
    }


def _closure(start: Any, schemas: dict[str, Schema]) -> set[str]:
    """Return the names of the schemas reachable from `start`. Models of paths and queries appear as parameters only."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        match waiting.pop():
            case {"$ref": str() as reference}:
                name = reference.removeprefix(REFERENCE)
                if name in schemas and name not in seen:
                    seen.add(name)
                    waiting.append(schemas[name])
            case dict() as mapping:
                waiting.extend(mapping.values())
            case list() as items:
                waiting.extend(items)
    return seen
