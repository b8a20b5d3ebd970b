"""The event catalogue for readers and for machines, generated from the code: docs/events.md and docs/asyncapi.json.

python -m ytarchive.catalogue            writes both
python -m ytarchive.catalogue --check    exit code 1 and the names of those that are stale
"""

import argparse
import ast
import importlib
import importlib.util
import inspect
import io
import json
import sys
import textwrap
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bus import Delivery, Envelope, Event, Handlers
from services.common.events import catalogue
from ytarchive.stack import SERVICES

DOCS = Path(__file__).parents[1] / "docs"
_REFERENCE = "#/components/schemas/"
_DELIVERIES = {
    Delivery.STREAM: "kept in the stream EVENTS, delivered at least once",
    Delivery.LOG: "kept in the stream LOGS, oldest dropped first",
    Delivery.CORE: "to whoever listens now; nothing is kept",
    Delivery.REQUEST: "a request that waits for one answer",
}
Schema = dict[str, Any]


def tables() -> dict[str, Handlers]:
    """What each service does on which event; services that do not exist yet are left out."""
    found = {}
    for name in SERVICES:
        module = f"services.{name}.handlers"
        if importlib.util.find_spec(module) is not None:
            found[name] = importlib.import_module(module).handlers
    return found


def consumers(kind: type[Event], services: Mapping[str, Handlers]) -> list[str]:
    """The services that handle, hear or answer an event."""
    return [name for name, table in services.items() if kind in _consumed(table)]


def _consumed(table: Handlers) -> set[type[Event]]:
    durable = {kind for consumption in table.consumptions for kind in consumption.events}
    return durable | set(table.ears) | set(table.answers)


# --- schemas ------------------------------------------------------------------------------------------------------


def schemas(kinds: Iterable[type[BaseModel]]) -> dict[str, Schema]:
    """JSON Schemas of the models and of all that they are made of, by class name."""
    _, whole = models_json_schema(
        [(kind, "validation") for kind in kinds], ref_template=f"{_REFERENCE}{{model}}", title="YTArchive"
    )
    definitions: dict[str, Schema] = whole["$defs"]
    return definitions


def _shape(schema: Schema) -> str:
    """A JSON Schema as a short text: `list of Entry`, `string or null`."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(_REFERENCE)
    if "anyOf" in schema:
        return " or ".join(_shape(option) for option in schema["anyOf"])
    if "const" in schema:
        return json.dumps(schema["const"])
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_shape(schema['items'])}" if schema.get("items") else "list"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"map of {_shape(inner)}" if isinstance(inner, dict) and inner else "object"
    if schema.get("format") == "date-time":
        return "time"
    return str(kind or "any")


_LIMITS = {"minimum": "≥ {}", "maximum": "≤ {}", "exclusiveMinimum": "> {}", "pattern": "`{}`"} | {
    "minLength": "length ≥ {}",
    "maxLength": "length ≤ {}",
    "minItems": "at least {}",
    "maxItems": "at most {}",
}


def _limits(schema: Schema) -> str:
    told = [text.format(str(schema[key]).replace("|", "\\|")) for key, text in _LIMITS.items() if key in schema]
    if "default" in schema:
        told.append(f"default `{json.dumps(schema['default'], ensure_ascii=False)}`")
    return ", ".join(told)


@cache
def _remarks(model: type[BaseModel]) -> Mapping[str, str]:
    """What the comments beside the fields say; those of a base class included."""
    told: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base.__module__.startswith(("services.", "bus.")):
            told.update(_comments_in(textwrap.dedent(inspect.getsource(base))))
    return told


def _comments_in(source: str) -> Iterator[tuple[str, str]]:
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    body = ast.parse(source).body[0]
    for node in body.body if isinstance(body, ast.ClassDef) else ():
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.end_lineno in comments:
            yield node.target.id, comments[node.end_lineno].partition(" noqa")[0]


# --- docs/events.md -----------------------------------------------------------------------------------------------


def events_page() -> str:
    """The catalogue as Markdown."""
    kinds, services = catalogue(), tables()
    shapes = schemas((*kinds, Envelope))
    lines = [
        "# Events",
        "",
        "Generated by `python -m ytarchive.catalogue` from `services/common/events.py`; do not edit.",
        "",
        _paragraph(inspect.getdoc(Envelope)),
        "",
        *_fields(Envelope, shapes["Envelope"]),
        "",
        "| subject | from | to | delivery |",
        "|---|---|---|---|",
    ]
    for kind in kinds:
        anchor = kind.subject.replace(".", "")
        to = ", ".join(consumers(kind, services))
        lines.append(f"| [`{kind.subject}`](#{anchor}) | {_publishers(kind)} | {to} | {kind.delivery} |")
    lines += ["", "Deliveries: " + "; ".join(f"*{key}*, {text}" for key, text in _DELIVERIES.items()) + "."]
    for kind in kinds:
        lines += ["", *_event_section(kind, shapes[kind.__name__], services)]
    lines += ["", "# Types"]
    for model in _nested(kinds):
        lines += ["", *_type_section(model, shapes[model.__name__])]
    return "\n".join(lines) + "\n"


def _event_section(kind: type[Event], shape: Schema, services: Mapping[str, Handlers]) -> list[str]:
    to = ", ".join(consumers(kind, services)) or "whoever listens"
    key = ", ".join(f"`{name}`" for name in kind.key) or "none: a random id each time"
    head = [
        f"## {kind.subject}",
        "",
        f"From {_publishers(kind)}; to {to}; delivery *{kind.delivery}*; key: {key}.",
    ]
    text = _own_doc(kind)
    return [*head, *(["", text] if text else []), "", *_fields(kind, shape)]


def _type_section(model: type[BaseModel] | type[Enum], shape: Schema) -> list[str]:
    text = _own_doc(model)
    head = [f"## {model.__name__}", *(["", text] if text else []), ""]
    if issubclass(model, BaseModel):
        return head + _fields(model, shape)
    return [*head, ", ".join(f"`{value}`" for value in shape["enum"])]


def _fields(model: type[BaseModel], shape: Schema) -> list[str]:
    remarks, required = _remarks(model), set(shape.get("required", ()))
    rows = ["| field | type | required | limits | |", "|---|---|---|---|---|"]
    for name, field in shape.get("properties", {}).items():
        needed = "yes" if name in required else ""
        remark = field.get("description") or remarks.get(name, "")
        rows.append(f"| `{name}` | {_shape(field)} | {needed} | {_limits(field)} | {remark} |")
    return rows


def _publishers(kind: type[Event]) -> str:
    return ", ".join(sorted(kind.publishers))


def _own_doc(model: type) -> str:
    return _paragraph(inspect.cleandoc(model.__dict__.get("__doc__") or ""))


def _paragraph(text: str | None) -> str:
    """The first paragraph, on one line."""
    return " ".join((text or "").partition("\n\n")[0].split())


def _nested(kinds: Iterable[type[Event]]) -> list[type[BaseModel] | type[Enum]]:
    """The models and enums that the payloads are made of, by name."""
    models = importlib.import_module("services.common.models")
    names = sorted(set(schemas(kinds)) - {kind.__name__ for kind in kinds})
    return [getattr(models, name) for name in names]


# --- docs/asyncapi.json -------------------------------------------------------------------------------------------


def asyncapi() -> Schema:
    """The same as an AsyncAPI 3.0 document."""
    kinds, services = catalogue(), tables()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "YTArchive",
            "version": version("ytarchive"),
            "description": "The facts and wishes on the bus. Every message is an Envelope; its data is the payload.",
        },
        "defaultContentType": "application/json",
        "servers": {"nats": {"host": "127.0.0.1:4222", "protocol": "nats", "description": "[nats] url, or embedded"}},
        "channels": {kind.subject: _channel(kind) for kind in kinds},
        "operations": dict(_operations(kinds, services)),
        "components": {
            "messages": {kind.subject: _message(kind) for kind in kinds},
            "schemas": schemas((*kinds, Envelope)),
        },
    }


def _channel(kind: type[Event]) -> Schema:
    reference = {"$ref": f"#/components/messages/{kind.subject}"}
    return {
        "address": kind.subject,
        "description": f"{kind.delivery}: {_DELIVERIES[kind.delivery]}",
        "messages": {kind.subject: reference},
    }


def _message(kind: type[Event]) -> Schema:
    payload = {"properties": {"type": {"const": kind.subject}, "data": {"$ref": f"{_REFERENCE}{kind.__name__}"}}}
    text = _own_doc(kind)
    return {
        "name": kind.subject,
        **({"summary": text} if text else {}),
        "correlationId": {"location": "$message.payload#/trace_id"},
        "payload": {"allOf": [{"$ref": f"{_REFERENCE}Envelope"}, payload]},
        "x-key": list(kind.key),
    }


def _operations(kinds: Iterable[type[Event]], services: Mapping[str, Handlers]) -> Iterator[tuple[str, Schema]]:
    for kind in kinds:
        for name in sorted(kind.publishers):
            yield f"{name}.send.{kind.subject}", _operation("send", name, kind)
        for name in consumers(kind, services):
            yield f"{name}.receive.{kind.subject}", _operation("receive", name, kind)


def _operation(action: str, name: str, kind: type[Event]) -> Schema:
    channel = f"#/channels/{kind.subject}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{kind.subject}"}],
        "tags": [{"name": name}],
    }


# --- the files ----------------------------------------------------------------------------------------------------


def pages() -> dict[Path, str]:
    """The generated files, relative to docs/, with what they should hold."""
    return {
        Path("events.md"): events_page(),
        Path("asyncapi.json"): json.dumps(asyncapi(), indent=2, ensure_ascii=False) + "\n",
    }


def stale(docs: Path = DOCS) -> list[Path]:
    """The generated files that do not hold what the code says."""
    current = {docs / name: text for name, text in pages().items()}
    return [path for path, text in current.items() if not path.exists() or path.read_text(encoding="utf-8") != text]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write docs/events.md and docs/asyncapi.json from the code.")
    parser.add_argument("--check", action="store_true", help="only tell which are stale; exit code 1 if any")
    if parser.parse_args(arguments).check:
        found = stale()
        sys.stderr.writelines(f"{path} is stale: run `make docs`\n" for path in found)
        return 1 if found else 0
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
