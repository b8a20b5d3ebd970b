"""Following the logs of a running system for `logs --follow`: the stream of the logging service (SSE), whatever happens
to it meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any

import aiohttp

from services.common.errors import InvalidRequest, ServiceUnavailable
from services.common.models import ServiceResponse
from services.common.settings.load import Config
from services.logging.queries import LogFilter
from ytarchive.client.endpoints import System, find_system, require_system

_SILENT = 30.0  # seconds; a stream gives a sign of life every 10
_LOOK = 0.5  # seconds between two looks at whether the service is there again
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=_SILENT)
_LONGEST = 16 * 1024**2  # bytes of one record


class _Away(Exception):  # not an error: it may come back
    """The service does not answer, or ended the stream."""


async def follow_logs(
    config: Config, wanted: LogFilter, show: Callable[[dict[str, Any]], None], say: Callable[[str], None]
) -> None:
    """Show each record that fits from now on, until cancelled. `say` tells of what was missed.

    Raises ServiceUnavailable when nothing runs at the beginning, InvalidRequest for a filter that is refused.
    """
    system: System | None = await require_system(config)
    missed = False
    while True:
        if system is not None:
            try:
                async for name, data in _messages(system.services["logging"], wanted):
                    if name == "listening" and missed:
                        missed = False
                        say("Following again. What was logged meanwhile: `ytarchive logs`.")
                    elif name == "log":
                        show(data)
                    elif name == "dropped":
                        say(f"{data['dropped']} records were left out: they came faster than they could be shown.")
            except _Away:
                if not missed:
                    say("The logging service is away. Waiting for it; Ctrl-C ends.")
                missed = True
        await asyncio.sleep(_LOOK)
        system = await find_system(config)


async def _messages(base: str, wanted: LogFilter) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """The server-sent events of one connection: name and data. Raises _Away at its end, InvalidRequest."""
    said = wanted.model_dump(mode="json", exclude_none=True, by_alias=True)
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=False, read_bufsize=_LONGEST) as session,
            session.get(f"{base}/api/v1/logs/stream", params=said) as response,
        ):
            if response.status != 200:
                raise _refused(await response.read())
            async for message in events(response.content):
                yield message
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise _Away from error
    raise _Away


async def events(lines: AsyncIterable[bytes]) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """An event stream as our services write it: one line of data to an event. Comments are signs of life."""
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


def _refused(body: bytes) -> Exception:
    """A service that is just stopping comes back; a filter that it does not take stays as it is."""
    try:
        answer = ServiceResponse.model_validate_json(body)
    except ValueError:
        return ServiceUnavailable("What answers there is not our logging service.")
    error = answer.error
    refused = error is not None and error.code is InvalidRequest.code
    return InvalidRequest(error.message) if refused and error is not None else _Away()
