"""Server-sent events of the services."""

import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from typing import Any

import aiohttp

from services.common.errors import ServiceUnavailable, TooManyRequests
from services.common.models import ServiceResponse
from ytarchive.client.rest import bearer, error_of

_SILENCE = 30.0  # seconds; a stream sends a comment every 10
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=_SILENCE)
_LONGEST = 16 * 1024**2  # bytes of one event

Message = tuple[str, dict[str, Any]]  # the name of the event and its data


class StreamLost(Exception):  # not an error: the service may come back
    """The service does not answer, or ended the stream."""


async def stream(
    base: str,
    path: str,
    query: Mapping[str, str | int] | None = None,
    *,
    token: str | None = None,
    last_event_id: int | None = None,
) -> AsyncGenerator[Message, None]:
    """Yield the events of GET `path`. Raise StreamLost at the end of the connection, another YTArchiveError for a
    rejected request."""
    headers = bearer(token) | ({} if last_event_id is None else {"Last-Event-ID": str(last_event_id)})
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=False, read_bufsize=_LONGEST) as session,
            session.get(f"{base}/api/v1/{path}", params=query, headers=headers) as response,
        ):
            if response.status != 200:
                raise _refusal(response.status, await response.read())
            async for message in parse_events(response.content):
                yield message
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise StreamLost from error
    raise StreamLost


async def parse_events(lines: AsyncIterable[bytes]) -> AsyncIterator[Message]:
    """Parse an event stream as our services write it: one line of data per event. Comments are ignored."""
    name, data = "", ""
    async for raw in lines:
        key, _, value = raw.decode().rstrip("\r\n").partition(": ")
        if key == "event":
            name = value
        elif key == "data":
            data = value
        elif not key and not value and data:
            yield name, json.loads(data)
            name, data = "", ""


def _refusal(status: int, body: bytes) -> Exception:
    """Return the error of a request that will be refused again; a service that is stopping comes back, and the rate of
    requests falls."""
    try:
        answer = ServiceResponse.model_validate_json(body)
    except ValueError:
        return ServiceUnavailable("The answer is not from a service of ytarchive.")
    error = error_of(answer.error, status)
    return StreamLost() if status >= 500 or isinstance(error, TooManyRequests) else error
