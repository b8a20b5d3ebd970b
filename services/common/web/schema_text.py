"""Short descriptions of JSON Schemas, for documentation pages."""

import json
from typing import Any

Schema = dict[str, Any]
_LIMITS = {"minimum": "≥ {}", "maximum": "≤ {}", "exclusiveMinimum": "> {}", "pattern": "`{}`"} | {
    "minLength": "length ≥ {}",
    "maxLength": "length ≤ {}",
    "minItems": "at least {}",
    "maxItems": "at most {}",
}


def shape(schema: Schema) -> str:
    """Return a short text for a JSON Schema: `list of Entry`, `string or null`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(shape(option) for option in schema["anyOf"])
    if "const" in schema:
        return json.dumps(schema["const"])
    kind = schema.get("type")
    if kind == "array":
        return f"list of {shape(schema['items'])}" if schema.get("items") else "list"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"map of {shape(inner)}" if isinstance(inner, dict) and inner else "object"
    if schema.get("format") == "date-time":
        return "time"
    return str(kind or "any")


def limits(schema: Schema) -> str:
    """Return the bounds and the default: "≥ 1, ≤ 500, default `50`"."""
    found = [text.format(schema[key]) for key, text in _LIMITS.items() if key in schema]
    if "default" in schema:
        found.append(f"default `{json.dumps(schema['default'], ensure_ascii=False)}`")
    return ", ".join(found)
