"""What was asked of the emulator, in order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

KEPT = 200_000
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
        "browse",
        "resolve",
        "data_api",
        "refused_connect",
        "other",
    }
)


@dataclass(slots=True)
class Entry:
    """One request. `n` only ever grows; `status` is None and `done` False while it is being answered.

    `t` is seconds since the epoch; `bytes_sent` counts the body.
    `kind` is one of REQUEST_KINDS.
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
    """The entries, and a way to wait for more. Control requests are not logged."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)
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
    ) -> Entry:
        self.last += 1
        shown = {key: "***" if key == "key" else value for key, value in query.items()}
        entry = Entry(self.last, time.time(), kind, method, host, path, shown, range_header, video_id)
        self._entries.append(entry)
        return entry

    async def announce(self) -> None:
        """Wake those who wait: an entry began or ended."""
        async with self._changed:
            self._changed.notify_all()

    def entries(self, *, since: int = 0, kind: str | None = None, video_id: str | None = None) -> list[Entry]:
        """Those with `n` above `since`, oldest first."""
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
        timeout: float = 10.0,  # noqa: ASYNC109  # it is a parameter of the control request
    ) -> list[Entry]:
        """As `entries`, once there are `count` of them or `timeout` seconds have passed."""

        def found() -> list[Entry]:
            return self.entries(since=since, kind=kind, video_id=video_id)

        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: len(found()) >= count)
        except TimeoutError:
            pass  # the caller sees from the number of entries that it waited in vain
        return found()

    def clear(self) -> None:
        """Forget the entries; numbers go on."""
        self._entries.clear()
