"""yt-dlp's flat listing as a source: no API key, and the same requests as yt-dlp's command line makes."""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar

from services.common.errors import HostUnavailable
from services.common.infra.resilience import RemoteHost
from services.common.models import (
    Entry,
    ErrorCode,
    Failure,
    FailureKind,
    GoneReason,
    PlaylistMetadata,
    Target,
    VideoMetadata,
    Wanted,
)
from services.common.settings.retry_policy import BREAKER_OPEN, CallOutcome
from services.common.youtube.classify import call_outcome, classify
from services.common.youtube.messages import FetchRequest, FormatChoice
from services.common.youtube.process import ChildCrashed, ChildFailed, YtDlpChild
from services.common.youtube.settings import ChildSettings
from services.metadata.pages import Page
from services.metadata.sources import Part, SourceFailed

# what YouTube says of lists and channels; `classify` knows its words about videos
_NO_LIST = re.compile(r"account has been terminated|unviewable|channel .*available|playlist is private", re.IGNORECASE)
_ANY_FORMAT = FormatChoice(selector="bv*/ba")
T = TypeVar("T")
_Told = dict[str, Any] | ChildFailed | ChildCrashed | None  # None: that was all


class Children:
    """Persistent yt-dlp children; each one is started when it is first needed and serves one listing at a time."""

    def __init__(self, settings: ChildSettings, count: int) -> None:
        self._all = [YtDlpChild(settings) for _ in range(count)]
        self._idle: asyncio.LifoQueue[YtDlpChild] = asyncio.LifoQueue()  # the one that ran last has all imported
        for child in self._all:
            self._idle.put_nowait(child)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[YtDlpChild]:
        """Wait for a free one."""
        child = await self._idle.get()
        try:
            yield child
        finally:
            self._idle.put_nowait(child)

    async def close(self) -> None:
        await asyncio.gather(*(child.kill() for child in self._all))


class YtDlpSource:
    name = "yt_dlp"

    def __init__(self, children: Children, host: RemoteHost) -> None:
        self._children = children
        self._host = host

    async def parts(self, target: Target, offset: int, _token: str) -> AsyncGenerator[Part, None]:
        """As Source.parts. The child is at most a page or two ahead of who reads, and ended by who stops."""
        request = {"target": target.model_dump(mode="json"), "offset": offset}
        async with self._children.one() as child:
            listing = _Listing(child, request, str(target))
            try:
                while (message := await self._ask(listing.following)) is not None:
                    yield _part(message)
            finally:
                await listing.end()

    async def head(self, target: Target) -> PlaylistMetadata:
        """What a playlist or channel says of itself. Raises SourceFailed."""
        async with aclosing(self.parts(target, 0, "")) as parts:
            async for part in parts:
                if isinstance(part, PlaylistMetadata):
                    return part
        raise AssertionError("a listing begins with what the list says of itself, or fails")

    async def describe(self, video_id: str) -> VideoMetadata:
        """One extraction, and no file. Raises SourceFailed."""
        found: list[VideoMetadata] = []

        async def hear(message: dict[str, Any]) -> None:
            if message["type"] == "metadata":
                found.append(VideoMetadata.model_validate(message["metadata"]))

        nothing = Wanted(media=False, thumbnail=False, metadata=False)
        request = FetchRequest(
            video_id=video_id, dispatch_id="look-up", wanted=nothing, choice=_ANY_FORMAT, directory=os.devnull
        )

        async def extract() -> VideoMetadata:
            try:
                await child.run("fetch", request.model_dump(mode="json"), on_message=hear)
            except (ChildFailed, ChildCrashed) as error:
                if not found:  # else it is the choice of a format that failed, and nobody wants one
                    raise SourceFailed(judge(error, True, datetime.now(UTC))) from error
            return found[0]

        async with self._children.one() as child:
            return await self._ask(extract)

    async def _ask(self, work: Callable[[], Awaitable[T]]) -> T:
        """One step, once: yt-dlp tries again by itself, and then jobs does, or the person."""
        try:
            return await self._host.call(work, word_of, repeatable=False)
        except HostUnavailable as error:
            raise SourceFailed(
                Failure(
                    kind=FailureKind.PASSING,
                    code=error.code,
                    reason=BREAKER_OPEN,
                    message=error.message,
                    retry_after=datetime.fromisoformat(error.details["until"]),
                )
            ) from error


class _Listing:
    """A child at a listing. It begins with the first `following`."""

    def __init__(self, child: YtDlpChild, request: dict[str, Any], name: str) -> None:
        self._child = child
        self._request = request
        self._name = name
        self._told: asyncio.Queue[_Told] = asyncio.Queue(1)
        self._task: asyncio.Task[None] | None = None
        self._begun = False

    async def following(self) -> dict[str, Any] | None:
        """What the child tells next, None at the end. Raises SourceFailed."""
        if self._task is None:
            self._task = asyncio.create_task(
                _list(self._child, self._request, self._told), name=f"listing {self._name}"
            )
        message = await self._told.get()
        if isinstance(message, Exception):
            raise SourceFailed(judge(message, self._begun, datetime.now(UTC))) from message
        self._begun = True
        return message

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def word_of(error: BaseException) -> CallOutcome | None:
    """What a failure of yt-dlp tells of YouTube. None: of our side, or of nobody knows what."""
    return call_outcome(error.failure) if isinstance(error, SourceFailed) else None


async def _list(child: YtDlpChild, request: dict[str, Any], told: asyncio.Queue[_Told]) -> None:
    try:
        await child.run("list", request, on_message=told.put)
    except (ChildFailed, ChildCrashed) as error:
        await told.put(error)
    else:
        await told.put(None)


def _part(message: dict[str, Any]) -> Part:
    if "playlist" in message:
        return PlaylistMetadata.model_validate(message["playlist"])
    page = message["page"]
    return Page(
        offset=page["offset"],
        following=page["offset"] + page["lines"],
        entries=tuple(Entry.model_validate(entry) for entry in page["entries"]),
    )


def judge(error: ChildFailed | ChildCrashed, begun: bool, now: datetime) -> Failure:
    """What a failed listing means. `begun`: something was listed already, so a 404 says nothing about the list."""
    if isinstance(error, ChildCrashed):
        return Failure(kind=FailureKind.LOCAL, code=ErrorCode.INTERNAL_ERROR, reason="crash", message=str(error))
    failure = classify(error.facts, now)
    unknown = failure.reason == "unknown"
    if unknown and not begun and (error.facts.status == HTTPStatus.NOT_FOUND or _NO_LIST.search(error.facts.message)):
        gone = {"kind": FailureKind.GONE, "code": ErrorCode.VIDEO_UNAVAILABLE, "reason": GoneReason.MISSING}
        return failure.model_copy(update=gone)
    return failure
