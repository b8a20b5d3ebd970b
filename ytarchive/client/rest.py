"""Asking the services over REST (SPEC: TIMEOUTS, Retry Policy). Errors come back as the exceptions that they were."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from pydantic import ValidationError

from services.common import errors
from services.common.infra.resilience import RemoteHost, RemoteHosts
from services.common.models import ErrorCode, ErrorDetail, ServiceResponse
from services.common.settings.retry_policy import SPEC, CallOutcome, RetryPolicy, retry_after

PATIENCE = 60.0  # seconds for one question in all, whatever is tried again


class Rest:
    """One service at `base` (`http://127.0.0.1:8000`)."""

    def __init__(self, session: aiohttp.ClientSession, base: str, host: RemoteHost, policy: RetryPolicy) -> None:
        self._session = session
        self.base = base.rstrip("/")
        self._host = host
        self._policy = policy

    @classmethod
    @asynccontextmanager
    async def open(
        cls, base: str, hosts: RemoteHosts | None = None, *, patience: float = SPEC.read
    ) -> AsyncIterator[Self]:
        """`hosts` are this connection's own unless given: whoever takes over begins anew, also at the same address.
        `patience`: seconds for each answer."""
        hosts = hosts or RemoteHosts(replace(SPEC, read=patience, write=patience, pool=patience), quiet=True)
        timeouts = _timeouts(hosts.policy)
        async with aiohttp.ClientSession(timeout=timeouts, trust_env=False, middlewares=[_once]) as session:
            yield cls(session, base, hosts[urlsplit(base).netloc], hosts.policy)

    async def get(self, path: str, **query: str | int) -> Any:
        """The `data` of the answer; asked again when there is hope. Raises NotFound, ServiceUnavailable or another
        YTArchiveError."""
        return _data(*await self._request("GET", path, repeatable=True, params=query))

    async def get_when_read(self, path: str, **query: str | int) -> Any:
        """As `get`, once: an answer that is not ready in time (E003) is no trouble of the service, which is at work on
        it. Raises NetworkTimeout then."""
        return _data(*await self._request("GET", path, repeatable=False, busy=True, params=query))

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """As `get`, for what changes something: once."""
        return _data(*await self._request(method, path, repeatable=False, json=dict(body or {})))

    async def ask(self, path: str, **query: str | int) -> tuple[ServiceResponse, int]:
        """The first answer as it is, with its HTTP status. Raises ServiceUnavailable when nobody answers."""
        return await self._request("GET", path, repeatable=False, params=query)

    async def _request(
        self, method: str, path: str, *, repeatable: bool, busy: bool = False, **words: Any
    ) -> tuple[ServiceResponse, int]:
        url = f"{self.base}/api/v1/{path}"

        async def attempt() -> _Answer:
            async with self._session.request(method, url, **words) as response:
                asked_to_wait = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
                body = ServiceResponse.model_validate_json(await response.read())
            answer = _Answer(body, response.status, asked_to_wait)
            late = body.error is not None and body.error.code is ErrorCode.NETWORK_TIMEOUT
            if self._policy.counts(CallOutcome(answer.status)) and not (busy and late):
                raise _Trouble(answer)
            return answer

        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self._host.call(attempt, _word, repeatable=repeatable)
        except _Trouble as trouble:
            answer = trouble.answer
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise errors.ServiceUnavailable(f"{self.base} does not answer: {_reason(error)}") from error
        except ValidationError as error:
            raise errors.ServiceUnavailable(f"{self.base} is not one of our services") from error
        return answer.body, answer.status


@dataclass(frozen=True)
class _Answer:
    body: ServiceResponse
    status: int
    asked_to_wait: float | None


class _Trouble(Exception):
    """An answer that tells of a service which is not well."""

    def __init__(self, answer: _Answer) -> None:
        super().__init__(f"HTTP {answer.status}")
        self.answer = answer


class _BrokenOff(aiohttp.ClientError):
    """The connection ended before the answer."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """aiohttp asks a second time by itself when a connection breaks; how often is the policy's to say."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _BrokenOff(str(error) or "the connection broke") from error


def _timeouts(policy: RetryPolicy) -> aiohttp.ClientTimeout:
    """aiohttp has no time for what is sent, and `sock_read` begins after it: an attempt as a whole has that of one
    part."""
    return aiohttp.ClientTimeout(
        total=min(policy.pool, policy.write, policy.read),
        connect=policy.pool,
        sock_connect=policy.connect,
        sock_read=policy.read,
    )


def _word(error: BaseException) -> CallOutcome | None:
    match error:
        case _Trouble():
            return CallOutcome(error.answer.status, error.answer.asked_to_wait)
        case aiohttp.ClientConnectorError():
            return CallOutcome(final=True)  # a service that is there listens: nobody is helped by waiting
        case TimeoutError():
            return CallOutcome(final=True)  # it was waited for long enough
        case aiohttp.ClientError() | OSError():
            return CallOutcome()
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return "nobody listens there"
    return str(error) or "not in time"


def _data(answer: ServiceResponse, status: int) -> Any:
    if answer.success:
        return answer.data
    raise _error(answer.error, status)


def _error(detail: ErrorDetail | None, status: int) -> errors.YTArchiveError:
    if detail is None:
        return errors.YTArchiveError(f"the service answered with status {status} and no reason")
    kinds = [kind for kind in errors.YTArchiveError.__subclasses__() if kind.code == detail.code]
    kind = kinds[0] if kinds else errors.YTArchiveError
    if kind is errors.InvalidRequest and status == errors.NotFound.http_status:
        kind = errors.NotFound
    return kind(detail.message, **(detail.details or {}))
