"""The Data API through google-api-python-client, which blocks: each call has its own thread and connection.

The key is a parameter of each call, so that no client object and no log line contains it. The client's own retries,
which log the URL, are disabled: `services.common.infra.resilience` retries.
"""

import asyncio
import contextlib
import http.client
import socket
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httplib2
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from services.common.errors import HostUnavailable
from services.common.infra.resilience import RemoteHosts
from services.common.settings.masking import MASK
from services.common.settings.retry_policy import BREAKER_OPEN, CallOutcome, RetryPolicy, retry_after
from services.metadata.data_api.errors import ApiRefused, RefusalKind, classify_response
from services.metadata.data_api.quota import cost_of
from services.metadata.data_api.quota_store import QuotaStore

FOR_PEOPLE = 6.0  # seconds for an answer to a person
GOOGLE = "https://youtube.googleapis.com"

Json = dict[str, Any]


class DataApi:
    """`endpoint` None is Google's. httplib2 takes a proxy from the environment; `[youtube] proxy` is for yt-dlp
    only."""

    def __init__(self, endpoint: str | None, ledger: QuotaStore, hosts: RemoteHosts) -> None:
        self._endpoint = endpoint
        self._ledger = ledger
        self._host = hosts[urlsplit(endpoint or GOOGLE).netloc]
        self._policy = hosts.policy
        self._building = asyncio.Lock()
        self._client: Any = None

    def renewed_by(self) -> datetime:
        """Return when to retry after the quota was used up."""
        return self._ledger.renewed_by()

    async def list(self, secret: str, resource: str, *, background: bool = True, **query: Any) -> Json:
        """Make one list call (`videos`, `playlistItems`, …). Each attempt is charged before it is made. A call that is
        not `background` may use the reserve and has a shorter timeout: a person waits, and there is another source.
        Raise ApiRefused."""
        policy = self._policy if background else replace(self._policy, read=min(self._policy.read, FOR_PEOPLE))

        async def attempt() -> Json:
            asked = datetime.now(UTC)
            await self._pay(secret, resource, background)
            try:
                return await self._ask(secret, resource, query, policy)
            except ApiRefused as refused:
                if refused.kind is RefusalKind.QUOTA:
                    await self._ledger.end_day(secret, asked)
                raise

        try:
            return await self._host.call(attempt, _outcome, repeatable=True)
        except HostUnavailable as error:
            wait = error.details["retry_after"]
            raise ApiRefused(RefusalKind.PASSING, BREAKER_OPEN, error.message, retry_after=wait) from error

    async def _pay(self, secret: str, resource: str, background: bool) -> None:
        if not await self._ledger.charge(secret, cost_of(resource), background=background):
            raise ApiRefused(RefusalKind.QUOTA, "quota_limit", "the Data API quota of today is used up")

    async def _ask(self, secret: str, resource: str, query: Json, policy: RetryPolicy) -> Json:
        client = await self._ready()
        request = getattr(client, resource)().list(key=secret, **query)
        way = _Http(policy)
        try:
            answer: Json = await asyncio.to_thread(_execute, request, way)
        except HttpError as error:  # its text contains the URL with the key: not chained
            asked_to_wait = retry_after(error.resp.get("retry-after"), datetime.now(UTC))
            raise classify_response(error.status_code, error.content, secret, asked_to_wait) from None
        except (OSError, ValueError, httplib2.HttpLib2Error, http.client.HTTPException) as error:
            message = (str(error) or type(error).__name__).replace(secret, MASK)
            raise ApiRefused(RefusalKind.PASSING, "network", f"the Data API does not answer: {message}") from None
        except asyncio.CancelledError:
            way.abort()  # the caller was cancelled: let the thread end
            raise
        return answer

    async def _ready(self) -> Any:
        """Build the client, without a key, on first use: it reads the API description of the package, which takes 0.1
        s."""
        async with self._building:
            if self._client is None:
                options = {"api_endpoint": self._endpoint} if self._endpoint else None
                self._client = await asyncio.to_thread(
                    build,
                    "youtube",
                    "v3",
                    http=httplib2.Http(),
                    static_discovery=True,
                    cache_discovery=False,
                    client_options=options,
                )
        return self._client


def _outcome(error: BaseException) -> CallOutcome | None:
    return error.outcome() if isinstance(error, ApiRefused) else None


def _execute(request: Any, way: "_Http") -> Json:
    try:
        answer: Json = request.execute(http=way)
        return answer
    finally:
        way.close()


class _Timeouts:
    """Separate timeouts to connect and to read (SPEC: TIMEOUTS); httplib2 has one for both. It also prevents httplib2
    from reconnecting, because retries are made elsewhere."""

    policy: RetryPolicy
    sock: socket.socket | None
    timeout: float
    aborted = False
    connected = False

    def connect(self) -> None:
        if self.aborted or self.connected:
            raise ConnectionAbortedError(
                "aborted" if self.aborted else "the connection broke before there was an answer"
            )
        self.connected = True
        self.timeout = self.policy.connect
        super().connect()  # type: ignore[misc]  # of the connection class that this is mixed into
        if self.sock is not None:
            self.sock.settimeout(self.policy.read)


class _Http(httplib2.Http):  # type: ignore[misc]  # it has no types
    aborted = False

    def __init__(self, policy: RetryPolicy) -> None:
        super().__init__(timeout=policy.read)
        self._kinds = {
            "http": type("_Connection", (_Timeouts, httplib2.HTTPConnectionWithTimeout), {"policy": policy}),
            "https": type("_SecureConnection", (_Timeouts, httplib2.HTTPSConnectionWithTimeout), {"policy": policy}),
        }

    def request(self, uri: str, *words: Any, **more: Any) -> Any:
        if self.aborted:
            raise ConnectionAbortedError("aborted")
        more.setdefault("connection_type", self._kinds[urlsplit(uri).scheme])
        return super().request(uri, *words, **more)

    def abort(self) -> None:
        """Make a call that waits for its answer fail, from any thread."""
        self.aborted = True
        for connection in list(self.connections.values()):
            connection.aborted = True
            held: socket.socket | None = connection.sock
            if held is not None:
                with contextlib.suppress(OSError):
                    held.shutdown(socket.SHUT_RDWR)
