"""GET /api/v1/docs: the OpenAPI document of a service as one HTML page, without scripts and external resources."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from yarl import URL

from services.common.names import SERVICES
from services.common.status import ServiceStatus
from services.common.web.openapi import API, REFERENCE, Schema
from services.common.web.schema_text import limits, shape

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --link: #0a58ca }
@media (prefers-color-scheme: dark) { :root { --link: #8ab4f8 } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem }
a { color: var(--link) } h2 { margin-top: 2.5rem } h3 { margin: 0 }
section { border-top: 1px solid var(--line); padding: 1rem 0 }
code, pre { font: 0.875rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere }
pre { background: var(--soft); padding: 0.75rem; white-space: pre-wrap }
table { border-collapse: collapse; width: 100%; margin: 0.5rem 0 } th, td { text-align: left; vertical-align: top;
  padding: 0.25rem 0.75rem 0.25rem 0; border-bottom: 1px solid var(--line) }
.method { display: inline-block; min-width: 4.5rem; font-weight: 700 } nav ul { columns: 20rem; padding-left: 1rem }
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_WORD = r"[\w.-]+|[^\w.-]"  # all of a text, so that all of it is escaped
_DEEPEST = 4  # levels of an example body


def others(service: ServiceStatus, origin: URL) -> dict[str, str]:
    """Return the URLs of the other services' pages, by name, as configured; those with port 0 are omitted.

    A service on this machine is reached under the name by which the reader came here.
    """
    found: dict[str, str] = {}
    for name in SERVICES:
        endpoint = getattr(service.config.services, name)
        if name != service.name and endpoint.port:
            host = origin.host if endpoint.is_local else endpoint.host
            url = URL.build(scheme=origin.scheme, host=host or endpoint.host, port=endpoint.port, path=f"{API}/docs")
            found[name] = str(url)
    return found


def page(document: Schema, origin: str, neighbours: Mapping[str, str]) -> str:
    """Return the page. Every text of the document is escaped."""
    info, schemas = document["info"], document["components"]["schemas"]
    title = escape(f"{info['title']} {info['version']}")
    operations = list(_operations(document))
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>',
        f"<h1>{title}</h1><p>{_text(info['description'])}</p>",
        f'<p>OpenAPI document: <a href="{API}/openapi.json">openapi.json</a>. Other services: {_links(neighbours)}</p>',
        f"<nav><ul>{''.join(_line(*operation) for operation in operations)}</ul></nav><main>",
        *(_section(method, path, operation, document, origin) for method, path, operation in operations),
        "<h2>Types</h2>",
        *(_type(name, schema) for name, schema in schemas.items()),
        "</main></body></html>\n",
    ]
    return "\n".join(parts)


def _operations(document: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield method.upper(), path, operation


def _links(pages: Mapping[str, str]) -> str:
    return ", ".join(f'<a href="{escape(url)}">{escape(name)}</a>' for name, url in pages.items()) or "none known"


def _line(method: str, path: str, operation: Schema) -> str:
    return f'<li><a href="#{escape(operation["operationId"])}"><code>{method} {escape(path)}</code></a></li>'


def _section(method: str, path: str, operation: Schema, document: Schema, origin: str) -> str:
    parts = [
        f'<section id="{escape(operation["operationId"])}">',
        f'<h3><code><span class="method">{method}</span> {escape(path)}</code></h3>',
        f"<p><strong>{_text(operation['summary'])}</strong></p>",
        "<p>Deprecated: the next release removes this path.</p>" if operation.get("deprecated") else "",
        f"<p>{_text(operation['description'])}</p>" if "description" in operation else "",
        _table(("parameter", "in", "type", "limits", ""), _parameters(operation, document)),
        _body(operation),
        _table(("status", "when", "content", "data"), _answers(operation)),
        f"<pre>{escape(curl(method, path, operation, document, origin))}</pre></section>",
    ]
    return "\n".join(part for part in parts if part)


def _parameters(operation: Schema, document: Schema) -> Iterator[tuple[str, ...]]:
    for given in operation["parameters"]:
        one = _resolved(given, document)
        needed = " (required)" if one.get("required") else ""
        remark = one.get("description") or one["schema"].get("description", "")
        yield _code(one["name"]), one["in"] + needed, _shape(one["schema"]), _text(limits(one["schema"])), _text(remark)


def _body(operation: Schema) -> str:
    if "requestBody" not in operation:
        return ""
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    needed = "" if operation["requestBody"]["required"] else ", optional"
    plain = schema["anyOf"][0]  # the other choice is the same in SPEC's request format
    return f"<p>Body: {_shape(plain)} as application/json{needed}; also as <code>data</code> of a ServiceRequest</p>"


def _answers(operation: Schema) -> Iterator[tuple[str, ...]]:
    for status, answer in operation["responses"].items():
        for kind, media in answer.get("content", {"": {}}).items():
            yield status, _text(answer["description"]), _code(kind), _shape(_data(media.get("schema", {})))


def _data(schema: Schema) -> Schema:
    """Return the schema of `data` if the answer is a ServiceResponse."""
    for part in schema.get("allOf", ()):
        if "properties" in part:
            found: Schema = part["properties"].get("data", {})
            return found
    return schema


def _type(name: str, schema: Schema) -> str:
    head = f'<section id="type-{escape(name)}"><h3><code>{escape(name)}</code></h3>'
    text = f"<p>{_text(schema['description'])}</p>" if "description" in schema else ""
    if "enum" in schema:
        return f"{head}{text}<p>{', '.join(_code(str(value)) for value in schema['enum'])}</p></section>"
    needed = set(schema.get("required", ()))
    rows = [
        (
            _code(field),
            "yes" if field in needed else "",
            _shape(field_schema),
            _text(limits(field_schema)),
            _text(field_schema.get("description")),
        )
        for field, field_schema in schema.get("properties", {}).items()
    ]
    return f"{head}{text}{_table(('field', 'required', 'type', 'limits', ''), rows)}</section>"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """`rows` contain escaped HTML."""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>{body}</table>" if body else ""


def _shape(schema: Schema) -> str:
    """Return the type as text; names of types are links to their sections."""
    named = _named(schema)

    def linked(word: re.Match[str]) -> str:
        name = escape(word[0])
        return f'<a href="#type-{name}">{name}</a>' if word[0] in named else name

    return f"<code>{re.sub(_WORD, linked, shape(schema))}</code>"


def _named(schema: Any) -> set[str]:
    match schema:
        case {"$ref": str() as reference}:
            return {reference.removeprefix(REFERENCE)}
        case {"anyOf": list() as options}:
            return {name for option in options for name in _named(option)}
        case {"items": inner} | {"additionalProperties": inner}:
            return _named(inner)
    return set()


def _resolved(schema: Schema, document: Schema) -> Schema:
    found: Any = document
    if "$ref" not in schema:
        return schema
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    resolved: Schema = found
    return resolved


def _text(text: str | None) -> str:
    """Convert text to HTML: paragraphs, and backticks to code."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", escape(text or "")).replace("\n\n", "<br><br>")


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>" if text else ""


# --- examples -----------------------------------------------------------------------------------------------------


def curl(method: str, path: str, operation: Schema, document: Schema, origin: str) -> str:
    """Return an example command; upper-case words in the path are placeholders."""
    for given in operation["parameters"]:
        if given.get("in") == "path":
            path = path.replace(f"{{{given['name']}}}", given["name"].upper())
    words = ["curl", "--no-buffer"] if "text/event-stream" in str(operation["responses"].get("200")) else ["curl"]
    if method != "GET":
        words += ["-X", method]
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = json.dumps(example(schema, document), ensure_ascii=False).replace("'", "'\\''")
        words += ["-H", "'Content-Type: application/json'", "-d", f"'{body}'"]
    return " ".join([*words, f"'{origin}{path}'"])


def example(schema: Schema, document: Schema, depth: int = 0) -> Any:
    """Return an example value with the required fields only."""
    schema = _resolved(schema, document)
    for key in ("examples", "enum", "anyOf", "oneOf"):
        if schema.get(key):
            first = schema[key][0]
            return example(first, document, depth) if key.endswith("Of") else first
    if "const" in schema or "default" in schema:
        return schema.get("const", schema.get("default"))
    match schema.get("type"):
        case "object" if depth < _DEEPEST:
            fields = schema.get("properties", {})
            return {
                name: example(fields[name], document, depth + 1)
                for name in schema.get("required", ())
                if name in fields
            }
        case "array":
            return [example(schema.get("items", {}), document, depth + 1)] * min(schema.get("minItems", 0), 1)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
    return "..."
