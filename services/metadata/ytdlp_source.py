"""yt-dlp's flat listing as a source: no API key, and the same requests as yt-dlp's command line makes."""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

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
from services.common.youtube.classify import classify
from services.common.youtube.messages import FetchRequest, FormatChoice
from services.common.youtube.process import ChildCrashed, ChildFailed, YtDlpChild
from services.common.youtube.settings import ChildSettings
from services.metadata.pages import Page
from services.metadata.sources import Part, SourceFailed

# what YouTube says of lists and channels; `classify` knows its words about videos
_NO_LIST = re.compile(r"account has been terminated|unviewable|channel .*available|playlist is private", re.IGNORECASE)
_ANY_FORMAT = FormatChoice(selector="bv*/ba")
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

    def __init__(self, children: Children) -> None:
        self._children = children

    async def parts(self, target: Target, offset: int, _token: str) -> AsyncGenerator[Part, None]:
        """As Source.parts. The child is at most a page or two ahead of who reads, and ended by who stops."""
        told: asyncio.Queue[_Told] = asyncio.Queue(1)
        request = {"target": target.model_dump(mode="json"), "offset": offset}
        begun = False
        async with self._children.one() as child:
            listing = asyncio.create_task(_list(child, request, told), name=f"listing {target}")
            try:
                while (message := await told.get()) is not None:
                    if isinstance(message, Exception):
                        raise SourceFailed(judge(message, begun, datetime.now(UTC))) from message
                    begun = True
                    yield _part(message)
            finally:
                listing.cancel()
                await asyncio.gather(listing, return_exceptions=True)

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
        async with self._children.one() as child:
            try:
                await child.run("fetch", request.model_dump(mode="json"), on_message=hear)
            except (ChildFailed, ChildCrashed) as error:
                if not found:  # else it is the choice of a format that failed, and nobody wants one
                    raise SourceFailed(judge(error, True, datetime.now(UTC))) from error
        return found[0]


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
