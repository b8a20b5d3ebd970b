"""The metadata service without a broker or a child: page keys, cursors, listings, claims and failures."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from bus import Event
from services.common.domain.failures import Failure, FailureKind
from services.common.domain.replies import ClaimAnswer, ClaimVerdict
from services.common.domain.videos import Entry, PlaylistMetadata, Target, TargetKind, VideoMetadata
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
from services.common.lookup_permission import refusal
from services.common.models import ErrorCode, JobOptions, JobType
from services.common.youtube.egress import egress_of
from services.common.youtube.error_facts import ErrorFacts
from services.common.youtube.process import ChildCrashed, ChildFailed
from services.metadata.claims import ServiceClosing
from services.metadata.lister import ClaimedSource, Lister
from services.metadata.pages import Cursor, ListingPage, page_key
from services.metadata.source_selection import data_api_egress
from services.metadata.sources import GivenSource, Part, SourceFailed, SourceGivesUp
from services.metadata.ytdlp_source import classify_failure

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
LIST = "PLBB231211A4F62143"
UPLOADS = "UUuAXFkgsw1L7xaCfnd5JJOw"
TIMEOUT = 60

GO = ClaimAnswer(verdict=ClaimVerdict.GO)
PROBE = ClaimAnswer(verdict=ClaimVerdict.PROBE)
STALE = ClaimAnswer(verdict=ClaimVerdict.STALE)
WAIT = ClaimAnswer(verdict=ClaimVerdict.WAIT, until=NOW)


def queued(target: Target | None = None, *, listing: int = 3, cursor: str | None = None) -> JobQueued:
    return JobQueued(
        job_id="job-1",
        type=JobType.PLAYLIST_DOWNLOAD,
        root="/archive",
        options=JobOptions(quality="720p"),
        target=target or Target(kind=TargetKind.PLAYLIST, id=LIST),
        target_index=2,
        listing=listing,
        cursor=cursor,
    )


def page(offset: int, count: int) -> ListingPage:
    entries = tuple(Entry(video_id=f"video{n:06d}", position=n) for n in range(offset, offset + count))
    return ListingPage(offset, offset + count, entries)


PLAYLIST = PlaylistMetadata(playlist_id=LIST, title="A list")
PARTS: tuple[Part, ...] = (PLAYLIST, page(0, 100), page(100, 100), page(200, 50))


class ScriptedSource:
    """A source that yields given parts and then fails, hangs or ends; also answers claims in place of jobs."""

    name = "scripted"
    full_page = 0

    def __init__(
        self,
        parts: Iterable[Part] = PARTS,
        *,
        failure: Failure | None = None,
        hangs: bool = False,
        answers: Iterable[ClaimAnswer] = (),
    ) -> None:
        self._parts = parts
        self._failure = failure
        self._silent = hangs
        self._answers = iter(answers)
        self.calls: list[tuple[Target, int]] = []
        self.tokens: list[str] = []
        self.claims = 0
        self.closed = False
        self.hanging = asyncio.Event()
        self.closing = asyncio.Event()

    async def parts(self, target: Target, offset: int, token: str) -> AsyncGenerator[Part, None]:
        self.calls.append((target, offset))
        self.tokens.append(token)
        try:
            for part in self._parts:
                yield part
            if self._failure:
                raise SourceFailed(self._failure)
            if self._silent:
                self.hanging.set()
                await asyncio.Event().wait()
        finally:
            self.closed = True

    async def claim(self, _queued: JobQueued) -> ClaimAnswer:
        if self.closing.is_set():
            raise ServiceClosing
        self.claims += 1
        return next(self._answers, GO)

    @property
    def claimed(self) -> ClaimedSource:
        return ClaimedSource(self, self.claim, f"egress of {self.name}")

    async def run(self, event: JobQueued) -> list[Event]:
        return await run(event, self)


async def run(event: JobQueued, *scripts: ScriptedSource) -> list[Event]:
    lister = Lister(lambda _queued: [script.claimed for script in scripts], scripts[0].closing)
    async with asyncio.timeout(TIMEOUT):
        return [fact async for fact in lister.run(event)]


def failure(kind: FailureKind, reason: str = "some", retry_after: datetime | None = None) -> Failure:
    return Failure(kind=kind, code=ErrorCode.NETWORK_TIMEOUT, reason=reason, message="why", retry_after=retry_after)


def kinds(facts: Iterable[Event]) -> list[type[Event]]:
    return [type(fact) for fact in facts]


def last_failed(facts: list[Event]) -> ListingFailed:
    assert isinstance(facts[-1], ListingFailed)
    return facts[-1]


# --- pages --------------------------------------------------------------------------------------------------------


def test_a_page_key_contains_listing_source_offset_and_a_content_hash() -> None:
    key = page_key(3, "yt_dlp", page(100, 50))
    assert key.rpartition("/")[0] == "3/yt_dlp/100"
    assert key == page_key(3, "yt_dlp", page(100, 50))
    assert key != page_key(3, "yt_dlp", page(100, 49))


def test_a_cursor_is_parsed_from_its_text() -> None:
    cursor = Cursor("yt_dlp", UPLOADS, 200)
    assert Cursor.read(str(cursor)) == cursor
    assert cursor.target() == Target(kind=TargetKind.PLAYLIST, id=UPLOADS)


@pytest.mark.parametrize("text", [None, "", "200", "yt_dlp/PLx", "yt_dlp/PLx/-1", "yt_dlp/PLx/1/2", "a/b/c", "a/../1"])
def test_an_invalid_cursor_is_ignored(text: str | None) -> None:
    assert Cursor.read(text) is None


# --- successful listings --------------------------------------------------------------------------------------------


async def test_given_videos_are_one_page_without_a_request() -> None:
    target = Target(kind=TargetKind.VIDEOS, video_ids=("dQw4w9WgXcQ", "-demo_00012"))
    script = ScriptedSource()
    lister = Lister(lambda _queued: [ClaimedSource(GivenSource(), script.claim, "none")], script.closing)
    fetched, completed = [fact async for fact in lister.run(queued(target))]
    assert isinstance(fetched, ListingPageFetched)
    assert isinstance(completed, ListingCompleted)
    assert [(entry.video_id, entry.position) for entry in fetched.entries] == [("dQw4w9WgXcQ", 0), ("-demo_00012", 1)]
    assert fetched.page_key.startswith("3/given/0/")
    assert (completed.page_keys, completed.total) == ((fetched.page_key,), 2)
    assert fetched.playlist_id is completed.playlist_id is completed.title is None


async def test_a_listing_publishes_the_playlist_then_its_pages_then_its_completion() -> None:
    script = ScriptedSource()
    facts = await script.run(queued())
    assert kinds(facts) == [PlaylistFetched, *[ListingPageFetched] * 3, ListingCompleted]
    pages = [fact for fact in facts if isinstance(fact, ListingPageFetched)]
    completed = facts[-1]
    assert isinstance(completed, ListingCompleted)
    assert completed.page_keys == tuple(fact.page_key for fact in pages)
    assert (completed.total, completed.playlist_id, completed.title) == (250, LIST, "A list")
    for fact in pages:
        assert (fact.job_id, fact.root, fact.target_index, fact.listing) == ("job-1", "/archive", 2, 3)
        assert (fact.type, fact.options.quality) == (JobType.PLAYLIST_DOWNLOAD, "720p")
        assert fact.playlist_id == LIST
    assert script.claims == 3  # before the start, and before every page but the first
    assert script.closed


async def test_the_listing_of_an_empty_playlist_completes() -> None:
    facts = await ScriptedSource([PLAYLIST]).run(queued())
    assert kinds(facts) == [PlaylistFetched, ListingCompleted]
    assert isinstance(facts[-1], ListingCompleted)
    assert (facts[-1].page_keys, facts[-1].total) == ((), 0)


async def test_a_listing_resumes_at_its_cursor() -> None:
    script = ScriptedSource([PLAYLIST, page(200, 50)])
    handle = Target(kind=TargetKind.CHANNEL, id="@name")
    facts = await script.run(queued(handle, cursor=f"scripted/{UPLOADS}/200"))
    expected: list[type[Event]] = [ListingPageFetched, ListingCompleted]
    assert script.calls == [(Target(kind=TargetKind.PLAYLIST, id=UPLOADS), 200)]
    assert kinds(facts) == expected
    assert isinstance(facts[-1], ListingCompleted)
    assert facts[-1].total == 250


async def test_a_cursor_of_another_source_is_ignored() -> None:
    script = ScriptedSource()
    await script.run(queued(cursor=f"data_api/{LIST}/200"))
    assert script.calls == [(Target(kind=TargetKind.PLAYLIST, id=LIST), 0)]


# --- claims ---------------------------------------------------------------------------------------------------------


async def test_a_stale_listing_is_dropped_without_an_event_or_a_request() -> None:
    script = ScriptedSource(answers=[STALE])
    assert await script.run(queued()) == []
    assert script.calls == []


async def test_a_listing_that_becomes_stale_stops_without_a_further_event() -> None:
    script = ScriptedSource(answers=[GO, GO, STALE])
    facts = await script.run(queued())
    assert kinds(facts) == [PlaylistFetched, ListingPageFetched, ListingPageFetched]
    assert script.closed


async def test_a_blocked_source_costs_no_attempt_and_no_request() -> None:
    script = ScriptedSource(answers=[WAIT])
    failed = last_failed(await script.run(queued()))
    assert (failed.retry_after, failed.spent, failed.final, failed.cursor) == (NOW, False, False, None)
    assert script.calls == []


async def test_a_source_that_is_blocked_during_a_listing_keeps_its_cursor() -> None:
    script = ScriptedSource(answers=[GO, GO, WAIT])
    failed = last_failed(await script.run(queued()))
    assert (failed.retry_after, failed.spent, failed.cursor) == (NOW, False, f"scripted/{LIST}/200")
    assert script.closed


async def test_a_successful_probe_clears_the_source_once() -> None:
    facts = await ScriptedSource(answers=[PROBE, PROBE, PROBE]).run(queued())
    assert kinds(facts) == [SourceCleared, PlaylistFetched, *[ListingPageFetched] * 3, ListingCompleted]


# --- failures ---------------------------------------------------------------------------------------------------------


async def test_a_passing_failure_counts_and_keeps_the_cursor_of_the_last_page() -> None:
    script = ScriptedSource([PLAYLIST, page(0, 100)], failure=failure(FailureKind.PASSING))
    failed = last_failed(await script.run(queued()))
    assert (failed.cursor, failed.spent, failed.final) == (f"scripted/{LIST}/100", True, False)
    assert failed.retry_after is None  # jobs counts the attempts and computes the wait
    assert failed.error.code is ErrorCode.NETWORK_TIMEOUT
    assert failed.error.message == f"{LIST}: why"


async def test_a_failure_before_any_page_has_no_cursor() -> None:
    failed = last_failed(await ScriptedSource([], failure=failure(FailureKind.LOCAL)).run(queued()))
    assert (failed.cursor, failed.spent, failed.final) == (None, True, False)


async def test_a_failure_of_a_resumed_listing_before_any_page_keeps_its_cursor() -> None:
    """Otherwise storage would drop the published pages although jobs resumes after them."""
    cursor = f"scripted/{LIST}/100"
    broken = ScriptedSource([], failure=failure(FailureKind.LOCAL))
    assert last_failed(await broken.run(queued(cursor=cursor))).cursor == cursor
    assert last_failed(await ScriptedSource(answers=[WAIT]).run(queued(cursor=cursor))).cursor == cursor


async def test_a_missing_playlist_is_a_final_failure() -> None:
    facts = await ScriptedSource([], failure=failure(FailureKind.GONE)).run(queued())
    assert kinds(facts) == [ListingFailed]
    assert last_failed(facts).final


async def test_a_probe_for_a_missing_playlist_clears_the_source() -> None:
    facts = await ScriptedSource([], failure=failure(FailureKind.GONE), answers=[PROBE]).run(queued())
    assert kinds(facts) == [SourceCleared, ListingFailed]


async def test_a_refusal_blocks_the_egress_and_costs_no_attempt() -> None:
    until = datetime.now(UTC) + timedelta(minutes=1)
    facts = await ScriptedSource([], failure=failure(FailureKind.SITE_WIDE, "bot_check", until)).run(queued())
    blocked, failed = facts[0], last_failed(facts)
    assert blocked == SourceBlocked(egress="egress of scripted", reason="bot_check", until=until)
    assert (failed.retry_after, failed.spent, failed.final) == (until, False, False)


async def test_a_refusal_without_a_retry_time_blocks_for_a_default_time() -> None:
    facts = await ScriptedSource([], failure=failure(FailureKind.SITE_WIDE)).run(queued())
    assert isinstance(facts[0], SourceBlocked)
    assert facts[0].until > datetime.now(UTC)
    assert facts[0].until == last_failed(facts).retry_after


# --- endings ----------------------------------------------------------------------------------------------------------


async def test_closing_the_service_returns_the_running_listing_at_once() -> None:
    script = ScriptedSource([PLAYLIST, page(0, 100)], hangs=True)
    running = asyncio.create_task(script.run(queued()))
    async with asyncio.timeout(TIMEOUT):
        await script.hanging.wait()
    script.closing.set()
    failed = last_failed(await running)
    assert (failed.cursor, failed.spent, failed.final) == (f"scripted/{LIST}/100", False, False)
    assert failed.retry_after is not None
    assert failed.retry_after <= datetime.now(UTC)
    assert script.closed


async def test_a_closing_service_does_not_start_a_listing() -> None:
    script = ScriptedSource()
    script.closing.set()
    assert kinds(await script.run(queued())) == [ListingFailed]
    assert script.calls == []


async def test_cancelling_the_handler_closes_its_source() -> None:
    script = ScriptedSource([PLAYLIST], hangs=True)
    running = asyncio.create_task(script.run(queued()))
    async with asyncio.timeout(TIMEOUT):
        await script.hanging.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert script.closed


async def test_closing_the_handler_between_two_events_closes_its_source() -> None:
    script = ScriptedSource()
    facts = Lister(lambda _queued: [script.claimed], script.closing).run(queued())
    assert isinstance(await anext(facts), PlaylistFetched)
    await facts.aclose()
    assert script.closed


# --- fallback to the next source --------------------------------------------------------------------------------------


class GivingUpSource(ScriptedSource):
    """Raise `error` (SourceGivesUp by default) where ScriptedSource would fail."""

    name = "giving"
    error: Callable[[Failure], SourceFailed] = SourceGivesUp

    async def parts(self, target: Target, offset: int, token: str) -> AsyncGenerator[Part, None]:
        try:
            async for part in super().parts(target, offset, token):
                yield part
        except SourceFailed as error:
            raise self.error(error.failure) from error


QUOTA = Failure(
    kind=FailureKind.NOT_YET, code=ErrorCode.API_QUOTA_EXCEEDED, reason="quota", message="all spent", retry_after=NOW
)


async def test_the_next_source_claims_and_lists_from_the_beginning() -> None:
    first, second = GivingUpSource([PLAYLIST, page(0, 50)], failure=QUOTA), ScriptedSource()
    facts = await run(queued(), first, second)
    assert kinds(facts) == [PlaylistFetched, *[ListingPageFetched] * 4, ListingCompleted]
    completed = facts[-1]
    assert isinstance(completed, ListingCompleted)
    assert [key.split("/")[1] for key in completed.page_keys] == ["scripted"] * 3
    assert completed.total == 250
    assert (first.claims, second.claims) == (1, 3)
    assert first.closed


async def test_the_playlist_is_published_by_the_next_source_if_the_first_did_not() -> None:
    facts = await run(queued(), GivingUpSource([], failure=QUOTA), ScriptedSource())
    assert kinds(facts)[0] is PlaylistFetched


async def test_if_the_last_source_gives_up_the_listing_waits_without_using_an_attempt() -> None:
    failed = last_failed(await run(queued(), GivingUpSource([PLAYLIST, page(0, 50)], failure=QUOTA)))
    assert (failed.retry_after, failed.spent, failed.final) == (NOW, False, False)
    assert (failed.error.code, failed.cursor) == (ErrorCode.API_QUOTA_EXCEEDED, f"giving/{LIST}/50")


async def test_a_failed_source_is_not_replaced_by_the_next() -> None:
    second = ScriptedSource()
    facts = await run(queued(), ScriptedSource([], failure=failure(FailureKind.PASSING)), second)
    assert kinds(facts) == [ListingFailed]
    assert second.calls == []


async def test_a_failure_marked_final_ends_the_listing() -> None:
    refused = GivingUpSource([], failure=failure(FailureKind.LOCAL))
    refused.error = partial(SourceFailed, final=True)
    assert last_failed(await run(queued(), refused, ScriptedSource())).final


async def test_the_page_token_of_a_source_is_stored_in_the_cursor_and_used_on_resume() -> None:
    with_token = ListingPage(0, 50, page(0, 50).entries, token="EAAaBlBUOkNESQ")  # noqa: S106 - a page token
    script = ScriptedSource([PLAYLIST, with_token], failure=failure(FailureKind.PASSING))
    failed = last_failed(await script.run(queued()))
    assert failed.cursor == f"scripted/{LIST}/50@EAAaBlBUOkNESQ"
    again = ScriptedSource([PLAYLIST])
    await again.run(queued(cursor=failed.cursor))
    assert again.tokens == ["EAAaBlBUOkNESQ"]


async def test_metadata_of_listed_videos_follows_their_page() -> None:
    known = tuple(VideoMetadata(video_id=f"video{n:06d}", title=f"Title {n}") for n in (0, 1))
    first = ListingPage(0, 2, page(0, 2).entries, described=known)
    facts = await ScriptedSource([PLAYLIST, first, page(2, 1)]).run(queued())
    assert kinds(facts) == [
        PlaylistFetched,
        ListingPageFetched,
        MetadataFetched,
        MetadataFetched,
        ListingPageFetched,
        ListingCompleted,
    ]
    described = [fact for fact in facts if isinstance(fact, MetadataFetched)]
    assert [fact.metadata.title for fact in described] == ["Title 0", "Title 1"]
    assert {(fact.job_id, fact.root, fact.source_name) for fact in described} == {("job-1", "/archive", "scripted")}


# --- failures of the yt-dlp child -------------------------------------------------------------------------------------


def failed_child(message: str, status: int | None = None) -> ChildFailed:
    return ChildFailed(ErrorFacts(type="ExtractorError", message=message, status=status))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (failed_child("YouTube said: The playlist does not exist."), FailureKind.GONE),
        (failed_child("Unable to download API page: HTTP Error 404: Not Found", 404), FailureKind.GONE),
        (failed_child("YouTube said: This account has been terminated for a violation."), FailureKind.GONE),
        (failed_child("YouTube said: This playlist type is unviewable."), FailureKind.GONE),
        (failed_child("Unable to download API page: HTTP Error 503: Service Unavailable", 503), FailureKind.PASSING),
        (failed_child("Incomplete data received. Giving up after 3 retries"), FailureKind.PASSING),
        (failed_child("Unable to download API page: HTTP Error 429: Too Many Requests", 429), FailureKind.SITE_WIDE),
        (ChildCrashed("the child ended with -9"), FailureKind.LOCAL),
    ],
)
def test_a_failed_listing_is_classified(error: ChildFailed | ChildCrashed, kind: FailureKind) -> None:
    assert classify_failure(error, begun=False, now=NOW).kind is kind


def test_a_404_between_two_pages_is_a_passing_failure() -> None:
    error = failed_child("Unable to download API page: HTTP Error 404: Not Found", 404)
    assert classify_failure(error, begun=True, now=NOW).kind is FailureKind.PASSING


@pytest.mark.parametrize(
    ("proxy", "egress"),
    [
        (None, "box/direct"),
        ("http://127.0.0.1:3128", "box/127.0.0.1:3128"),
        ("socks5://user:secret@proxy.example:1080/", "box/proxy.example:1080"),
        ("user:secret@proxy.example", "box/proxy.example"),
    ],
)
def test_an_egress_name_contains_no_password(proxy: str | None, egress: str) -> None:
    assert egress_of(proxy, "box") == egress


def test_a_configured_egress_name_is_shared_by_several_hosts() -> None:
    assert {egress_of(None, host, name="home") for host in ("box-1", "box-2")} == {"home/direct"}
    assert data_api_egress("home") == "home/data_api"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCode.VIDEO_UNAVAILABLE, 404),
        (ErrorCode.API_QUOTA_EXCEEDED, 429),
        (ErrorCode.INVALID_CREDENTIALS, 400),
        (ErrorCode.NETWORK_TIMEOUT, 503),
        (ErrorCode.SERVICE_UNAVAILABLE, 503),
        (ErrorCode.INTERNAL_ERROR, 503),  # unclassified: a failure of the source
    ],
)
def test_the_http_status_and_details_of_a_refused_lookup(code: ErrorCode, status: int) -> None:
    failed = Failure(kind=FailureKind.PASSING, code=code, reason="some", message="why", retry_after=NOW)
    error = refusal(failed, "a video", NOW - timedelta(seconds=90))
    assert (error.http_status, error.message) == (status, "a video: why")
    assert error.details == {"kind": "passing", "reason": "some", "until": NOW.isoformat(), "retry_after": 90}
