"""Validate a request before its handler runs: path, query, body.

Invalid input raises InvalidRequest (E007, 400), an invalid path NotFound (404); the message names the part and the
problem.
"""

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from services.common.errors import InvalidRequest, NotFound
from services.common.models import ServiceRequest
from services.common.validation import problems_of


class NoQuery(BaseModel):
    """The query of a route that takes none."""

    model_config = ConfigDict(extra="forbid")


async def read_json(request: web.Request) -> bytes:
    """Return a JSON body, unparsed; an empty one is `{}`. The content type must be JSON, which a form of another site
    cannot send."""
    try:
        raw = await request.read()
    except (web.RequestPayloadError, ConnectionError) as error:  # ConnectionError: the client has gone
        raise InvalidRequest(f"The body cannot be read: {error}") from error
    if not raw.strip():
        raw = b"{}"
    elif request.content_type != "application/json":
        kind = request.content_type
        raise InvalidRequest(f"The body must be application/json, not {kind!a}.", reason="content_type")
    return raw


def wrapper_of(raw: bytes) -> ServiceRequest | None:
    """Return the body as SPEC's request format, if it has exactly its three keys: `data` is the body of the route then.
    None for any other body."""
    try:
        found = from_json(raw)
    except ValueError:
        return None  # parse_body reports it
    if not isinstance(found, dict) or found.keys() != ServiceRequest.model_fields.keys():
        return None
    try:
        return ServiceRequest.model_validate_json(raw, strict=True)
    except ValidationError as error:
        raise _invalid("body", error) from error


def parse_body(raw: bytes, model: type[BaseModel]) -> BaseModel:
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise _invalid("body", error) from error


def read_path(request: web.Request, model: type[BaseModel]) -> BaseModel:
    """Parse the parts of a path. Raise NotFound for parts that no object can have."""
    try:
        return model.model_validate(dict(request.match_info))
    except ValidationError as error:
        invalid = _invalid("path", error)
        raise NotFound(invalid.message, **invalid.details) from error


def read_query(request: web.Request, model: type[BaseModel]) -> BaseModel:
    """Parse a query. Each key may occur once."""
    for key in request.query:
        if len(request.query.getall(key)) > 1:
            raise InvalidRequest(f"query field {key!a} is given more than once")
    values: Mapping[str, Any] = dict(request.query)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _invalid("query", error) from error


def _invalid(place: str, error: ValidationError) -> InvalidRequest:
    problems = problems_of(error)
    first = problems[0]
    where = f"{place} field {first.field}" if first.field else place
    errors = [{"field": problem.field, "problem": problem.text} for problem in problems]
    return InvalidRequest(f"{where}: {first.text}", errors=errors)
