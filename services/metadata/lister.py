"""One target of one job, listed: the claims, the pages, and how it ends.

given videos         page, completed                                   nothing is asked of anybody
playlist, channel    claim, playlist, page, claim, page, …, completed
                     a claim answered `stale`                          silence: jobs has moved on
                     a claim answered `wait`, or the service closes    failed{cursor, spent: no}
                     the source refuses this machine                   source.blocked, failed{cursor, spent: no}
                     what does not exist                               failed{final}
                     anything else                                     failed{cursor}, an attempt of the listing
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from bus import Event
from services.common.events import (
    JobQueued,
    ListingCompleted,
    ListingFailed,
    ListingPageFetched,
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
)
from services.metadata.claims import Closing
from services.metadata.pages import Cursor, Page, given_page, page_key
from services.metadata.sources import Part, Source, SourceFailed

BLOCKED_FOR = timedelta(minutes=5)  # when the source refuses us and does not say for how long

Claim = Callable[[JobQueued], Awaitable[ClaimAnswer]]  # raises Closing
_GO = frozenset({ClaimVerdict.GO, ClaimVerdict.PROBE})


@dataclass
class _Course:
    """How far a listing has come."""

    offset: int
    playlist: PlaylistMetadata | None = None
    page_keys: list[str] = field(default_factory=list)
    probing: bool = False


async def given(queued: JobQueued) -> AsyncGenerator[Event, None]:
    """Videos that the user named: a page with no request."""
    page = given_page(queued.target)
    course = _Course(offset=0)
    yield _page_fetched(queued, page, "given", course)
    yield _completed(queued, course)


@dataclass
class Lister:
    """Lists playlists and channels from a source. `egress` names the way out that a block is counted for."""

    source: Source
    claim: Claim
    egress: str
    closing: asyncio.Event

    async def run(self, queued: JobQueued) -> AsyncGenerator[Event, None]:
        target, offset = self._start(queued)
        course = _Course(offset)
        try:
            answer = await self.claim(queued)
            if answer.verdict not in _GO:
                for event in self._held_up(queued, answer, course):
                    yield event
                return
            course.probing = answer.verdict is ClaimVerdict.PROBE
            async with aclosing(self._walk(queued, target, course)) as events:
                async for event in events:
                    yield event
        except SourceFailed as error:
            for event in self._failed(queued, error.failure, course):
                yield event
        except Closing:
            yield self._interrupted(queued, course, "interrupted, the service stops", datetime.now(UTC))

    def _start(self, queued: JobQueued) -> tuple[Target, int]:
        cursor = Cursor.read(queued.cursor)
        if cursor is None or cursor.source != self.source.name:
            return queued.target, 0
        return cursor.target(), cursor.offset

    async def _walk(self, queued: JobQueued, target: Target, course: _Course) -> AsyncGenerator[Event, None]:
        parts = self.source.parts(target, course.offset)
        async with aclosing(_until(self.closing, parts)) as open_parts:
            async for part in open_parts:
                if course.probing:
                    course.probing = False
                    yield SourceCleared(egress=self.egress)
                if isinstance(part, PlaylistMetadata):
                    course.playlist = part
                    if course.offset == 0:  # else an earlier try told it, and knew more of a channel
                        yield _playlist_fetched(queued, part)
                    continue
                if course.page_keys and (answer := await self.claim(queued)).verdict not in _GO:
                    for event in self._held_up(queued, answer, course):
                        yield event
                    return
                yield _page_fetched(queued, part, self.source.name, course)
        yield _completed(queued, course)

    def _held_up(self, queued: JobQueued, answer: ClaimAnswer, course: _Course) -> list[Event]:
        if answer.verdict is ClaimVerdict.STALE:
            return []
        return [self._interrupted(queued, course, "YouTube refuses this machine for now", answer.until)]

    def _interrupted(self, queued: JobQueued, course: _Course, why: str, until: datetime | None) -> ListingFailed:
        error = ErrorDetail(code=ErrorCode.SERVICE_UNAVAILABLE, message=f"{queued.target}: {why}")
        return self._ended_early(queued, course, error, retry_after=until, spent=False)

    def _failed(self, queued: JobQueued, failure: Failure, course: _Course) -> list[Event]:
        error = ErrorDetail(
            code=failure.code,
            message=f"{queued.target}: {failure.message}",
            details={"kind": failure.kind.value, "reason": failure.reason},
        )
        if failure.kind is FailureKind.SITE_WIDE:
            until = failure.retry_after or datetime.now(UTC) + BLOCKED_FOR
            blocked = SourceBlocked(egress=self.egress, reason=failure.reason, until=until)
            return [blocked, self._ended_early(queued, course, error, retry_after=until, spent=False)]
        if failure.kind is FailureKind.GONE:
            answered = [SourceCleared(egress=self.egress)] if course.probing else []
            return [*answered, self._ended_early(queued, course, error, final=True)]
        return [self._ended_early(queued, course, error, retry_after=failure.retry_after)]

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
        cursor = None
        if course.playlist and course.page_keys:
            cursor = str(Cursor(self.source.name, course.playlist.playlist_id, course.offset))
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


def _page_fetched(queued: JobQueued, page: Page, source: str, course: _Course) -> ListingPageFetched:
    key = page_key(queued.listing, source, page)
    course.page_keys.append(key)
    course.offset = page.following
    return ListingPageFetched(
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
    )
