"""google-api-python-client, which blocks: each call has its own thread and connection.

The key is a parameter of each call, so that no client object and no log line contains it. The client's own retries,
which log the URL, are disabled.
"""

import asyncio
import contextlib
import http.client
import socket
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httplib2
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from services.common.settings.masking import MASK
from services.common.settings.retry_policy import RetryPolicy, retry_after
from services.metadata.data_api.errors import ApiRefused, RefusalKind, classify_response

Json = dict[str, Any]


class GoogleClient:
    """`endpoint` None is Google's. httplib2 takes a proxy from the environment; `[youtube] proxy` is for yt-dlp only.

    It is built without a key and reads the API description of the package: use a thread.
    """

    def __init__(self, endpoint: str | None) -> None:
        self._api = build(
            "youtube",
            "v3",
            http=httplib2.Http(),
            static_discovery=True,
            cache_discovery=False,
            client_options={"api_endpoint": endpoint} if endpoint else None,
        )

    async def list(self, secret: str, resource: str, query: Json, policy: RetryPolicy) -> Json:
        """Make one list call (`videos`, `playlistItems`, …). Raise ApiRefused."""
        request = getattr(self._api, resource)().list(key=secret, **query)
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
