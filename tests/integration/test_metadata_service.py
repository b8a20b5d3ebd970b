"""The metadata service with a real broker and a real yt-dlp child; the test stands in for jobs and answers claims."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from bus import Bus, BusSettings, Envelope, Event, Handlers
from services.common.credentials import offer
from services.common.domain.replies import ClaimAnswer, ClaimVerdict
from services.common.domain.videos import ChannelTab, Target, TargetKind
from services.common.events import (
    DownloadClaim,
    JobQueued,
    ListingCompleted,
    ListingFailed,
    ListingPageFetched,
    MetadataFetched,
    PlaylistFetched,
    ServiceStopped,
    SourceBlocked,
    SourceCleared,
)
from services.common.messaging import connect_bus
from services.common.models import ErrorCode, JobOptions, JobType
from services.common.settings.load import Config
from services.metadata.data_api.keys import OF_JOB
from services.metadata.data_api.quota import Day
from services.metadata.service import MetadataService
from tests.fixtures.fake_services import running_fake, running_service
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample
from ytarchive.emulator.situations import ALBUM

TIMEOUT = 60
EVENTS = (
    PlaylistFetched,
    ListingPageFetched,
    MetadataFetched,
    ListingCompleted,
    ListingFailed,
    SourceBlocked,
    SourceCleared,
    ServiceStopped,
)
GO = ClaimAnswer(verdict=ClaimVerdict.GO)

E = TypeVar("E", bound=Event)


class FakeJobs:
    """A stand-in for jobs that requests listings, answers claims and records the resulting events."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.trace_id = f"trace-{uuid4()}"
        self.claims: list[DownloadClaim] = []
        self.answer: Callable[[int], ClaimAnswer] = lambda _number: GO
        self.received: list[Envelope] = []
        self._arrived = asyncio.Condition()

    async def serve(self) -> None:
        table = Handlers("jobs")

        @table.answer(DownloadClaim)
        async def answer(claim: DownloadClaim, jobs: FakeJobs) -> ClaimAnswer:
            async with jobs._arrived:
                jobs.claims.append(claim)
                jobs._arrived.notify_all()
            return jobs.answer(len(jobs.claims))

        await self.bus.serve(table, self)

    async def record_events(self) -> None:
        async with self.bus.tail(*EVENTS) as envelopes:
            async for envelope in envelopes:
                async with self._arrived:
                    self.received.append(envelope)
                    self._arrived.notify_all()

    async def request_listing(
        self,
        kind: TargetKind,
        id: str = "",
        *ids: str,
        cursor: str | None = None,
        job_id: str = "job-1",
        listing: int = 1,
        attempts: int = 0,
        tab: ChannelTab | None = None,
        **options: bool,
    ) -> JobQueued:
        queued = JobQueued(
            job_id=job_id,
            type=JobType.PLAYLIST_DOWNLOAD,
            root="/archive",
            options=JobOptions(**options),
            target=Target(kind=kind, id=id, tab=tab, video_ids=ids),
            target_index=0,
            listing=listing,
            cursor=cursor,
            attempts=attempts,
        )
        self.asked = await self.bus.publish(queued, trace_id=self.trace_id)
        return queued

    async def wait_for(self, kind: type[E], count: int = 1) -> E:
        """Wait for `count` events of a kind and return the last of them."""
        async with asyncio.timeout(TIMEOUT), self._arrived:
            await self._arrived.wait_for(lambda: len(self.of(kind)) >= count)
            return self.of(kind)[count - 1]

    async def wait_for_claims(self, count: int) -> None:
        async with asyncio.timeout(TIMEOUT), self._arrived:
            await self._arrived.wait_for(lambda: len(self.claims) >= count)

    def of(self, kind: type[E]) -> list[E]:
        return [kind.read(envelope) for envelope in self.received if envelope.type == kind.subject]


@pytest.fixture
def config(config: Config, emulator: EmulatorClient) -> Config:
    youtube = {
        "proxy": emulator.proxy_url,
        "ca_file": Path(str(emulator.ca_file)),
        "api_endpoint": emulator.api_endpoint,
    }
    return config.model_copy(update={"youtube": config.youtube.model_copy(update=youtube)})


@pytest.fixture
async def jobs(broker: BusSettings) -> AsyncIterator[FakeJobs]:
    jobs = FakeJobs(await connect_bus(broker, source="jobs/test"))
    async with running_fake(jobs.bus, jobs):
        yield jobs


@asynccontextmanager
async def running_metadata(config: Config, broker: BusSettings) -> AsyncIterator[MetadataService]:
    service = MetadataService(config, broker)
    async with running_service(service):
        yield service


KEY = "a-key-of-the-tests"
Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


def with_key(config: Config, key: str = KEY, **youtube: int) -> Config:
    update = {"api_key": SecretStr(key), **youtube}
    return config.model_copy(update={"youtube": config.youtube.model_copy(update=update)})


@pytest.fixture
async def with_api(config: Config, broker: BusSettings) -> AsyncIterator[MetadataService]:
    async with running_metadata(with_key(config), broker) as service:
        yield service


def api_calls(emulator: EmulatorClient) -> list[str]:
    return [entry["path"].rpartition("/")[2] for entry in emulator.log(kind="data_api")]


def site_calls(emulator: EmulatorClient) -> list[dict[str, Any]]:
    return [entry for entry in emulator.log() if entry["kind"] != "data_api"]


@pytest.fixture
async def metadata(config: Config, broker: BusSettings) -> AsyncIterator[MetadataService]:
    async with running_metadata(config, broker) as service:
        yield service


async def test_a_playlist_is_listed_with_the_trace_id_of_its_job(metadata: MetadataService, jobs: FakeJobs) -> None:
    await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_250)
    completed = await jobs.wait_for(ListingCompleted)
    assert [envelope.type for envelope in jobs.received] == [
        "playlist.fetched",
        *["listing.page_fetched"] * 3,
        "listing.completed",
    ]
    assert {envelope.trace_id for envelope in jobs.received} == {jobs.trace_id}
    assert {envelope.caused_by for envelope in jobs.received} == {jobs.asked.id}
    assert {envelope.source for envelope in jobs.received} == {f"metadata/{metadata.instance}"}
    assert jobs.of(PlaylistFetched)[0].playlist.title == "A playlist of 250"
    pages = jobs.of(ListingPageFetched)
    assert completed.page_keys == tuple(page.page_key for page in pages)
    assert completed.total == sum(len(page.entries) for page in pages) == 250
    marked = [entry.position for page in pages for entry in page.entries if entry.marked]
    assert marked == sorted(sample.PLAYLIST_250_DELETED + sample.PLAYLIST_250_PRIVATE)


async def test_every_claim_names_its_listing_instance_and_egress(metadata: MetadataService, jobs: FakeJobs) -> None:
    await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_250)
    await jobs.wait_for(ListingCompleted)
    assert len(jobs.claims) == 3
    assert {(claim.job_id, claim.listing, claim.dispatch_id) for claim in jobs.claims} == {("job-1", 1, None)}
    assert {claim.instance for claim in jobs.claims} == {metadata.instance}
    assert all(claim.egress for claim in jobs.claims)


@pytest.mark.usefixtures("metadata")
async def test_given_videos_need_neither_claim_nor_request(jobs: FakeJobs, emulator: EmulatorClient) -> None:
    await jobs.request_listing(TargetKind.VIDEOS, "", sample.VIDEO_OK, sample.VIDEO_LEADING_DASH)
    completed = await jobs.wait_for(ListingCompleted)
    (page,) = jobs.of(ListingPageFetched)
    assert [entry.video_id for entry in page.entries] == [sample.VIDEO_OK, sample.VIDEO_LEADING_DASH]
    assert completed.page_keys == (page.page_key,)
    assert jobs.claims == []
    assert emulator.log() == []


@pytest.mark.usefixtures("metadata")
async def test_a_channel_is_recorded_as_its_uploads(jobs: FakeJobs) -> None:
    await jobs.request_listing(TargetKind.CHANNEL, sample.CHANNEL_HANDLE)
    completed = await jobs.wait_for(ListingCompleted)
    assert (completed.playlist_id, completed.total) == (sample.UPLOADS_PLAYLIST, sample.CHANNEL_UPLOADS)
    assert {page.playlist_id for page in jobs.of(ListingPageFetched)} == {sample.UPLOADS_PLAYLIST}
    playlist = jobs.of(PlaylistFetched)[0].playlist
    assert (playlist.title, playlist.channel_handle) == ("Loopback Lectures", sample.CHANNEL_HANDLE)


@pytest.mark.usefixtures("metadata")
async def test_a_missing_playlist_fails_permanently(jobs: FakeJobs) -> None:
    await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_MISSING)
    failed = await jobs.wait_for(ListingFailed)
    assert failed.final
    assert "does not exist" in failed.error.message
    assert sample.PLAYLIST_MISSING in failed.error.message


@pytest.mark.usefixtures("metadata")
async def test_a_list_that_is_cut_short_is_listed_again_and_completed_at_the_third_attempt(
    jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    """The first page has no way to the next one, though the list announces more entries."""
    playlist = "PLcutshort0000000000000000000000"
    entries = emulator.put_playlist(playlist, count=130, channel=sample.CHANNEL)["entries"]
    emulator.put_playlist(playlist, title="Cut", channel=sample.CHANNEL, entries=entries, cut_after=100)
    await jobs.request_listing(TargetKind.PLAYLIST, playlist)
    failed = await jobs.wait_for(ListingFailed)
    assert "YouTube listed 100 of the 130 entries" in failed.error.message
    assert (failed.spent, failed.final, failed.retry_after) == (True, False, None)

    await jobs.request_listing(TargetKind.PLAYLIST, playlist, listing=2, attempts=2, cursor=failed.cursor)
    short = await jobs.wait_for(ListingCompleted)
    assert (short.total, short.announced, short.cut_short) == (100, 130, True)

    emulator.put_playlist(playlist, title="Whole again", channel=sample.CHANNEL, entries=entries)
    await jobs.request_listing(TargetKind.PLAYLIST, playlist, listing=3, attempts=1, cursor=failed.cursor)
    whole = await jobs.wait_for(ListingCompleted, 2)
    assert (whole.total, whole.announced, whole.cut_short) == (130, 130, False)


@pytest.mark.usefixtures("metadata")
async def test_a_list_that_announces_more_than_it_shows_is_complete(jobs: FakeJobs, emulator: EmulatorClient) -> None:
    """YouTube counts entries that it does not list. Listing it again would not show more."""
    playlist = "PLhidden000000000000000000000000"
    entries = emulator.put_playlist(playlist, count=3, channel=sample.CHANNEL)["entries"]
    emulator.put_playlist(playlist, title="Hidden", channel=sample.CHANNEL, entries=entries, announced=5)
    await jobs.request_listing(TargetKind.PLAYLIST, playlist)
    done = await jobs.wait_for(ListingCompleted)
    assert (done.total, done.announced, done.cut_short) == (3, 5, False)


@pytest.mark.usefixtures("metadata")
async def test_a_page_of_a_channel_lists_the_uploads_on_it(jobs: FakeJobs, emulator: EmulatorClient) -> None:
    emulator.change_video("upload-0007", tab="shorts")
    await jobs.request_listing(TargetKind.CHANNEL, sample.CHANNEL_HANDLE, tab=ChannelTab.SHORTS)
    page = await jobs.wait_for(ListingPageFetched)
    assert [entry.video_id for entry in page.entries] == ["upload-0007"]
    assert page.playlist_id == f"UUSH{sample.CHANNEL[2:]}"


@pytest.mark.usefixtures("metadata")
async def test_a_page_is_published_before_the_next_one_is_read(jobs: FakeJobs, emulator: EmulatorClient) -> None:
    emulator.add_fault("browse", "delay", seconds=0, times=1)
    held = emulator.add_fault("browse", "delay", seconds=3600, times=1)
    await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_250)
    page = await jobs.wait_for(ListingPageFetched)
    assert len(page.entries) == 100
    assert jobs.of(ListingCompleted) == []
    emulator.remove_fault(held)


async def test_a_stopped_listing_is_released_at_once_and_resumes_from_its_cursor(
    jobs: FakeJobs, emulator: EmulatorClient, config: Config, broker: BusSettings
) -> None:
    emulator.add_fault("browse", "delay", seconds=0, times=1)
    emulator.add_fault("browse", "delay", seconds=3600, times=1)
    async with running_metadata(config, broker):
        await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_250)
        await jobs.wait_for(ListingPageFetched)
        assert await asyncio.to_thread(emulator.wait_for, kind="browse", count=2)
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 5  # YouTube's answer was not awaited
    emulator.clear_faults()
    failed = await jobs.wait_for(ListingFailed)
    assert (failed.cursor, failed.spent, failed.final) == (f"yt_dlp/{sample.PLAYLIST_250}/100", False, False)
    async with running_metadata(config, broker):
        await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_250, cursor=failed.cursor)
        completed = await jobs.wait_for(ListingCompleted)
    positions = [entry.position for page in jobs.of(ListingPageFetched) for entry in page.entries]
    assert positions == list(range(250))
    assert completed.total == 250
    assert len(jobs.of(PlaylistFetched)) == 1


async def test_a_stale_listing_stops_before_its_next_page(jobs: FakeJobs, config: Config, broker: BusSettings) -> None:
    jobs.answer = lambda number: GO if number == 1 else ClaimAnswer(verdict=ClaimVerdict.STALE)
    async with running_metadata(config, broker):
        await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_250)
        await jobs.wait_for_claims(2)
    await jobs.wait_for(ServiceStopped)  # the last event: nothing follows
    assert [envelope.type for envelope in jobs.received] == [
        "playlist.fetched",
        "listing.page_fetched",
        "service.stopped",
    ]


@pytest.mark.usefixtures("metadata")
async def test_a_listing_on_a_blocked_egress_is_deferred_and_sends_no_request(
    jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    jobs.answer = lambda _number: ClaimAnswer(verdict=ClaimVerdict.WAIT, until=until)
    await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_3)
    failed = await jobs.wait_for(ListingFailed)
    assert (failed.retry_after, failed.spent, failed.final) == (until, False, False)
    assert emulator.log() == []


@pytest.mark.usefixtures("metadata")
async def test_a_429_of_the_site_blocks_the_egress_until_a_probe_succeeds(
    jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    emulator.add_fault("*", "status", status=429)
    await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_3)
    blocked, failed = await jobs.wait_for(SourceBlocked), await jobs.wait_for(ListingFailed)
    assert blocked.egress == jobs.claims[0].egress
    assert (failed.retry_after, failed.spent) == (blocked.until, False)
    emulator.clear_faults()
    jobs.answer = lambda _number: ClaimAnswer(verdict=ClaimVerdict.PROBE)
    await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_3)
    await jobs.wait_for(ListingCompleted)
    assert [cleared.egress for cleared in jobs.of(SourceCleared)] == [blocked.egress]


@pytest.mark.usefixtures("metadata")
async def test_a_listing_waits_until_its_claim_is_answered(
    broker: BusSettings, emulator: EmulatorClient, jobs: FakeJobs
) -> None:
    await jobs.bus.stop_serving(1)  # jobs does not answer
    await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_3)
    await jobs.request_listing(TargetKind.VIDEOS, "", sample.VIDEO_OK)
    await jobs.wait_for(ListingCompleted)  # given videos need no claim
    assert emulator.log() == []
    again = await connect_bus(broker, source="jobs/again")
    back = FakeJobs(again)
    await back.serve()
    await jobs.wait_for(ListingCompleted, 2)
    assert len(back.claims) == 1
    await again.stop_serving(1)
    await again.close()


async def test_two_listings_run_concurrently(
    metadata: MetadataService, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    held = emulator.add_fault("playlist_page", "delay", seconds=3600, times=1)
    await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_250)
    assert await asyncio.to_thread(emulator.wait_for, kind="playlist_page")
    await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_3)
    completed = await jobs.wait_for(ListingCompleted)
    assert completed.playlist_id == sample.PLAYLIST_3
    emulator.remove_fault(held)
    await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_20)
    await jobs.wait_for(ListingCompleted, 2)
    assert metadata.critical_errors() == []


# --- with an API key --------------------------------------------------------------------------------------------------


async def test_with_a_key_the_data_api_lists_the_entries_and_their_metadata(
    with_api: MetadataService, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_250)
    completed = await jobs.wait_for(ListingCompleted)
    pages = jobs.of(ListingPageFetched)
    assert [len(page.entries) for page in pages] == [50] * 5
    assert completed.page_keys == tuple(page.page_key for page in pages)
    assert {key.split("/")[1] for key in completed.page_keys} == {"data_api"}
    assert completed.source_name == "data_api"
    assert (completed.total, completed.title) == (250, "A playlist of 250")
    entries = [entry for page in pages for entry in page.entries]
    assert [entry.position for entry in entries] == list(range(250))
    gone = sample.PLAYLIST_250_DELETED + sample.PLAYLIST_250_PRIVATE
    assert {entry.position: entry.marked for entry in entries if entry.marked} == {
        **dict.fromkeys(sample.PLAYLIST_250_DELETED, "deleted"),
        **dict.fromkeys(sample.PLAYLIST_250_PRIVATE, "private"),
    }
    described = jobs.of(MetadataFetched)
    assert [fact.video_id for fact in described] == [entry.video_id for entry in entries if entry.described]
    assert len(described) == 250 - len(gone)
    assert {fact.source_name for fact in described} == {"data_api"}
    assert described[0].metadata.title == entries[0].title
    assert [envelope.type for envelope in jobs.received][:3] == [
        "playlist.fetched",
        "listing.page_fetched",
        "metadata.fetched",
    ]
    assert api_calls(emulator) == ["playlists", *["playlistItems", "videos"] * 5]
    assert site_calls(emulator) == []
    assert (await with_api.parts.quota.today(KEY)).used == 11
    assert len(jobs.claims) == 5
    assert {claim.egress.endswith("/data_api") for claim in jobs.claims} == {True}


@pytest.mark.usefixtures("with_api")
async def test_with_a_key_metadata_of_given_videos_are_read_50_per_call(
    jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    playlist = emulator.state()["playlists"][sample.PLAYLIST_250]["entries"][:59]
    ids = [*playlist, "nobodyknows"]
    await jobs.request_listing(TargetKind.VIDEOS, "", *ids)
    completed = await jobs.wait_for(ListingCompleted)
    entries = [entry for page in jobs.of(ListingPageFetched) for entry in page.entries]
    assert [entry.video_id for entry in entries] == ids
    assert [entry.position for entry in entries] == list(range(60))
    assert entries[0].title
    # unknown, but not marked
    assert (entries[-1].title, entries[-1].marked, entries[-1].described) == (None, None, False)
    assert {fact.video_id for fact in jobs.of(MetadataFetched)} == {e.video_id for e in entries if e.described}
    assert (completed.total, completed.playlist_id) == (60, None)
    assert api_calls(emulator) == ["videos", "videos"]


@pytest.mark.usefixtures("with_api")
@pytest.mark.parametrize("channel", [sample.CHANNEL_HANDLE, sample.CHANNEL])
async def test_with_a_key_a_channel_is_looked_up_and_its_uploads_listed(
    jobs: FakeJobs, emulator: EmulatorClient, channel: str
) -> None:
    await jobs.request_listing(TargetKind.CHANNEL, channel)
    completed = await jobs.wait_for(ListingCompleted)
    assert (completed.playlist_id, completed.total) == (sample.UPLOADS_PLAYLIST, sample.CHANNEL_UPLOADS)
    playlist = jobs.of(PlaylistFetched)[0].playlist
    assert (playlist.title, playlist.channel_id) == ("Loopback Lectures", sample.CHANNEL)
    assert api_calls(emulator)[0] == "channels"
    assert site_calls(emulator) == []


@pytest.mark.usefixtures("with_api")
async def test_a_job_without_metadata_does_not_call_the_data_api(jobs: FakeJobs, emulator: EmulatorClient) -> None:
    await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_3, include_metadata=False)
    await jobs.wait_for(ListingCompleted)
    assert jobs.of(MetadataFetched) == []
    assert api_calls(emulator) == []


@pytest.mark.usefixtures("with_api")
@pytest.mark.parametrize("target", [sample.PLAYLIST_MISSING, "@nobody-of-that-name"])
async def test_targets_unknown_to_the_data_api_are_left_to_the_keyless_source(
    jobs: FakeJobs, emulator: EmulatorClient, target: str
) -> None:
    kind = TargetKind.CHANNEL if target.startswith("@") else TargetKind.PLAYLIST
    await jobs.request_listing(kind, target)
    failed = await jobs.wait_for(ListingFailed)
    assert failed.final
    assert jobs.of(PlaylistFetched) == []
    assert api_calls(emulator)
    assert site_calls(emulator)  # the site decided


async def test_an_invalid_key_fails_the_listing_and_the_error_names_its_origin(
    jobs: FakeJobs, emulator: EmulatorClient, config: Config, broker: BusSettings
) -> None:
    async with running_metadata(with_key(config, "an-invalid-key"), broker):
        await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_3)
        failed = await jobs.wait_for(ListingFailed)
    assert (failed.final, failed.error.code) == (True, ErrorCode.INVALID_CREDENTIALS)
    assert "API key not valid" in failed.error.message
    assert "the configuration" in failed.error.message
    assert "an-invalid-key" not in failed.model_dump_json()
    assert len(api_calls(emulator)) == 1
    assert site_calls(emulator) == []


async def test_the_key_of_a_job_reaches_every_metadata_worker_and_takes_precedence(
    jobs: FakeJobs, config: Config, broker: BusSettings, eventually: Eventually
) -> None:
    async with running_metadata(with_key(config), broker) as one, running_metadata(with_key(config), broker) as other:
        assert await offer(jobs.bus, "job-1", "the-invalid-key-of-job-1", jobs.trace_id)

        async def both() -> bool:
            found = [service.parts.keys.of("job-1") for service in (one, other)]
            return all(key is not None and key.origin == OF_JOB for key in found)

        await eventually(both)
        await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_3)
        failed = await jobs.wait_for(ListingFailed)
        assert OF_JOB in failed.error.message
        await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_3, job_id="job-2")
        await jobs.wait_for(ListingCompleted)


async def test_offering_a_key_fails_without_a_metadata_worker(jobs: FakeJobs) -> None:
    assert not await offer(jobs.bus, "job-1", KEY, jobs.trace_id)


async def test_a_quota_used_up_midway_makes_the_keyless_source_list_everything(
    with_api: MetadataService, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    emulator.set_quota_left(4)  # enough for the playlist, a page with its videos, and a second page
    with capture_logs() as logs:
        await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_250)
        completed = await jobs.wait_for(ListingCompleted)
    (told,) = [record for record in logs if record["event"] == "listing_source_gives_up"]
    assert (told["log_level"], told["error_code"]) == ("warning", "E001")
    assert {key.split("/")[1] for key in completed.page_keys} == {"yt_dlp"}
    assert completed.total == 250
    assert len(jobs.of(PlaylistFetched)) == 1
    assert jobs.of(ListingFailed) == []
    assert (await with_api.parts.quota.today(KEY)).exhausted
    emulator.set_quota_left(None)
    emulator.clear_log()
    await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_3)
    await jobs.wait_for(ListingCompleted, 2)
    assert api_calls(emulator) == []  # not before the reset


async def test_listings_do_not_use_the_quota_reserve(
    jobs: FakeJobs, emulator: EmulatorClient, config: Config, broker: BusSettings
) -> None:
    async with running_metadata(with_key(config, quota_limit=13, quota_reserve=10), broker) as service:
        await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_3)
        await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_3)
        await jobs.wait_for(ListingCompleted, 2)
        assert len(api_calls(emulator)) == 3
        assert await service.parts.quota.today(KEY) == Day(used=3)


async def test_a_transient_error_of_the_data_api_is_retried(
    with_api: MetadataService, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    emulator.add_fault("data_api", "status", status=503, times=1)
    await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_3)
    completed = await jobs.wait_for(ListingCompleted)
    assert completed.page_keys[0].split("/")[1] == "data_api"
    assert with_api.critical_errors() == []


async def test_a_stop_does_not_wait_for_the_data_api_and_keeps_the_page_token(
    jobs: FakeJobs, emulator: EmulatorClient, config: Config, broker: BusSettings
) -> None:
    emulator.add_fault("data_api", "delay", seconds=0, times=3)
    emulator.add_fault("data_api", "delay", seconds=3600, times=1)
    async with running_metadata(with_key(config), broker):
        await jobs.request_listing(TargetKind.PLAYLIST, sample.PLAYLIST_250)
        assert await asyncio.to_thread(emulator.wait_for, kind="data_api", count=4)
        began = asyncio.get_running_loop().time()
    await asyncio.get_running_loop().shutdown_default_executor()  # the thread of the call has ended, too
    assert asyncio.get_running_loop().time() - began < 15  # less than the read timeout of 30 s
    emulator.clear_faults()
    assert len(api_calls(emulator)) == 4  # the call was not retried
    failed = await jobs.wait_for(ListingFailed)
    assert (failed.cursor, failed.spent) == (f"data_api/{sample.PLAYLIST_250}/50@PT50", False)


@pytest.mark.usefixtures("with_api")
@pytest.mark.parametrize(("token", "first"), [("PT200", 200), ("void", 0)])
async def test_a_data_api_cursor_resumes_the_listing_or_restarts_it_if_invalid(
    jobs: FakeJobs, token: str, first: int
) -> None:
    await jobs.request_listing(
        TargetKind.PLAYLIST, sample.PLAYLIST_250, cursor=f"data_api/{sample.PLAYLIST_250}/200@{token}"
    )
    completed = await jobs.wait_for(ListingCompleted)
    positions = [entry.position for page in jobs.of(ListingPageFetched) for entry in page.entries]
    assert positions == list(range(first, 250))
    assert (completed.total, jobs.of(PlaylistFetched)) == (250, [])
    assert {key.split("/")[1] for key in completed.page_keys} == {"data_api"}
    assert completed.source_name == "data_api"


@pytest.mark.parametrize(("list_id", "answer"), [(ALBUM, ListingCompleted), ("WL", ListingFailed)])
@pytest.mark.usefixtures("with_api")
async def test_an_album_and_a_list_of_an_account_are_not_asked_of_the_data_api(
    jobs: FakeJobs, emulator: EmulatorClient, list_id: str, answer: type[Event]
) -> None:
    emulator.begin("album")
    await jobs.request_listing(TargetKind.PLAYLIST, list_id)
    ended = await jobs.wait_for(answer)
    assert api_calls(emulator) == []
    if isinstance(ended, ListingFailed):
        assert ended.final, "another attempt without cookies would fail as well"
        assert (ended.error.code, ended.retry_after) == (ErrorCode.INVALID_CREDENTIALS, None)
        assert "[youtube] cookies_file" in ended.error.message
