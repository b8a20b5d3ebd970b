"""One attempt at one video: runs the yt-dlp child and returns the outcome as a value."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from services.common.domain.failures import Failure, FailureKind
from services.common.models import ErrorCode
from services.common.youtube.classify import classify
from services.common.youtube.messages import Downloading, FetchMessage, FetchRequest, FetchResult
from services.common.youtube.process import ChildCrashed, ChildFailed, YtDlpChild

_MESSAGES: TypeAdapter[FetchMessage] = TypeAdapter(FetchMessage)

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
            return self._failed(FailureKind.PASSING, ErrorCode.NETWORK_TIMEOUT, "timeout", self._timed_out())
        except ChildFailed as error:
            failure = classify(error.facts, datetime.now(UTC))
            return failure.model_copy(update={"gained_bytes": self._free(failure.code)})
        except (ChildCrashed, ValidationError) as error:
            return self._failed(FailureKind.LOCAL, ErrorCode.INTERNAL_ERROR, "child_crashed", str(error)[:500])
        if self._result is None:
            return self._failed(
                FailureKind.LOCAL, ErrorCode.INTERNAL_ERROR, "child_crashed", "the child ended without a result"
            )
        return self._result

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

    def _free(self, code: ErrorCode) -> bool:
        """Return whether a timeout got further than the attempt before it, and so spends no attempt."""
        return code is ErrorCode.NETWORK_TIMEOUT and self._start is not None and self._reached > self._start

    def _failed(self, kind: FailureKind, code: ErrorCode, reason: str, message: str) -> Failure:
        return Failure(kind=kind, code=code, reason=reason, message=message, gained_bytes=self._free(code))
