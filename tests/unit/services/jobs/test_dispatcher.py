"""The dispatcher, with a real jobs.db."""

import asyncio
import os
import platform
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bus.message import Event
from services.common import events as e
from services.common.domain.archive import Held, Provenance
from services.common.domain.failures import Failure, FailureKind, Suspicion
from services.common.domain.jobs import ItemStatus
from services.common.domain.registry import ServiceInfo
from services.common.domain.replies import ClaimAnswer, ClaimVerdict
from services.common.domain.videos import Entry, Target, TargetKind, VideoMetadata
from services.common.models import ErrorCode, ErrorDetail, JobOptions, JobType
from services.jobs.adapters.commits import Commit, CommitNotifier
from services.jobs.adapters.registry import Registry
from services.jobs.adapters.store import Store
from services.jobs.adapters.unit_of_work import SqlRows
from services.jobs.dispatcher import Dispatcher
from services.jobs.domain import state_machine
from services.jobs.domain.accounting import Out
from services.jobs.domain.rhythm import Pace
from services.jobs.domain.scheduler import Block
from services.jobs.domain.state_machine import Accepted
from tests.fixtures.jobs_world import request_ids

LIST = "PLdispatcher"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "jobs.db", "jobs/test")
    yield store
    store.close()


class Rounds:
    """Count the rounds of a dispatcher."""

    def __init__(self) -> None:
        self.count = 0

    def committed(self, _commit: Commit) -> None:
        self.count += 1


async def test_a_paused_job_with_a_due_listing_does_not_keep_the_dispatcher_busy(store: Store, tmp_path: Path) -> None:
    def create_paused_job_that_waits_for_quota(rows: SqlRows, _sql: sqlite3.Connection, now: datetime) -> list[Out]:
        ordered = e.JobCreated(job_id="j", targets=(LIST,), type=JobType.PLAYLIST_DOWNLOAD)
        accepted = Accepted((Target(kind=TargetKind.PLAYLIST, id=LIST),), "/archive", "")
        state_machine.create(rows, ordered, "t", accepted, now)
        refused = e.ListingFailed(
            job_id="j",
            root="/archive",
            target_index=0,
            listing=1,
            error=ErrorDetail(code=ErrorCode.API_QUOTA_EXCEEDED, message="quota"),
            retry_after=now - timedelta(seconds=1),
            spent=False,
        )
        state_machine.step(rows, refused, now)
        return state_machine.step(rows, e.JobPauseRequested(job_id="j"), now)

    await store.change(create_paused_job_that_waits_for_quota)
    rounds = Rounds()
    dispatcher = Dispatcher(store, Registry(tmp_path / "services.json"), (), CommitNotifier(rounds))
    running = asyncio.create_task(dispatcher.run())
    await asyncio.sleep(1.0)  # rounds that must not happen can only be counted over time
    running.cancel()
    assert 0 < rounds.count < 4


async def test_after_the_clock_is_set_back_nothing_waits_for_the_times_that_were_stored_before(
    store: Store, tmp_path: Path
) -> None:
    world = DispatcherWithoutStorage(store, tmp_path)
    right = world.now
    world.now = ahead = right + timedelta(days=3650)

    def create_job(rows: SqlRows, _sql: sqlite3.Connection, _now: datetime) -> list[Out]:
        job = e.JobCreated(job_id="j", targets=(LIST,), type=JobType.PLAYLIST_DOWNLOAD)
        accepted = Accepted((Target(kind=TargetKind.PLAYLIST, id=LIST),), "/archive", "")
        return state_machine.create(rows, job, "t", accepted, ahead)

    await store.change(create_job)
    waits, asked = "waits000000", "asked000000"
    await world.step(page(1, waits, asked))
    requested = {
        event.video_id: event for event in await world.decide(slots=2) if isinstance(event, e.DownloadRequested)
    }
    failure = Failure(kind=FailureKind.PASSING, code=ErrorCode.NETWORK_TIMEOUT, reason="network", message="")
    await world.step(e.DownloadFailed(**request_ids(requested[waits]), failure=failure))
    world.now = right
    due = await world.decide(slots=2)
    assert [event.video_id for event in due if isinstance(event, e.DownloadRequested)] == [waits]
    unanswered = await world.decide(slots=2)  # a minute later
    assert {event.video_id for event in unanswered if isinstance(event, e.DownloadRequested)} == {waits, asked}
    assert any(isinstance(event, e.JobQueued) for event in unanswered)


KEPT, LOST = "kept0000000", "lost0000000"
ABOUT = {"job_id": "j", "root": "/archive", "target_index": 0}


class DispatcherWithoutStorage:
    """A dispatcher with a decision every minute; storage is registered but never answers."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.registry = Registry(folder / "services.json")
        self.held: str | None = None
        self.dispatcher = Dispatcher(store, self.registry, (), CommitNotifier(), lambda: self.held)
        self.now = datetime.now(UTC)

    async def step(self, *facts: Event) -> list[Event]:
        outs: list[Out] = []

        def apply(rows: SqlRows, _sql: sqlite3.Connection, _now: datetime) -> list[Out]:
            for fact in facts:
                outs.extend(state_machine.step(rows, fact, self.now))
            return []

        await self.store.change(apply)
        return [event for event, _trace in outs]

    async def decide(self, slots: int = 0) -> list[Event]:
        outs: list[Out] = []

        def apply(rows: SqlRows, sql: sqlite3.Connection, _now: datetime) -> list[Out]:
            outs.extend(self.dispatcher._decide(rows, sql, self.now))
            return []

        self.now += timedelta(seconds=61)
        for name in ("storage", "metadata", "download"):
            info = ServiceInfo(
                name=name, instance=name, url="http://x", version="1", pid=os.getpid(), host=platform.node(),
                started_at=self.now, slots=slots if name == "download" else 0, egress="e",
            )  # fmt: skip
            self.registry.seen(info)
        await self.store.change(apply)
        return [event for event, _trace in outs]


def page(listing: int, *videos: str) -> e.ArchiveChecked:
    entries = tuple(Entry(video_id=video, position=n) for n, video in enumerate(videos))
    complete = {"qualities": ("best",), "thumbnail": True, "captions": ("en",), "metadata": True, "info": True}
    held = tuple(Held.model_validate({"video_id": video} | (complete if video == KEPT else {})) for video in videos)
    named = ABOUT | {"listing": listing, "page_key": f"p{listing}", "playlist_id": LIST}
    return e.ArchiveChecked(**named, entries=entries, held=held)


async def test_a_video_that_left_its_playlist_is_checked_with_a_page_of_its_own(store: Store, tmp_path: Path) -> None:
    """The page with the video was lost together with the broker's streams."""
    world = DispatcherWithoutStorage(store, tmp_path)

    def create_job(rows: SqlRows, _sql: sqlite3.Connection, now: datetime) -> list[Out]:
        job = e.JobCreated(job_id="j", targets=(LIST,), type=JobType.PLAYLIST_DOWNLOAD)
        accepted = Accepted((Target(kind=TargetKind.PLAYLIST, id=LIST),), "/archive", "")
        return state_machine.create(rows, job, "t", accepted, now)

    await store.change(create_job)
    lost_page = e.ListingPageFetched(
        **ABOUT, type=JobType.PLAYLIST_DOWNLOAD, options={}, listing=1, page_key="p1", playlist_id=LIST,
        entries=(Entry(video_id=LOST, position=0),),
    )  # fmt: skip
    await world.step(lost_page, page(1, KEPT), e.ListingCompleted(**ABOUT, listing=1, page_keys=("p1",), total=2))
    (again,) = await world.decide()
    assert isinstance(again, e.JobQueued)
    number = again.listing
    keys = (f"p{number}",)
    await world.step(page(number, KEPT), e.ListingCompleted(**ABOUT, listing=number, page_keys=keys, total=1))
    published = [event for _ in range(30) for event in await world.decide()]
    assert {type(event) for event in published} == {e.ListingPageFetched}, "the playlist is not listed again"
    assert 3 <= len(published) <= 6, "the page is repeated at growing intervals"
    await world.step(page(number, LOST).model_copy(update={"page_key": "again"}))
    item = await store.read(lambda rows, _sql: rows.item("j", LOST))
    assert item is not None
    assert item.status is ItemStatus.WAITING


async def test_dispatching_stops_while_storage_commits_nothing(store: Store, tmp_path: Path) -> None:
    """Otherwise the partial downloads would fill the disk of tmp/."""
    world = DispatcherWithoutStorage(store, tmp_path)
    videos = [f"video{n:06d}" for n in range(100)]

    def create_job(rows: SqlRows, _sql: sqlite3.Connection, now: datetime) -> list[Out]:
        job = e.JobCreated(job_id="j", targets=(LIST,), type=JobType.PLAYLIST_DOWNLOAD)
        accepted = Accepted((Target(kind=TargetKind.PLAYLIST, id=LIST),), "/archive", "")
        return state_machine.create(rows, job, "t", accepted, now)

    await store.change(create_job)
    await world.step(page(1, *videos), e.ListingCompleted(**ABOUT, listing=1, page_keys=("p1",), total=100))
    fetched = 0
    for _ in range(20):
        for event in await world.decide(slots=2):
            if isinstance(event, e.DownloadRequested):
                fetched += 1
                names = request_ids(event)
                done = e.DownloadCompleted(
                    **names, wanted=event.wanted, directory="/d", files=(),
                    metadata=VideoMetadata(video_id=event.video_id, title="t"),
                    provenance=Provenance(source_url="https://x", started_at=world.now, finished_at=world.now),
                )  # fmt: skip
                await world.step(done)
    assert fetched == 8


async def test_nothing_is_dispatched_while_the_stream_has_no_room_for_new_work(store: Store, tmp_path: Path) -> None:
    world = DispatcherWithoutStorage(store, tmp_path)

    def ordered(rows: SqlRows, _sql: sqlite3.Connection, now: datetime) -> list[Out]:
        job = e.JobCreated(job_id="j", targets=(LIST,), type=JobType.PLAYLIST_DOWNLOAD)
        accepted = Accepted((Target(kind=TargetKind.PLAYLIST, id=LIST),), "/archive", "")
        return state_machine.create(rows, job, "t", accepted, now)

    async def waiting_for() -> str | None:
        job = await store.read(lambda rows, _sql: rows.job("j"))
        assert job is not None
        return job.waiting_for

    await store.change(ordered)
    await world.step(page(1, LOST), e.ListingCompleted(**ABOUT, listing=1, page_keys=("p1",), total=1))
    world.held = "the stream is almost full"
    assert await world.decide(slots=2) == []
    assert await waiting_for() == "the stream is almost full"
    world.held = None
    assert [type(event) for event in await world.decide(slots=2)] == [e.DownloadRequested]
    assert await waiting_for() is None


async def test_the_first_claim_of_a_suspected_egress_is_the_probe_and_asks_for_a_canary(
    store: Store, tmp_path: Path
) -> None:
    """Whichever of its workers that is; the others wait. Claims that download nothing prove nothing."""
    world = DispatcherWithoutStorage(store, tmp_path)

    def create_job(rows: SqlRows, _sql: sqlite3.Connection, now: datetime) -> list[Out]:
        job = e.JobCreated(job_id="j", targets=(LIST,), type=JobType.PLAYLIST_DOWNLOAD)
        accepted = Accepted((Target(kind=TargetKind.PLAYLIST, id=LIST),), "/archive", "")
        return state_machine.create(rows, job, "t", accepted, now)

    def suspect(rows: SqlRows, _sql: sqlite3.Connection, now: datetime) -> list[Out]:
        rows.set_block("e", Block(now, Suspicion.SAME_FAILURE, about="words"))
        return []

    async def claim(worker: str, dispatch_id: str | None) -> ClaimAnswer:
        return await world.dispatcher.claim(e.DownloadClaim(instance=worker, egress="e", dispatch_id=dispatch_id))

    await store.change(create_job)
    videos = [f"video{n:06d}" for n in range(3)]
    await world.step(page(1, *videos), e.ListingCompleted(**ABOUT, listing=1, page_keys=("p1",), total=3))
    saved, *others = [event for event in await world.decide(slots=3) if isinstance(event, e.DownloadRequested)]
    assert (await claim("a", saved.dispatch_id)).verdict is ClaimVerdict.GO
    held = Held.model_validate({"video_id": saved.video_id, "qualities": ("best",), "thumbnail": True, "metadata": True,
                                "captions": ("en",)})  # fmt: skip
    about = saved.model_dump(include={"job_id", "video_id", "root", "dispatch_id"})
    await world.step(e.VideoArchived(**about, directory="/d", files=(), bytes=1, held=held))
    await store.change(suspect)
    probe, waits = [await claim(f"worker {n}", one.dispatch_id) for n, one in enumerate(others)]
    assert (probe.verdict, probe.reason, probe.canary) == (ClaimVerdict.PROBE, Suspicion.SAME_FAILURE, saved.video_id)
    assert (waits.verdict, waits.canary) == (ClaimVerdict.WAIT, None)
    assert (await claim("metadata", None)).verdict is ClaimVerdict.GO


# --- follows


async def follow(store: Store, count: int, now: datetime, wanted: int | None = None) -> None:
    """Create follows, which are due at once; somebody asks for one of them."""

    def work(rows: SqlRows, _sql: sqlite3.Connection, _now: datetime) -> list[Out]:
        for number in range(count):
            created = e.FollowCreated(
                follow_id=f"{number:012x}",
                change_id="1",
                target=f"UC{number:022d}",
                type=JobType.PLAYLIST_DOWNLOAD,
                options=JobOptions(),
                root="/archive",
            )
            state_machine.step(rows, created, now)
        if wanted is not None:
            asked = e.FollowLookRequested(follow_id=f"{wanted:012x}", change_id="2")
            state_machine.step(rows, asked, now + timedelta(minutes=1))
        return []

    await store.change(work)


def with_metadata(tmp_path: Path) -> Registry:
    registry = Registry(tmp_path / "services.json")
    registry.seen(
        ServiceInfo(
            name="metadata",
            instance="metadata/1",
            url="http://127.0.0.1:1",
            version="1",
            host=platform.node(),
            pid=os.getpid(),
            started_at=datetime.now(UTC),
        )
    )
    return registry


async def test_due_follows_do_not_keep_the_dispatcher_busy_while_no_look_can_begin(
    store: Store, tmp_path: Path
) -> None:
    await follow(store, 3, datetime.now(UTC))
    rounds = Rounds()
    dispatcher = Dispatcher(store, Registry(tmp_path / "services.json"), (), CommitNotifier(rounds))
    running = asyncio.create_task(dispatcher.run())
    await asyncio.sleep(1.0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert 0 < rounds.count < 5


async def test_a_look_that_somebody_asks_for_comes_first_and_waits_for_no_budget(store: Store, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    await follow(store, 10, now - timedelta(hours=1), wanted=7)
    pace = Pace(requests_per_hour=1)
    dispatcher = Dispatcher(store, with_metadata(tmp_path), (), CommitNotifier(), pace=pace)
    for number in range(3):
        dispatcher.looked(str(number), 1)  # the budget is used up
    out: list[str] = []

    def decide(rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> list[Out]:
        decided = dispatcher._decide(rows, sql, now)
        out.extend(event.follow_id for event, _trace in decided if isinstance(event, e.FollowLookDue))
        return decided

    await store.change(decide)
    assert out == [f"{7:012x}"]


async def test_a_clock_that_was_ahead_for_ten_years_delays_no_look(store: Store, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    await follow(store, 1, now + timedelta(days=3650))
    dispatcher = Dispatcher(store, with_metadata(tmp_path), (), CommitNotifier())
    found: list[Out] = []

    def decide(rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> list[Out]:
        found.extend(dispatcher._decide(rows, sql, now))
        return []

    await store.change(decide)
    assert [type(event) for event, _trace in found] == [e.FollowLookDue]
