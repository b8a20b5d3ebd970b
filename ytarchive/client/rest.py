"""The REST client of the services (SPEC: TIMEOUTS, Retry Policy). Error answers are raised as the exceptions that they
were in the service."""

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

TOTAL_TIMEOUT = 60.0  # seconds for one call, retries included


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
        cls,
        base: str,
        hosts: RemoteHosts | None = None,
        *,
        token: str | None = None,
        answer_timeout: float = SPEC.read,
    ) -> AsyncIterator[Self]:
        """`hosts` holds the circuit breakers; by default they are this connection's own, because another stack may take
        over the address. `token`: the bearer token to send. `answer_timeout`: seconds for each answer."""
        policy = replace(SPEC, read=answer_timeout, write=answer_timeout, pool=answer_timeout)
        hosts = hosts or RemoteHosts(policy, quiet=True)
        timeouts = _timeouts(hosts.policy)
        async with aiohttp.ClientSession(
            timeout=timeouts, trust_env=False, headers=bearer(token), middlewares=[_without_retry]
        ) as session:
            yield cls(session, base, hosts[urlsplit(base).netloc], hosts.policy)

    async def get(self, path: str, **query: str | int) -> Any:
        """Return the `data` of the answer; failures that may pass are retried. Raise NotFound, ServiceUnavailable or
        another YTArchiveError."""
        return _data(*await self._request("GET", path, repeatable=True, params=query))

    async def get_unless_late(self, path: str, **query: str | int) -> Any:
        """As `get`, without retries. An answer that is not ready in time (E003) does not count as a failure of the
        service, which continues with it; NetworkTimeout is raised."""
        return _data(*await self._request("GET", path, repeatable=False, late_is_no_failure=True, params=query))

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """As `get`, for requests that change something: without retries."""
        return _data(*await self._request(method, path, repeatable=False, json=dict(body or {})))

    async def request_once(self, path: str, **query: str | int) -> tuple[ServiceResponse, int]:
        """Return the first answer and its HTTP status. Raise ServiceUnavailable when there is none."""
        return await self._request("GET", path, repeatable=False, params=query)

    async def _request(
        self, method: str, path: str, *, repeatable: bool, late_is_no_failure: bool = False, **arguments: Any
    ) -> tuple[ServiceResponse, int]:
        url = f"{self.base}/api/v1/{path}"
        until = asyncio.get_running_loop().time() + TOTAL_TIMEOUT

        async def attempt() -> _Answer:
            answer = await self._answer(method, url, **arguments)
            while (pause := answer.pause) and asyncio.get_running_loop().time() + pause < until:
                await asyncio.sleep(pause)  # the request was not taken: it may be repeated, whatever it does
                answer = await self._answer(method, url, **arguments)
            if answer.pause:
                return answer
            error = answer.body.error
            late = error is not None and error.code is ErrorCode.NETWORK_TIMEOUT
            if self._policy.counts(CallOutcome(answer.status)) and not (late_is_no_failure and late):
                raise _FailureAnswer(answer)
            return answer

        try:
            async with asyncio.timeout_at(until):
                answer = await self._host.call(attempt, _outcome, repeatable=repeatable)
        except _FailureAnswer as failure:
            answer = failure.answer
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise errors.ServiceUnavailable(f"{self.base} does not answer: {_reason(error)}") from error
        except ValidationError as error:
            raise errors.ServiceUnavailable(f"{self.base} is not a service of ytarchive") from error
        return answer.body, answer.status

    async def _answer(self, method: str, url: str, **arguments: Any) -> "_Answer":
        async with self._session.request(method, url, **arguments) as response:
            wait = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            return _Answer(ServiceResponse.model_validate_json(await response.read()), response.status, wait)


def bearer(token: str | None) -> dict[str, str]:
    """Return the header that carries a token, if there is one."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class _Answer:
    body: ServiceResponse
    status: int
    retry_after_seconds: float | None

    @property
    def pause(self) -> float | None:
        """The seconds to wait after too many requests of this client; None for another answer."""
        details = (self.body.error and self.body.error.details) or {}
        refused = self.status == errors.TooManyRequests.http_status
        return self.retry_after_seconds if refused and details.get("reason") == errors.TooManyRequests.reason else None


class _FailureAnswer(Exception):
    """An error answer that counts as a failure of the service."""

    def __init__(self, answer: _Answer) -> None:
        super().__init__(f"HTTP {answer.status}")
        self.answer = answer


class _ConnectionLost(aiohttp.ClientError):
    """The connection ended before the answer."""


async def _without_retry(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Disable aiohttp's own retry after a broken connection: the policy decides on retries."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _ConnectionLost(str(error) or "the connection broke") from error


def _timeouts(policy: RetryPolicy) -> aiohttp.ClientTimeout:
    """aiohttp has no time limit for sending, and `sock_read` begins after it: hence the total of an attempt
    is limited too."""
    return aiohttp.ClientTimeout(
        total=min(policy.pool, policy.write, policy.read),
        connect=policy.pool,
        sock_connect=policy.connect,
        sock_read=policy.read,
    )


def _outcome(error: BaseException) -> CallOutcome | None:
    match error:
        case _FailureAnswer():
            return CallOutcome(error.answer.status, error.answer.retry_after_seconds)
        case aiohttp.ClientConnectorError():
            return CallOutcome(final=True)  # nothing listens there: a retry does not help
        case TimeoutError():
            return CallOutcome(final=True)  # the time limit has passed
        case aiohttp.ClientError() | OSError():
            return CallOutcome()
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connection refused"
    return str(error) or "timeout"


def _data(answer: ServiceResponse, status: int) -> Any:
    if answer.success:
        return answer.data
    raise error_of(answer.error, status)


def error_of(detail: ErrorDetail | None, status: int) -> errors.YTArchiveError:
    """Return the exception that the service raised."""
    if detail is None:
        return errors.YTArchiveError(f"the service answered with status {status} without a reason")
    known = (kind for kind in errors.YTArchiveError.__subclasses__() if kind.__module__ == errors.__name__)
    kinds = [kind for kind in known if kind.code == detail.code]  # a service's own may want other arguments
    kind = kinds[0] if kinds else errors.YTArchiveError
    for exact in (errors.NotFound, errors.Forbidden, errors.Unauthorized, errors.TooManyRequests):
        if issubclass(exact, kind) and status == exact.http_status:
            kind = exact
    return kind(detail.message, **(detail.details or {}))
