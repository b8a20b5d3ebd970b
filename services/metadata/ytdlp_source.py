"""yt-dlp as a source of listings and metadata: without an API key, with the same requests as its command line."""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar

from services.common.domain.failures import Failure, FailureKind, GoneReason
from services.common.domain.follows import HowToLook
from services.common.domain.videos import Entry, PlaylistMetadata, Target, VideoMetadata, Wanted
from services.common.errors import HostUnavailable
from services.common.events import FollowLookDue
from services.common.infra.resilience import RemoteHost
from services.common.models import ErrorCode
from services.common.settings.retry_policy import BREAKER_OPEN, CallOutcome
from services.common.youtube.classify import OWNERS_ONLY, call_outcome, classify
from services.common.youtube.fork_server import ForkServer
from services.common.youtube.messages import FetchRequest, FormatChoice
from services.common.youtube.process import ChildCrashed, ChildFailed, YtDlpChild
from services.common.youtube.settings import ChildSettings
from services.metadata.pages import ListingPage
from services.metadata.sources import Part, SourceFailed

# messages about lists and channels; `classify` has those about videos
_NO_LIST = re.compile(r"account has been terminated|unviewable|channel .*available|playlist is private", re.IGNORECASE)
_ANY_FORMAT = FormatChoice(selector="bv*/ba")
T = TypeVar("T")
_Message = dict[str, Any] | ChildFailed | ChildCrashed | None  # None: the end


class Children:
    """Persistent yt-dlp children. Each is started when first needed and serves one operation at a time."""

    def __init__(self, settings: ChildSettings, server: ForkServer, count: int) -> None:
        self._all = [YtDlpChild(settings, server) for _ in range(count)]
        self._idle: asyncio.LifoQueue[YtDlpChild] = asyncio.LifoQueue()  # the one used last has its imports loaded
        for child in self._all:
            self._idle.put_nowait(child)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[YtDlpChild]:
        """Wait for a free child and reserve it for the block."""
        child = await self._idle.get()
        try:
            yield child
        finally:
            self._idle.put_nowait(child)

    async def close(self) -> None:
        await asyncio.gather(*(child.kill() for child in self._all))


class YtDlpSource:
    name = "yt_dlp"
    full_page = 100  # entries

    def __init__(self, children: Children, host: RemoteHost) -> None:
        self._children = children
        self._host = host

    async def parts(self, target: Target, offset: int, _token: str) -> AsyncGenerator[Part, None]:
        """Implement Source.parts. The child is at most two pages ahead of the reader and is stopped with it."""
        request = {"target": target.model_dump(mode="json"), "offset": offset}
        async with self._children.one() as child:
            listing = _Listing(child, request, str(target))
            try:
                while (message := await self._ask(listing.following)) is not None:
                    yield _part(message)
            finally:
                await listing.end()

    async def look(self, due: FollowLookDue, how: HowToLook) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the messages of the child's operation `look`. Raise SourceFailed."""
        request = due.model_dump(mode="json", include={"target", "prefixes", "known", "since"}) | {"how": how}
        async with self._children.one() as child:
            listing = _Listing(child, request, str(due.target), "look")
            try:
                while (message := await self._ask(listing.following)) is not None:
                    yield message
            finally:
                await listing.end()

    async def head(self, target: Target) -> PlaylistMetadata:
        """Return the metadata of a playlist or channel itself. Raise SourceFailed."""
        async with aclosing(self.parts(target, 0, "")) as parts:
            async for part in parts:
                if isinstance(part, PlaylistMetadata):
                    return part
        raise AssertionError("a listing begins with the metadata of the list, or fails")

    async def describe(self, video_id: str) -> VideoMetadata:
        """Return the metadata of a video by one extraction without files. Raise SourceFailed."""
        found: list[VideoMetadata] = []

        async def on_message(message: dict[str, Any]) -> None:
            if message["type"] == "metadata":
                found.append(VideoMetadata.model_validate(message["metadata"]))

        nothing = Wanted(media=False, thumbnail=False, metadata=False)
        request = FetchRequest(
            video_id=video_id, dispatch_id="look-up", wanted=nothing, choice=_ANY_FORMAT, directory=os.devnull
        )

        async def extract() -> VideoMetadata:
            try:
                await child.run("fetch", request.model_dump(mode="json"), on_message=on_message)
            except (ChildFailed, ChildCrashed) as error:
                if not found:  # otherwise only the selection of a format failed, which is not needed
                    raise SourceFailed(classify_failure(error, True, datetime.now(UTC))) from error
            return found[0]

        async with self._children.one() as child:
            return await self._ask(extract)

    async def _ask(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run one step without retries: yt-dlp itself and jobs retry."""
        try:
            return await self._host.call(work, outcome_of, repeatable=False)
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
    """A listing in a child. It starts with the first call of `following`."""

    def __init__(self, child: YtDlpChild, request: dict[str, Any], name: str, operation: str = "list") -> None:
        self._operation = operation
        self._child = child
        self._request = request
        self._name = name
        self._messages: asyncio.Queue[_Message] = asyncio.Queue(1)
        self._task: asyncio.Task[None] | None = None
        self._begun = False

    async def following(self) -> dict[str, Any] | None:
        """Return the next message of the child, None at the end. Raise SourceFailed."""
        if self._task is None:
            self._task = asyncio.create_task(
                _list(self._child, self._operation, self._request, self._messages), name=f"listing {self._name}"
            )
        message = await self._messages.get()
        if isinstance(message, Exception):
            failure = classify_failure(message, self._begun, datetime.now(UTC))
            raise SourceFailed(failure, final=failure.reason == OWNERS_ONLY) from message
        self._begun = True
        return message

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def outcome_of(error: BaseException) -> CallOutcome | None:
    """Return what a failure of yt-dlp means for YouTube's servers; None when it says nothing about them."""
    return call_outcome(error.failure) if isinstance(error, SourceFailed) else None


async def _list(child: YtDlpChild, operation: str, request: dict[str, Any], messages: asyncio.Queue[_Message]) -> None:
    try:
        await child.run(operation, request, on_message=messages.put)
    except (ChildFailed, ChildCrashed) as error:
        await messages.put(error)
    else:
        await messages.put(None)


def _part(message: dict[str, Any]) -> Part:
    if "playlist" in message:
        return PlaylistMetadata.model_validate(message["playlist"])
    page = message["page"]
    return ListingPage(
        offset=page["offset"],
        following=page["offset"] + page["lines"],
        entries=tuple(Entry.model_validate(entry) for entry in page["entries"]),
    )


def classify_failure(error: ChildFailed | ChildCrashed, begun: bool, now: datetime) -> Failure:
    """Classify a failed listing. `begun`: a page was listed already, so a 404 says nothing about the list."""
    if isinstance(error, ChildCrashed):
        return Failure(kind=FailureKind.LOCAL, code=ErrorCode.INTERNAL_ERROR, reason="crash", message=str(error))
    failure = classify(error.facts, now)
    unknown = failure.reason == "unknown"
    if unknown and not begun and (error.facts.status == HTTPStatus.NOT_FOUND or _NO_LIST.search(error.facts.message)):
        gone = {"kind": FailureKind.GONE, "code": ErrorCode.VIDEO_UNAVAILABLE, "reason": GoneReason.MISSING}
        return failure.model_copy(update=gone)
    return failure
