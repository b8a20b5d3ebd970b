"""List one target of one job: the claims, the pages, and the end.

given videos         page, completed                                   without an API key there is no request
playlist, channel    claim, playlist, page, claim, page, …, completed
with an API key      … page, metadata of its videos, claim, page, …
                     the API gives up (quota, no answer)               the next source starts from the beginning
                     the API rejects the key                           failed{final}, E005
                     a claim answered `stale`                          no event: the listing was superseded
                     a claim answered `wait`, or the service closes    failed{cursor, spent: no}
                     the source blocks this machine                    source.blocked, failed{cursor, spent: no}
                     the target does not exist                         failed{final}
                     the list ends before the number it announces      failed{cursor} twice, then completed{cut_short}
                     anything else                                     failed{cursor}, an attempt of the listing
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from bus import Event
from bus.tasks import unless
from services.common.domain.failures import Failure, FailureKind
from services.common.domain.replies import ClaimAnswer, ClaimVerdict
from services.common.domain.videos import LISTED_AT_MOST, PlaylistMetadata, Target, VideoMetadata
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
from services.common.models import ErrorCode, ErrorDetail
from services.common.settings.retry_policy import BREAKER_OPEN
from services.metadata.claims import ServiceClosing
from services.metadata.pages import Cursor, ListingPage, page_key
from services.metadata.sources import Part, Source, SourceFailed, SourceGivesUp

CUT_SHORT = "list_cut_short"
_LISTED_AGAIN = 2  # times that a list is listed again because it was cut short
BLOCKED_FOR = timedelta(minutes=5)  # when the source blocks us without naming a time

Claim = Callable[[JobQueued], Awaitable[ClaimAnswer]]  # raises ServiceClosing
log = structlog.get_logger("services.metadata")
_GO = frozenset({ClaimVerdict.GO, ClaimVerdict.PROBE})


@dataclass(frozen=True)
class ClaimedSource:
    """A source, the claim to make before each of its pages, and the egress that its blocks are recorded for."""

    source: Source
    claim: Claim
    egress: str


@dataclass
class _Listed:
    """The progress of a listing with one source. `announced`: the playlist's own metadata were published."""

    claimed: ClaimedSource
    offset: int
    token: str
    announced: bool
    playlist: PlaylistMetadata | None = None
    page_keys: list[str] = field(default_factory=list)
    probing: bool = False


@dataclass
class Lister:
    """Lists targets. `sources` returns those for a target in order of preference; each may give up in favour of the
    next."""

    sources: Callable[[JobQueued], Sequence[ClaimedSource]]
    closing: asyncio.Event

    async def run(self, queued: JobQueued) -> AsyncGenerator[Event, None]:
        sources = self.sources(queued)
        announced = False
        for source in sources:
            target, listed = _start(queued, source, announced)
            try:
                async with aclosing(self._go(queued, target, listed)) as events:
                    async for event in events:
                        yield event
            except SourceGivesUp as error:
                if source is not sources[-1]:
                    announced = listed.announced
                    _log_failure(queued, source, error.failure)
                    continue
                failed = self._failed(queued, error, listed)
            except SourceFailed as error:
                failed = self._failed(queued, error, listed)
            except ServiceClosing:
                failed = [
                    self._interrupted(queued, listed, "interrupted, the service is shutting down", datetime.now(UTC))
                ]
            else:
                return
            for event in failed:
                yield event
            return

    async def _go(self, queued: JobQueued, target: Target, listed: _Listed) -> AsyncGenerator[Event, None]:
        answer = await listed.claimed.claim(queued)
        if answer.verdict not in _GO:
            for event in self._not_admitted(queued, answer, listed):
                yield event
            return
        listed.probing = answer.verdict is ClaimVerdict.PROBE
        async with aclosing(self._walk(queued, target, listed)) as events:
            async for event in events:
                yield event

    async def _walk(self, queued: JobQueued, target: Target, listed: _Listed) -> AsyncGenerator[Event, None]:
        parts = listed.claimed.source.parts(target, listed.offset, listed.token)
        async with aclosing(_until(self.closing, parts)) as open_parts:
            async for part in open_parts:
                if listed.probing:
                    listed.probing = False
                    yield SourceCleared(egress=listed.claimed.egress)
                if isinstance(part, PlaylistMetadata):
                    listed.playlist = part
                    if not listed.announced:
                        listed.announced = True
                        yield _playlist_fetched(queued, part)
                    continue
                if listed.page_keys and (answer := await listed.claimed.claim(queued)).verdict not in _GO:
                    for event in self._not_admitted(queued, answer, listed):
                        yield event
                    return
                for event in _page_events(queued, part, listed):
                    yield event
        if _is_cut_short(listed) and queued.attempts < _LISTED_AGAIN:
            raise _cut_short(listed)
        yield _completed(queued, listed)

    def _not_admitted(self, queued: JobQueued, answer: ClaimAnswer, listed: _Listed) -> list[Event]:
        if answer.verdict is ClaimVerdict.STALE:
            return []
        return [self._interrupted(queued, listed, answer.reason or "YouTube blocks this machine for now", answer.until)]

    def _interrupted(self, queued: JobQueued, listed: _Listed, why: str, until: datetime | None) -> ListingFailed:
        error = ErrorDetail(code=ErrorCode.SERVICE_UNAVAILABLE, message=f"{queued.target}: {why}")
        return self._ended_early(queued, listed, error, retry_after=until, spent=False)

    def _failed(self, queued: JobQueued, failed: SourceFailed, listed: _Listed) -> list[Event]:
        failure, egress = failed.failure, listed.claimed.egress
        error = ErrorDetail(
            code=failure.code,
            message=f"{queued.target}: {failure.message}",
            details={"kind": failure.kind.value, "reason": failure.reason},
        )
        if failure.kind is FailureKind.SITE_WIDE:
            until = failure.retry_after or datetime.now(UTC) + BLOCKED_FOR
            blocked = SourceBlocked(egress=egress, reason=failure.reason, until=until)
            return [blocked, self._ended_early(queued, listed, error, retry_after=until, spent=False)]
        if failed.final or failure.kind is FailureKind.GONE:
            answered = [SourceCleared(egress=egress)] if listed.probing else []
            return [*answered, self._ended_early(queued, listed, error, final=True)]
        # not an attempt: the time is known, or no request was made
        waits = failure.kind is FailureKind.NOT_YET or failure.reason == BREAKER_OPEN
        return [self._ended_early(queued, listed, error, retry_after=failure.retry_after, spent=not waits)]

    def _ended_early(
        self,
        queued: JobQueued,
        listed: _Listed,
        error: ErrorDetail,
        *,
        retry_after: datetime | None = None,
        final: bool = False,
        spent: bool = True,
    ) -> ListingFailed:
        """Without `retry_after` jobs, which counts the attempts, determines the wait."""
        cursor = queued.cursor  # keep the position of an earlier attempt
        if listed.playlist and listed.page_keys:
            cursor = str(Cursor(listed.claimed.source.name, listed.playlist.playlist_id, listed.offset, listed.token))
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


def _start(queued: JobQueued, claimed: ClaimedSource, announced: bool) -> tuple[Target, _Listed]:
    """Return where a source starts: at its own cursor, which was written after the playlist was announced."""
    cursor = Cursor.read(queued.cursor)
    if cursor is None or cursor.source != claimed.source.name:
        return queued.target, _Listed(claimed, 0, "", announced)
    return cursor.target(), _Listed(claimed, cursor.offset, cursor.token, announced or cursor.offset > 0)


def _log_failure(queued: JobQueued, claimed: ClaimedSource, failure: Failure) -> None:
    log.warning(
        "listing_source_gives_up",
        job_id=queued.job_id,
        listing=queued.listing,
        target=str(queued.target),
        source_name=claimed.source.name,
        error_code=failure.code.value,
        reason=failure.reason,
        error_message=failure.message,
    )


async def _until(closing: asyncio.Event, parts: AsyncGenerator[Part, None]) -> AsyncGenerator[Part, None]:
    """Yield the parts. Raise ServiceClosing as soon as the service closes, without waiting for YouTube's next
    answer."""
    try:
        while True:
            try:
                part = await unless(anext(parts), closing)
            except StopAsyncIteration:
                return
            if part is None:
                raise ServiceClosing
            yield part
    finally:
        await parts.aclose()


def _playlist_fetched(queued: JobQueued, playlist: PlaylistMetadata) -> PlaylistFetched:
    return PlaylistFetched(
        job_id=queued.job_id,
        root=queued.root,
        target_index=queued.target_index,
        listing=queued.listing,
        playlist=playlist,
        again=queued.again,
    )


def _page_events(queued: JobQueued, page: ListingPage, listed: _Listed) -> list[Event]:
    """Return the page, then the metadata of its videos, so that jobs has the items before their metadata are
    archived."""
    source = listed.claimed.source.name
    key = page_key(queued.listing, source, page)
    listed.page_keys.append(key)
    listed.offset, listed.token = page.following, page.token
    fetched = ListingPageFetched(
        job_id=queued.job_id,
        root=queued.root,
        type=queued.type,
        options=queued.options,
        target_index=queued.target_index,
        listing=queued.listing,
        page_key=key,
        playlist_id=listed.playlist.playlist_id if listed.playlist else None,
        entries=page.entries,
        again=queued.again,
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


def _completed(queued: JobQueued, listed: _Listed) -> ListingCompleted:
    """`total` counts the lines of the whole target, `page_keys` are those of this attempt."""
    return ListingCompleted(
        job_id=queued.job_id,
        root=queued.root,
        target_index=queued.target_index,
        listing=queued.listing,
        page_keys=tuple(listed.page_keys),
        total=listed.offset,
        playlist_id=listed.playlist.playlist_id if listed.playlist else None,
        title=listed.playlist.title if listed.playlist else None,
        source_name=listed.claimed.source.name,
        announced=listed.playlist.entry_count if listed.playlist else None,
        cut_short=_is_cut_short(listed),
        again=queued.again,
    )


def _is_cut_short(listed: _Listed) -> bool:
    """Return whether a list ended at the end of a full page, before the number of entries that it announces: YouTube
    left out the way to the next page."""
    announced = listed.playlist.entry_count if listed.playlist else None
    page = listed.claimed.source.full_page
    full = page > 0 and listed.offset > 0 and listed.offset % page == 0
    return announced is not None and full and listed.offset < min(announced, LISTED_AT_MOST)


def _cut_short(listed: _Listed) -> SourceFailed:
    announced = listed.playlist.entry_count if listed.playlist else None
    return SourceFailed(
        Failure(
            kind=FailureKind.PASSING,
            code=ErrorCode.SERVICE_UNAVAILABLE,
            reason=CUT_SHORT,
            message=f"YouTube listed {listed.offset} of the {announced} entries that the list announces",
        )
    )
