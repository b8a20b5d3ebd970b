"""Asking the services over REST (SPEC: TIMEOUTS). Errors come back as the exceptions that they were."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp
from pydantic import ValidationError

from services.common import errors
from services.common.models import ErrorDetail, ServiceResponse

_TIMEOUT = aiohttp.ClientTimeout(total=30.0, sock_connect=5.0)


class Rest:
    """One service at `base` (`http://127.0.0.1:8000`)."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self.base = base.rstrip("/")

    @classmethod
    @asynccontextmanager
    async def open(cls, base: str) -> AsyncIterator[Self]:
        async with aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=False) as session:
            yield cls(session, base)

    async def get(self, path: str, **query: str | int) -> Any:
        """The `data` of the answer. Raises NotFound, ServiceUnavailable or another YTArchiveError."""
        answer, status = await self.ask(path, **query)
        if answer.success:
            return answer.data
        raise _error(answer.error, status)

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """As `get`, for what changes something."""
        answer, status = await self._request(method, path, json=dict(body or {}))
        if answer.success:
            return answer.data
        raise _error(answer.error, status)

    async def ask(self, path: str, **query: str | int) -> tuple[ServiceResponse, int]:
        """The answer as it is, with its HTTP status. Raises ServiceUnavailable when nobody answers."""
        return await self._request("GET", path, params=query)

    async def _request(self, method: str, path: str, **words: Any) -> tuple[ServiceResponse, int]:
        url = f"{self.base}/api/v1/{path}"
        try:
            async with self._session.request(method, url, **words) as response:
                body = await response.read()
                return ServiceResponse.model_validate_json(body), response.status
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise errors.ServiceUnavailable(f"{self.base} does not answer: {_reason(error)}") from error
        except ValidationError as error:
            raise errors.ServiceUnavailable(f"{self.base} is not one of our services") from error


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return "nobody listens there"
    return str(error) or "not in time"


def _error(detail: ErrorDetail | None, status: int) -> errors.YTArchiveError:
    if detail is None:
        return errors.YTArchiveError(f"the service answered with status {status} and no reason")
    kinds: list[type[errors.YTArchiveError]] = [errors.NotFound] if status == 404 else []
    kinds += [kind for kind in errors.YTArchiveError.__subclasses__() if kind.code == detail.code]
    kind = kinds[0] if kinds else errors.YTArchiveError
    return kind(detail.message, **(detail.details or {}))
