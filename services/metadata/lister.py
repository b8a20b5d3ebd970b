"""One target of one job, listed: the claims, the pages, and how it ends.

given videos         page, completed                                   without an API key nobody is asked for anything
playlist, channel    claim, playlist, page, claim, page, …, completed
with an API key      … page, metadata of its videos, claim, page, …
                     the API gives up (quota, not answering)           all over again with the next source
                     the API refuses the key                           failed{final}, E005
                     a claim answered `stale`                          silence: jobs has moved on
                     a claim answered `wait`, or the service closes    failed{cursor, spent: no}
                     the source refuses this machine                   source.blocked, failed{cursor, spent: no}
                     what does not exist                               failed{final}
                     anything else                                     failed{cursor}, an attempt of the listing
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from bus import Event
from services.common.events import (
    JobQueued,
    ListingCompleted,
    ListingFailed,
    ListingPageFetched,
    MetadataFetched,
    PlaylistFetched,
    SourceBlocked,
    SourceCleared,
)
from services.common.models import (
    ClaimAnswer,
    ClaimVerdict,
    ErrorCode,
    ErrorDetail,
    Failure,
    FailureKind,
    PlaylistMetadata,
    Target,
    VideoMetadata,
)
from services.common.settings.retry_policy import BREAKER_OPEN
from services.metadata.claims import Closing
from services.metadata.pages import Cursor, Page, page_key
from services.metadata.sources import Part, Source, SourceFailed, SourceGivesUp

BLOCKED_FOR = timedelta(minutes=5)  # when the source refuses us and does not say for how long

Claim = Callable[[JobQueued], Awaitable[ClaimAnswer]]  # raises Closing
log = structlog.get_logger("services.metadata")
_GO = frozenset({ClaimVerdict.GO, ClaimVerdict.PROBE})


@dataclass(frozen=True)
class Way:
    """A way to list: a source, who is asked for leave before each of its pages, and the name that a block of it is
    counted for."""

    source: Source
    claim: Claim
    egress: str


@dataclass
class _Course:
    """How far a listing has come on one way. `announced`: the playlist's own metadata are out."""

    way: Way
    offset: int
    token: str
    announced: bool
    playlist: PlaylistMetadata | None = None
    page_keys: list[str] = field(default_factory=list)
    probing: bool = False


@dataclass
class Lister:
    """Lists a target. `ways` gives those for it, the best first; each may give up in favour of the next."""

    ways: Callable[[JobQueued], Sequence[Way]]
    closing: asyncio.Event

    async def run(self, queued: JobQueued) -> AsyncGenerator[Event, None]:
        ways = self.ways(queued)
        announced = False
        for way in ways:
            target, course = _start(queued, way, announced)
            try:
                async with aclosing(self._go(queued, target, course)) as events:
                    async for event in events:
                        yield event
            except SourceGivesUp as error:
                if way is not ways[-1]:
                    announced = course.announced
                    _tell(queued, way, error.failure)
                    continue
                failed = self._failed(queued, error, course)
            except SourceFailed as error:
                failed = self._failed(queued, error, course)
            except Closing:
                failed = [self._interrupted(queued, course, "interrupted, the service stops", datetime.now(UTC))]
            else:
                return
            for event in failed:
                yield event
            return

    async def _go(self, queued: JobQueued, target: Target, course: _Course) -> AsyncGenerator[Event, None]:
        answer = await course.way.claim(queued)
        if answer.verdict not in _GO:
            for event in self._held_up(queued, answer, course):
                yield event
            return
        course.probing = answer.verdict is ClaimVerdict.PROBE
        async with aclosing(self._walk(queued, target, course)) as events:
            async for event in events:
                yield event

    async def _walk(self, queued: JobQueued, target: Target, course: _Course) -> AsyncGenerator[Event, None]:
        parts = course.way.source.parts(target, course.offset, course.token)
        async with aclosing(_until(self.closing, parts)) as open_parts:
            async for part in open_parts:
                if course.probing:
                    course.probing = False
                    yield SourceCleared(egress=course.way.egress)
                if isinstance(part, PlaylistMetadata):
                    course.playlist = part
                    if not course.announced:
                        course.announced = True
                        yield _playlist_fetched(queued, part)
                    continue
                if course.page_keys and (answer := await course.way.claim(queued)).verdict not in _GO:
                    for event in self._held_up(queued, answer, course):
                        yield event
                    return
                for event in _page_told(queued, part, course):
                    yield event
        yield _completed(queued, course)

    def _held_up(self, queued: JobQueued, answer: ClaimAnswer, course: _Course) -> list[Event]:
        if answer.verdict is ClaimVerdict.STALE:
            return []
        return [self._interrupted(queued, course, "YouTube refuses this machine for now", answer.until)]

    def _interrupted(self, queued: JobQueued, course: _Course, why: str, until: datetime | None) -> ListingFailed:
        error = ErrorDetail(code=ErrorCode.SERVICE_UNAVAILABLE, message=f"{queued.target}: {why}")
        return self._ended_early(queued, course, error, retry_after=until, spent=False)

    def _failed(self, queued: JobQueued, failed: SourceFailed, course: _Course) -> list[Event]:
        failure, egress = failed.failure, course.way.egress
        error = ErrorDetail(
            code=failure.code,
            message=f"{queued.target}: {failure.message}",
            details={"kind": failure.kind.value, "reason": failure.reason},
        )
        if failure.kind is FailureKind.SITE_WIDE:
            until = failure.retry_after or datetime.now(UTC) + BLOCKED_FOR
            blocked = SourceBlocked(egress=egress, reason=failure.reason, until=until)
            return [blocked, self._ended_early(queued, course, error, retry_after=until, spent=False)]
        if failed.final or failure.kind is FailureKind.GONE:
            answered = [SourceCleared(egress=egress)] if course.probing else []
            return [*answered, self._ended_early(queued, course, error, final=True)]
        # for a time that is known, or for a host that was not even asked: that is nobody's attempt
        waits = failure.kind is FailureKind.NOT_YET or failure.reason == BREAKER_OPEN
        return [self._ended_early(queued, course, error, retry_after=failure.retry_after, spent=not waits)]

    def _ended_early(
        self,
        queued: JobQueued,
        course: _Course,
        error: ErrorDetail,
        *,
        retry_after: datetime | None = None,
        final: bool = False,
        spent: bool = True,
    ) -> ListingFailed:
        """Without `retry_after` jobs says how long to wait: it counts the attempts."""
        cursor = queued.cursor  # who comes next goes on there all the same: what was told before is not forgotten
        if course.playlist and course.page_keys:
            cursor = str(Cursor(course.way.source.name, course.playlist.playlist_id, course.offset, course.token))
        return ListingFailed(
            job_id=queued.job_id,
            root=queued.root,
            target_index=queued.target_index,
            listing=queued.listing,
            error=error,
            cursor=cursor,
            retry_after=retry_after,
            final=final,
            spent=spent,
        )


def _start(queued: JobQueued, way: Way, announced: bool) -> tuple[Target, _Course]:
    """Where a way begins: at its own cursor, whose earlier try told the playlist and knew more of a channel."""
    cursor = Cursor.read(queued.cursor)
    if cursor is None or cursor.source != way.source.name:
        return queued.target, _Course(way, 0, "", announced)
    return cursor.target(), _Course(way, cursor.offset, cursor.token, announced or cursor.offset > 0)


def _tell(queued: JobQueued, way: Way, failure: Failure) -> None:
    log.warning(
        "listing_source_gives_up",
        job_id=queued.job_id,
        listing=queued.listing,
        target=str(queued.target),
        source_name=way.source.name,
        error_code=failure.code.value,
        reason=failure.reason,
        error_message=failure.message,
    )


async def _until(closing: asyncio.Event, parts: AsyncGenerator[Part, None]) -> AsyncGenerator[Part, None]:
    """The parts, until the service closes: then Closing, at once and not after the next answer of YouTube."""
    closed = asyncio.ensure_future(closing.wait())
    following: asyncio.Future[Part] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(parts))
            await asyncio.wait({following, closed}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                raise Closing
            try:
                part = following.result()
            except StopAsyncIteration:
                return
            yield part
    finally:
        ends = [end for end in (closed, following) if end is not None]
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        await parts.aclose()


def _playlist_fetched(queued: JobQueued, playlist: PlaylistMetadata) -> PlaylistFetched:
    return PlaylistFetched(
        job_id=queued.job_id,
        root=queued.root,
        target_index=queued.target_index,
        listing=queued.listing,
        playlist=playlist,
    )


def _page_told(queued: JobQueued, page: Page, course: _Course) -> list[Event]:
    """The page, and then what is known of its videos: so that jobs has the items when storage has archived that."""
    source = course.way.source.name
    key = page_key(queued.listing, source, page)
    course.page_keys.append(key)
    course.offset, course.token = page.following, page.token
    fetched = ListingPageFetched(
        job_id=queued.job_id,
        root=queued.root,
        type=queued.type,
        options=queued.options,
        target_index=queued.target_index,
        listing=queued.listing,
        page_key=key,
        playlist_id=course.playlist.playlist_id if course.playlist else None,
        entries=page.entries,
    )
    now = datetime.now(UTC)
    return [fetched, *(_metadata_fetched(queued, metadata, source, now) for metadata in page.described)]


def _metadata_fetched(queued: JobQueued, metadata: VideoMetadata, source: str, at: datetime) -> MetadataFetched:
    return MetadataFetched(
        job_id=queued.job_id,
        root=queued.root,
        video_id=metadata.video_id,
        source_name=source,
        fetched_at=at,
        metadata=metadata,
    )


def _completed(queued: JobQueued, course: _Course) -> ListingCompleted:
    """`total` counts the lines of the whole target, `page_keys` are those of this try."""
    return ListingCompleted(
        job_id=queued.job_id,
        root=queued.root,
        target_index=queued.target_index,
        listing=queued.listing,
        page_keys=tuple(course.page_keys),
        total=course.offset,
        playlist_id=course.playlist.playlist_id if course.playlist else None,
        title=course.playlist.title if course.playlist else None,
        source_name=course.way.source.name,
    )
