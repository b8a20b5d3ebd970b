"""One attempt at one video: runs the yt-dlp child and returns the outcome as a value."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from services.common.domain.failures import Failure, FailureKind
from services.common.models import ErrorCode
from services.common.youtube.classify import classify
from services.common.youtube.messages import Downloading, FetchMessage, FetchRequest, FetchResult
from services.common.youtube.partial import media_of
from services.common.youtube.process import ChildCrashed, ChildFailed, YtDlpChild

_MESSAGES: TypeAdapter[FetchMessage] = TypeAdapter(FetchMessage)

LEAST_GAIN = 16 * 1024  # bytes; a resumed download repeats the last byte of each file

Outcome = FetchResult | Failure


class Attempt:
    """Runs `fetch` in a child. `idle` is the maximum number of seconds without a byte gained."""

    def __init__(self, child: YtDlpChild, request: FetchRequest, idle: float) -> None:
        self._child = child
        self._request = request
        self._idle = idle
        self._result: FetchResult | None = None
        self._start: int | None = None
        self._reached = 0

    async def run(self, on_message: Callable[[FetchMessage], Awaitable[None]]) -> Outcome:
        """Return the result or the classified failure; `on_message` gets the messages before it. Cancelling kills the
        child."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._idle) as limit:

                async def receive(raw: dict[str, Any]) -> None:
                    message = _MESSAGES.validate_python(raw)
                    if self._note(message):
                        limit.reschedule(loop.time() + self._idle)
                    await on_message(message)

                await self._child.run("fetch", self._request.model_dump(mode="json"), on_message=receive)
        except TimeoutError:
            failure = Failure(
                kind=FailureKind.PASSING, code=ErrorCode.NETWORK_TIMEOUT, reason="timeout", message=self._timed_out()
            )
            return await self._with_gain(failure)
        except ChildFailed as error:
            return await self._with_gain(classify(error.facts, datetime.now(UTC)))
        except (ChildCrashed, ValidationError) as error:
            return _crashed(str(error)[:500])
        return self._result or _crashed("the child ended without a result")

    def _note(self, message: FetchMessage) -> bool:
        """Return whether the message shows progress."""
        if isinstance(message, FetchResult):
            self._result = message
        if not isinstance(message, Downloading):
            return True
        if self._start is None:
            self._start = self._reached = message.downloaded
            return True
        ahead = message.downloaded > self._reached
        self._reached = max(self._reached, message.downloaded)
        return ahead

    def _timed_out(self) -> str:
        return f"no data for {self._idle:g} s, stopped at {self._reached} bytes"

    async def _with_gain(self, failure: Failure) -> Failure:
        """Note whether a passing failure has left more on disk than there was, and so spends no attempt."""
        if failure.kind is not FailureKind.PASSING or self._start is None:
            return failure
        kept = await asyncio.to_thread(self._kept)
        return failure.model_copy(update={"gained_bytes": kept > self._start + LEAST_GAIN})

    def _kept(self) -> int:
        """Return the bytes of the video's media in the work directory."""
        directory = Path(self._request.directory)
        media = media_of(directory, self._request.video_id) if directory.is_dir() else []
        return sum(path.stat().st_size for path in media)


def _crashed(message: str) -> Failure:
    return Failure(kind=FailureKind.LOCAL, code=ErrorCode.INTERNAL_ERROR, reason="child_crashed", message=message)
