"""Looks at what is followed: by the feed, and by the list where that does not do.

feed       one request              newest 15; has it none that is known, there is a gap: the list too
list       2 requests and more      until a page has a known video; with none known to its end
feed fails (it often does)          the list, in the same look
blocked, or anything else           follow.looked{error, retry_after}
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from bus import Event
from bus.errors import NotNow
from bus.tasks import unless
from services.common.domain.failures import FailureKind
from services.common.domain.follows import HowToLook, RulesTrial, Tried, list_prefixes
from services.common.domain.videos import Entry, PlaylistMetadata, Target
from services.common.errors import ServiceUnavailable, YTArchiveError
from services.common.events import PAGE_SIZE, FollowListed, FollowLookDue, FollowLooked
from services.common.lookup_permission import refusal
from services.common.models import ErrorCode, ErrorDetail
from services.common.rules import Rules, judge
from services.metadata.permits import PermittedSource
from services.metadata.sources import SourceFailed
from services.metadata.ytdlp_source import YtDlpSource

_TRIED = 100  # videos
_AGAIN = timedelta(seconds=30)  # while jobs does not answer

log = structlog.get_logger("services.metadata")


@dataclass
class _Progress:
    how: HowToLook
    pages: int = 0
    requests: int = 0
    playlist: PlaylistMetadata | None = None
    feed_problem: str | None = None
    seen: set[str] = field(default_factory=set)


@dataclass
class Looks:
    """Looks at channels and playlists for follows."""

    source: PermittedSource[YtDlpSource]
    closing: asyncio.Event

    async def look(self, due: FollowLookDue, trace_id: str) -> AsyncGenerator[Event, None]:
        """Yield what was seen, then the end of the look."""
        progress = _Progress(due.how)
        error, retry_after = None, None
        try:
            async with self.source.permission(trace_id), aclosing(self._look(due, progress)) as events:
                async for event in events:
                    yield event
        except SourceFailed as failed:
            failure = failed.failure
            details = {"kind": failure.kind.value, "reason": str(failure.reason)}
            message = f"{due.target}: {failure.message}"
            error, retry_after = ErrorDetail(code=failure.code, message=message, details=details), failure.retry_after
        except ServiceUnavailable as refused:
            error, retry_after = _refused(due, refused)
        yield FollowLooked(
            follow_id=due.follow_id,
            look=due.look,
            how=progress.how,
            pages=progress.pages,
            requests=progress.requests,
            playlist=progress.playlist,
            feed_problem=progress.feed_problem,
            error=error,
            retry_after=retry_after,
        )

    async def try_rules(self, target: Target, rules: Rules, trace_id: str) -> RulesTrial:
        """Return what rules would do with the newest hundred videos. Raise as lookups do."""
        due = FollowLookDue(
            follow_id="0" * 12, look=0, target=target, how="list", prefixes=list_prefixes(target.tab, rules)
        )
        title, entries = None, list[Entry]()
        try:
            async with self.source.permission(trace_id), aclosing(self.source.source.look(due, "list")) as messages:
                async for message in messages:
                    if "head" in message:
                        title = PlaylistMetadata.model_validate(message["head"]).title
                        continue
                    entries += [Entry.model_validate(entry) for entry in message["entries"]]
                    if len(entries) >= _TRIED:
                        break
        except SourceFailed as error:
            raise refusal(error.failure, str(target), datetime.now(UTC)) from error
        tried = await asyncio.to_thread(lambda: [_tried(entry, rules) for entry in entries[:_TRIED]])
        return RulesTrial(title=title, videos=tried)

    async def _look(self, due: FollowLookDue, progress: _Progress) -> AsyncGenerator[Event, None]:
        if due.how == "feed":
            problem = None
            try:
                async with aclosing(self._read(due, "feed", progress)) as events:
                    async for event in events:
                        yield event
            except SourceFailed as failed:
                if failed.failure.kind is FailureKind.SITE_WIDE:
                    raise
                problem = failed.failure.message
            if problem is None and progress.seen.intersection(due.known):
                return
            progress.feed_problem = problem
            if problem is not None:
                log.info("feed_unavailable", follow_id=due.follow_id, target=str(due.target), error_message=problem)
        progress.how = "list"
        async with aclosing(self._read(due, "list", progress)) as events:
            async for event in events:
                yield event

    async def _read(self, due: FollowLookDue, how: HowToLook, progress: _Progress) -> AsyncGenerator[Event, None]:
        before = progress.requests
        messages = self.source.source.look(due, how)
        async with aclosing(messages):
            while True:
                try:
                    message = await unless(anext(messages), self.closing)
                except StopAsyncIteration:
                    return
                if message is None:
                    raise NotNow("the metadata service is shutting down", delay=0.0)
                progress.requests = before + message["requests"]
                if "head" in message:
                    progress.playlist = PlaylistMetadata.model_validate(message["head"])
                    continue
                entries = tuple(Entry.model_validate(entry) for entry in message["entries"])
                progress.seen.update(entry.video_id for entry in entries)
                for start in range(0, len(entries), PAGE_SIZE):
                    yield FollowListed(
                        follow_id=due.follow_id,
                        look=due.look,
                        how=how,
                        page=progress.pages,
                        entries=entries[start : start + PAGE_SIZE],
                    )
                    progress.pages += 1


def _tried(entry: Entry, rules: Rules) -> Tried:
    verdict = judge(rules, entry.facts)
    return Tried(
        video_id=entry.video_id,
        title=entry.title,
        taken=verdict.taken,
        reason=verdict.reason or None,
        unknown=verdict.unknown or None,
        duration_seconds=entry.duration_seconds,
        published_until=entry.published_until,
    )


def _refused(due: FollowLookDue, refused: YTArchiveError) -> tuple[ErrorDetail, datetime]:
    """A look is not allowed at present: YouTube blocks this machine, or jobs does not answer."""
    until = refused.details.get("until")
    again = datetime.fromisoformat(until) if isinstance(until, str) else datetime.now(UTC) + _AGAIN
    message, details = f"{due.target}: {refused.message}", {"reason": refused.details.get("reason", "blocked")}
    return ErrorDetail(code=ErrorCode.SERVICE_UNAVAILABLE, message=message, details=details), again
