"""Log of the requests to the emulator, in the order of arrival."""

import asyncio
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

MAX_ENTRIES = 200_000
REQUEST_KINDS = frozenset(
    {
        "watch",
        "player",
        "next",
        "embed",
        "manifest",
        "media",
        "caption",
        "thumbnail",
        "playlist_page",
        "channel_page",
        "feed",
        "browse",
        "resolve",
        "data_api",
        "refused_connect",
        "other",
    }
)


@dataclass(slots=True)
class LoggedRequest:
    """One request. `n` is its number, in ascending order; `t` is the time of arrival in seconds since the epoch.

    `kind` is one of REQUEST_KINDS and `bytes_sent` the size of the body sent. While the response is being sent, `done`
    is False and `status` None; `status` stays None when the connection was broken before it was sent.
    """

    n: int
    t: float
    kind: str
    method: str
    host: str
    path: str
    query: dict[str, str]
    range: str | None = None
    video_id: str | None = None
    status: int | None = None
    bytes_sent: int = 0
    done: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class RequestLog:
    """The latest requests; callers can wait for further ones. Control requests are not logged."""

    def __init__(self) -> None:
        self._entries: deque[LoggedRequest] = deque(maxlen=MAX_ENTRIES)
        self._changed = asyncio.Condition()
        self.last = 0

    def begin(
        self,
        kind: str,
        method: str,
        host: str,
        path: str,
        query: dict[str, str],
        range_header: str | None = None,
        video_id: str | None = None,
    ) -> LoggedRequest:
        """Add a request and return it, for the caller to complete. The API key in `query` is masked."""
        self.last += 1
        masked = {key: "***" if key == "key" else value for key, value in query.items()}
        entry = LoggedRequest(self.last, time.time(), kind, method, host, path, masked, range_header, video_id)
        self._entries.append(entry)
        return entry

    async def notify(self) -> None:
        """Wake the waiting callers after a request was added or completed."""
        async with self._changed:
            self._changed.notify_all()

    def entries(self, *, since: int = 0, kind: str | None = None, video_id: str | None = None) -> list[LoggedRequest]:
        """Return the matching requests with `n` above `since`, oldest first."""
        return [
            entry
            for entry in self._entries
            if entry.n > since and kind in (None, entry.kind) and video_id in (None, entry.video_id)
        ]

    async def wait_for(
        self,
        *,
        since: int = 0,
        kind: str | None = None,
        video_id: str | None = None,
        count: int = 1,
        timeout: float = 10.0,  # noqa: ASYNC109  # the control API passes it on
    ) -> list[LoggedRequest]:
        """Return the same as `entries`, after `count` requests match or `timeout` seconds have passed."""

        def found() -> list[LoggedRequest]:
            return self.entries(since=since, kind=kind, video_id=video_id)

        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: len(found()) >= count)
        except TimeoutError:
            pass  # the caller checks the number of entries
        return found()

    def clear(self) -> None:
        """Remove all entries. The numbers are not reset."""
        self._entries.clear()
