"""The Data API through google-api-python-client, which blocks: each call runs in a thread of its own.

The key is a parameter of each call, so that no client object and no log line holds it. The client's own retries are
off for the same reason: it would log the URL.
"""

import asyncio
import contextlib
import http.client
import socket
from datetime import datetime
from typing import Any

import httplib2
import structlog
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from services.common.masking import MASK
from services.metadata.ledger import Ledger
from services.metadata.quota import cost_of
from services.metadata.refusals import ApiRefused, Refusal, judge

CONNECT, READ = 5.0, 30.0  # seconds; SPEC: TIMEOUTS
ATTEMPTS = 3  # SPEC: RETRY_CONFIG
BACKOFF = 2.0

Json = dict[str, Any]
log = structlog.get_logger("services.metadata")


class DataApi:
    """`endpoint` None is Google's. A proxy is taken from the environment, as httplib2 does; the ways that
    `[youtube] proxy` opens are for yt-dlp."""

    def __init__(self, endpoint: str | None, ledger: Ledger) -> None:
        self._endpoint = endpoint
        self._ledger = ledger
        self._building = asyncio.Lock()
        self._client: Any = None

    def resets_at(self) -> datetime:
        """When a quota that is used up is renewed."""
        return self._ledger.resets_at()

    async def list(self, secret: str, resource: str, *, background: bool = True, **query: Any) -> Json:
        """One list call (`videos`, `playlistItems`, …), paid for before it is made; what is not `background` may use
        the reserve. Raises ApiRefused."""
        for attempt in range(1, ATTEMPTS + 1):
            await self._pay(secret, resource, background)
            try:
                return await self._ask(secret, resource, query)
            except ApiRefused as refused:
                if refused.kind is Refusal.QUOTA:
                    await self._ledger.end_day(secret)
                if refused.kind is not Refusal.PASSING or attempt == ATTEMPTS:
                    raise
                log.info("data_api_again", resource=resource, attempt=attempt, error_message=refused.message)
            await asyncio.sleep(BACKOFF ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")

    async def _pay(self, secret: str, resource: str, background: bool) -> None:
        if not await self._ledger.charge(secret, cost_of(resource), background=background):
            raise ApiRefused(Refusal.QUOTA, "quota_limit", "the Data API quota of today is used up")

    async def _ask(self, secret: str, resource: str, query: Json) -> Json:
        client = await self._ready()
        request = getattr(client, resource)().list(key=secret, **query)
        way = _Http(timeout=READ)
        try:
            answer: Json = await asyncio.to_thread(_execute, request, way)
        except HttpError as error:  # its text holds the URL, and that the key: it goes no further
            raise judge(error.status_code, error.content, secret) from None
        except (OSError, ValueError, httplib2.HttpLib2Error, http.client.HTTPException) as error:
            told = (str(error) or type(error).__name__).replace(secret, MASK)
            raise ApiRefused(Refusal.PASSING, "network", f"the Data API does not answer: {told}") from None
        except asyncio.CancelledError:
            way.hang_up()  # nobody waits any more: let the thread end
            raise
        return answer

    async def _ready(self) -> Any:
        """Without a key: building reads the description of the API that the package brings, 0.1 s once."""
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


def _execute(request: Any, way: "_Http") -> Json:
    try:
        answer: Json = request.execute(http=way)
        return answer
    finally:
        way.close()


class _Patience:
    """SPEC has one time to connect and another to wait for an answer; httplib2 knows one for both. It also connects
    again when a connection breaks, which must not happen to one that was hung up."""

    sock: socket.socket | None
    timeout: float
    hung_up = False

    def connect(self) -> None:
        if self.hung_up:
            raise ConnectionAbortedError("hung up")
        self.timeout = CONNECT
        super().connect()  # type: ignore[misc]  # of the connection that this is mixed into
        if self.sock is not None:
            self.sock.settimeout(READ)


class _Connection(_Patience, httplib2.HTTPConnectionWithTimeout):  # type: ignore[misc]  # it ships no types
    pass


class _SecureConnection(_Patience, httplib2.HTTPSConnectionWithTimeout):  # type: ignore[misc]  # it ships no types
    pass


class _Http(httplib2.Http):  # type: ignore[misc]  # it ships no types
    hung_up = False

    def request(self, uri: str, *words: Any, **more: Any) -> Any:
        if self.hung_up:
            raise ConnectionAbortedError("hung up")
        secure = uri.startswith("https:")
        more.setdefault("connection_type", _SecureConnection if secure else _Connection)
        return super().request(uri, *words, **more)

    def hang_up(self) -> None:
        """From any thread: who waits for an answer wakes up with an error, and closes."""
        self.hung_up = True
        for connection in list(self.connections.values()):
            connection.hung_up = True
            held: socket.socket | None = connection.sock
            if held is not None:
                with contextlib.suppress(OSError):
                    held.shutdown(socket.SHUT_RDWR)
