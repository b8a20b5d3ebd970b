"""The metadata service on a real broker with a real child; the test plays jobs and answers its claims."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import pytest

from bus import Bus, BusSettings, Envelope, Event, Handlers
from services.common.config import Config
from services.common.events import (
    DownloadClaim,
    JobQueued,
    ListingCompleted,
    ListingFailed,
    ListingPageFetched,
    PlaylistFetched,
    ServiceStopped,
    SourceBlocked,
    SourceCleared,
)
from services.common.models import ClaimAnswer, ClaimVerdict, JobOptions, JobType, Target, TargetKind
from services.metadata.service import MetadataService
from ytarchive.emulator import EmulatorClient, sample

TIMEOUT = 30
FACTS = (
    PlaylistFetched,
    ListingPageFetched,
    ListingCompleted,
    ListingFailed,
    SourceBlocked,
    SourceCleared,
    ServiceStopped,
)
GO = ClaimAnswer(verdict=ClaimVerdict.GO)

E = TypeVar("E", bound=Event)


class Desk:
    """Jobs, as far as a listing sees it: it asks for listings, answers claims and hears what comes of them."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.trace_id = f"trace-{uuid4()}"
        self.claims: list[DownloadClaim] = []
        self.answer: Callable[[int], ClaimAnswer] = lambda _number: GO
        self.heard: list[Envelope] = []
        self._news = asyncio.Condition()

    async def serve(self) -> None:
        table = Handlers("jobs")

        @table.answer(DownloadClaim)
        async def answer(claim: DownloadClaim, desk: Desk) -> ClaimAnswer:
            async with desk._news:
                desk.claims.append(claim)
                desk._news.notify_all()
            return desk.answer(len(desk.claims))

        await self.bus.serve(table, self)

    async def hear(self) -> None:
        async with self.bus.tail(*FACTS) as envelopes:
            async for envelope in envelopes:
                async with self._news:
                    self.heard.append(envelope)
                    self._news.notify_all()

    async def ask(self, kind: TargetKind, id: str = "", *ids: str, cursor: str | None = None) -> JobQueued:
        queued = JobQueued(
            job_id="job-1",
            type=JobType.PLAYLIST_DOWNLOAD,
            root="/archive",
            options=JobOptions(),
            target=Target(kind=kind, id=id, video_ids=ids),
            target_index=0,
            listing=1,
            cursor=cursor,
        )
        self.asked = await self.bus.publish(queued, trace_id=self.trace_id)
        return queued

    async def wait_for(self, kind: type[E], count: int = 1) -> E:
        """The last of the first `count` events of a kind."""
        async with asyncio.timeout(TIMEOUT), self._news:
            await self._news.wait_for(lambda: len(self.of(kind)) >= count)
            return self.of(kind)[count - 1]

    async def wait_for_claims(self, count: int) -> None:
        async with asyncio.timeout(TIMEOUT), self._news:
            await self._news.wait_for(lambda: len(self.claims) >= count)

    def of(self, kind: type[E]) -> list[E]:
        return [kind.read(envelope) for envelope in self.heard if envelope.type == kind.subject]


@pytest.fixture
def config(config: Config, emulator: EmulatorClient) -> Config:
    way_out = {"proxy": emulator.proxy_url, "ca_file": Path(str(emulator.ca_file))}
    return config.model_copy(update={"youtube": config.youtube.model_copy(update=way_out)})


@pytest.fixture
async def desk(broker: BusSettings) -> AsyncIterator[Desk]:
    bus = await Bus.connect(broker, source="jobs/test")
    desk = Desk(bus)
    listening = asyncio.create_task(desk.hear())
    await desk.serve()
    yield desk
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await bus.stop_serving(1)
    await bus.close()


@asynccontextmanager
async def serving(config: Config, broker: BusSettings) -> AsyncIterator[MetadataService]:
    service = MetadataService(config, broker)
    await service.startup()
    try:
        yield service
    finally:
        async with asyncio.timeout(TIMEOUT):
            await service.shutdown(5)


@pytest.fixture
async def metadata(config: Config, broker: BusSettings) -> AsyncIterator[MetadataService]:
    async with serving(config, broker) as service:
        yield service


async def test_a_playlist_is_listed_under_the_trace_of_its_job(metadata: MetadataService, desk: Desk) -> None:
    await desk.ask(TargetKind.PLAYLIST, sample.PLAYLIST_250)
    completed = await desk.wait_for(ListingCompleted)
    assert [envelope.type for envelope in desk.heard] == [
        "playlist.fetched",
        *["listing.page_fetched"] * 3,
        "listing.completed",
    ]
    assert {envelope.trace_id for envelope in desk.heard} == {desk.trace_id}
    assert {envelope.caused_by for envelope in desk.heard} == {desk.asked.id}
    assert {envelope.source for envelope in desk.heard} == {f"metadata/{metadata.instance}"}
    assert desk.of(PlaylistFetched)[0].playlist.title == "A playlist of 250"
    pages = desk.of(ListingPageFetched)
    assert completed.page_keys == tuple(page.page_key for page in pages)
    assert completed.total == sum(len(page.entries) for page in pages) == 250
    marked = [entry.position for page in pages for entry in page.entries if entry.marked]
    assert marked == sorted(sample.PLAYLIST_250_DELETED + sample.PLAYLIST_250_PRIVATE)


async def test_every_claim_names_the_listing_and_who_asks(metadata: MetadataService, desk: Desk) -> None:
    await desk.ask(TargetKind.PLAYLIST, sample.PLAYLIST_250)
    await desk.wait_for(ListingCompleted)
    assert len(desk.claims) == 3
    assert {(claim.job_id, claim.listing, claim.dispatch_id) for claim in desk.claims} == {("job-1", 1, None)}
    assert {claim.instance for claim in desk.claims} == {metadata.instance}
    assert all(claim.egress for claim in desk.claims)


@pytest.mark.usefixtures("metadata")
async def test_given_videos_need_neither_claim_nor_request(desk: Desk, emulator: EmulatorClient) -> None:
    await desk.ask(TargetKind.VIDEOS, "", sample.VIDEO_OK, sample.VIDEO_LEADING_DASH)
    completed = await desk.wait_for(ListingCompleted)
    (page,) = desk.of(ListingPageFetched)
    assert [entry.video_id for entry in page.entries] == [sample.VIDEO_OK, sample.VIDEO_LEADING_DASH]
    assert completed.page_keys == (page.page_key,)
    assert desk.claims == []
    assert emulator.log() == []


@pytest.mark.usefixtures("metadata")
async def test_a_channel_is_recorded_as_its_uploads(desk: Desk) -> None:
    await desk.ask(TargetKind.CHANNEL, sample.CHANNEL_HANDLE)
    completed = await desk.wait_for(ListingCompleted)
    assert (completed.playlist_id, completed.total) == (sample.UPLOADS_PLAYLIST, sample.CHANNEL_UPLOADS)
    assert {page.playlist_id for page in desk.of(ListingPageFetched)} == {sample.UPLOADS_PLAYLIST}
    playlist = desk.of(PlaylistFetched)[0].playlist
    assert (playlist.title, playlist.channel_handle) == ("Loopback Lectures", sample.CHANNEL_HANDLE)


@pytest.mark.usefixtures("metadata")
async def test_a_missing_playlist_fails_for_good(desk: Desk) -> None:
    await desk.ask(TargetKind.PLAYLIST, sample.PLAYLIST_MISSING)
    failed = await desk.wait_for(ListingFailed)
    assert failed.final
    assert "does not exist" in failed.error.message
    assert sample.PLAYLIST_MISSING in failed.error.message


@pytest.mark.usefixtures("metadata")
async def test_a_page_is_out_before_the_next_one_is_there(desk: Desk, emulator: EmulatorClient) -> None:
    emulator.add_fault("browse", "delay", seconds=0, times=1)
    held = emulator.add_fault("browse", "delay", seconds=3600, times=1)
    await desk.ask(TargetKind.PLAYLIST, sample.PLAYLIST_250)
    page = await desk.wait_for(ListingPageFetched)
    assert len(page.entries) == 100
    assert desk.of(ListingCompleted) == []
    emulator.remove_fault(held)


async def test_a_service_that_stops_gives_back_at_once_and_the_next_goes_on(
    desk: Desk, emulator: EmulatorClient, config: Config, broker: BusSettings
) -> None:
    emulator.add_fault("browse", "delay", seconds=0, times=1)
    emulator.add_fault("browse", "delay", seconds=3600, times=1)
    async with serving(config, broker):
        await desk.ask(TargetKind.PLAYLIST, sample.PLAYLIST_250)
        await desk.wait_for(ListingPageFetched)
        assert await asyncio.to_thread(emulator.wait_for, kind="browse", count=2)
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 5  # nobody waited for the answer of YouTube
    emulator.clear_faults()
    failed = await desk.wait_for(ListingFailed)
    assert (failed.cursor, failed.spent, failed.final) == (f"yt_dlp/{sample.PLAYLIST_250}/100", False, False)
    async with serving(config, broker):
        await desk.ask(TargetKind.PLAYLIST, sample.PLAYLIST_250, cursor=failed.cursor)
        completed = await desk.wait_for(ListingCompleted)
    positions = [entry.position for page in desk.of(ListingPageFetched) for entry in page.entries]
    assert positions == list(range(250))
    assert completed.total == 250
    assert len(desk.of(PlaylistFetched)) == 1


async def test_a_listing_that_is_cancelled_stops_before_its_next_page(
    desk: Desk, config: Config, broker: BusSettings
) -> None:
    desk.answer = lambda number: GO if number == 1 else ClaimAnswer(verdict=ClaimVerdict.STALE)
    async with serving(config, broker):
        await desk.ask(TargetKind.PLAYLIST, sample.PLAYLIST_250)
        await desk.wait_for_claims(2)
    await desk.wait_for(ServiceStopped)  # so nothing comes after it
    assert [envelope.type for envelope in desk.heard] == [
        "playlist.fetched",
        "listing.page_fetched",
        "service.stopped",
    ]


@pytest.mark.usefixtures("metadata")
async def test_a_blocked_egress_is_not_asked(desk: Desk, emulator: EmulatorClient) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    desk.answer = lambda _number: ClaimAnswer(verdict=ClaimVerdict.WAIT, until=until)
    await desk.ask(TargetKind.PLAYLIST, sample.PLAYLIST_3)
    failed = await desk.wait_for(ListingFailed)
    assert (failed.retry_after, failed.spent, failed.final) == (until, False, False)
    assert emulator.log() == []


@pytest.mark.usefixtures("metadata")
async def test_a_refusal_of_the_site_blocks_the_egress_and_a_probe_clears_it(
    desk: Desk, emulator: EmulatorClient
) -> None:
    emulator.add_fault("*", "status", status=429)
    await desk.ask(TargetKind.PLAYLIST, sample.PLAYLIST_3)
    blocked, failed = await desk.wait_for(SourceBlocked), await desk.wait_for(ListingFailed)
    assert blocked.egress == desk.claims[0].egress
    assert (failed.retry_after, failed.spent) == (blocked.until, False)
    emulator.clear_faults()
    desk.answer = lambda _number: ClaimAnswer(verdict=ClaimVerdict.PROBE)
    await desk.ask(TargetKind.PLAYLIST, sample.PLAYLIST_3)
    await desk.wait_for(ListingCompleted)
    assert [cleared.egress for cleared in desk.of(SourceCleared)] == [blocked.egress]


@pytest.mark.usefixtures("metadata")
async def test_without_an_answer_to_its_claim_a_listing_waits(
    broker: BusSettings, emulator: EmulatorClient, desk: Desk
) -> None:
    await desk.bus.stop_serving(1)  # jobs is away
    await desk.ask(TargetKind.PLAYLIST, sample.PLAYLIST_3)
    await desk.ask(TargetKind.VIDEOS, "", sample.VIDEO_OK)
    await desk.wait_for(ListingCompleted)  # given videos need nobody's leave
    assert emulator.log() == []
    again = await Bus.connect(broker, source="jobs/again")
    back = Desk(again)
    await back.serve()
    await desk.wait_for(ListingCompleted, 2)
    assert len(back.claims) == 1
    await again.stop_serving(1)
    await again.close()


async def test_two_listings_run_at_once_and_children_are_kept(
    metadata: MetadataService, desk: Desk, emulator: EmulatorClient
) -> None:
    held = emulator.add_fault("playlist_page", "delay", seconds=3600, times=1)
    await desk.ask(TargetKind.PLAYLIST, sample.PLAYLIST_250)
    assert await asyncio.to_thread(emulator.wait_for, kind="playlist_page")
    await desk.ask(TargetKind.PLAYLIST, sample.PLAYLIST_3)
    completed = await desk.wait_for(ListingCompleted)
    assert completed.playlist_id == sample.PLAYLIST_3
    emulator.remove_fault(held)
    await desk.ask(TargetKind.PLAYLIST, sample.PLAYLIST_20)
    await desk.wait_for(ListingCompleted, 2)
    assert metadata.critical_errors() == []
