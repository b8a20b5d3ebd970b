"""JSON Schemas as TypeScript types."""

from typing import Any

import pytest

from ytarchive.docgen.page_types import module, type_of


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (True, "unknown"),
        ({}, "unknown"),
        ({"type": "string", "pattern": "x"}, "string"),
        ({"type": "integer"}, "number"),
        ({"const": "done"}, '"done"'),
        ({"enum": ["a", "b", None]}, '"a" | "b" | null'),
        ({"$ref": "#/components/schemas/Job"}, "Job"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string | null"),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, '("a" | "b")[]'),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, "[number, string]"),
        ({"type": "object", "additionalProperties": {"type": "boolean"}}, "Record<string, boolean>"),
        (
            {"type": "object", "required": ["a-b"], "properties": {"a-b": {"type": "null"}, "c": {"type": "number"}}},
            '{ "a-b": null; c?: number }',
        ),
    ],
)
def test_a_schema_has_a_type(schema: Any, text: str) -> None:
    assert type_of(schema) == text


def document(**schemas: Any) -> dict[str, Any]:
    answer = {"allOf": [{}, {"properties": {"data": {"$ref": "#/components/schemas/Job"}}}]}
    operation = {
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
        "responses": {"200": {"content": {"application/json": {"schema": answer}}}},
    }
    return {"components": {"schemas": schemas}, "paths": {"/jobs/{id}": {"get": operation, "delete": operation}}}


def test_reads_and_orders_are_typed_and_one_name_has_one_meaning() -> None:
    text = module([document(Job={"type": "string", "description": "A */ job."})])
    assert "/** A * / job. */\nexport type Job = string;" in text
    entry = "{ path: { id: string }; query: Record<never, never>; body: undefined; answer: Job }"
    assert f'  "/jobs/{{id}}": {entry};' in text
    assert f'  "DELETE /jobs/{{id}}": {entry};' in text
    with pytest.raises(ValueError, match="two schemas are named Job"):
        module([document(Job={"type": "string"}), document(Job={"type": "integer"})])
