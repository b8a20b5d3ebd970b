"""The jobs machine, on rows in memory: what each fact means."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from bus.message import Envelope, Event
from services.common import events as e
from services.common.models import (
    Entry,
    ErrorCode,
    ErrorDetail,
    Failure,
    FailureKind,
    Held,
    ItemStatus,
    JobOptions,
    JobStatus,
    JobType,
    KnownGone,
    Provenance,
    Target,
    TargetKind,
    VideoMetadata,
    Wanted,
)
from services.jobs import dispatches, gaps, listings, machine, wishes
from services.jobs.casualties import unsendable
from services.jobs.ledger import Out, note_timers
from services.jobs.machine import Accepted
from services.jobs.rows import FetchRow, FetchState, ItemRow, JobRow, ListingRow, ListingState
from services.jobs.views import job_view

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
VIDEO, OTHER = "aaaaaaaaaaa", "bbbbbbbbbbb"
ROOT = "/archive"


@dataclass
class MemoryRows:
    jobs: dict[str, JobRow] = field(default_factory=dict)
    listings: dict[tuple[str, int], ListingRow] = field(default_factory=dict)
    items: dict[tuple[str, str], ItemRow] = field(default_factory=dict)
    fetches: dict[str, FetchRow] = field(default_factory=dict)

    def job(self, job_id: str) -> JobRow | None:
        return self.jobs.get(job_id)

    def listing(self, job_id: str, target_index: int) -> ListingRow | None:
        return self.listings.get((job_id, target_index))

    def item(self, job_id: str, video_id: str) -> ItemRow | None:
        return self.items.get((job_id, video_id))

    def fetch(self, video_id: str) -> FetchRow | None:
        return self.fetches.get(video_id)

    def waiters(self, video_id: str) -> Sequence[ItemRow]:
        waiting = {ItemStatus.WAITING, ItemStatus.RUNNING}
        found = [item for item in self.items.values() if item.video_id == video_id and item.status in waiting]
        return sorted(found, key=lambda item: (self.jobs[item.job_id].created_at, item.job_id))

    def open_items(self, job_id: str, limit: int) -> Sequence[ItemRow]:
        waiting = {ItemStatus.LISTED, ItemStatus.WAITING, ItemStatus.RUNNING}
        found = [i for i in self.items.values() if i.job_id == job_id and i.status in waiting and not i.cancelling]
        return found[:limit]

    def gaps(self, job_id: str) -> Sequence[ItemRow]:
        gaps = {ItemStatus.UNAVAILABLE, ItemStatus.FAILED, ItemStatus.CANCELLED}
        return [item for item in self.items.values() if item.job_id == job_id and item.status in gaps]

    def add(self, row: JobRow | ListingRow | ItemRow | FetchRow) -> None:
        match row:
            case JobRow():
                self.jobs[row.job_id] = row
            case ListingRow():
                self.listings[row.job_id, row.target_index] = row
            case ItemRow():
                self.items[row.job_id, row.video_id] = row
            case FetchRow():
                self.fetches[row.video_id] = row

    def drop(self, fetch: FetchRow) -> None:
        del self.fetches[fetch.video_id]


class World:
    """Jobs over rows in memory, with the other services played by hand."""

    def __init__(self) -> None:
        self.rows = MemoryRows()
        self.now = NOW
        self.out: list[Event] = []

    def _did(self, outs: list[Out]) -> list[Event]:
        events = [event for event, _trace in outs]
        self.out += events
        return events

    def create(self, job_id: str = "j1", *, root: str = ROOT, targets: int = 1, **words: object) -> list[Event]:
        options = JobOptions.model_validate({"include_captions": False} | words)
        event = e.JobCreated(job_id=job_id, targets=("x",), options=options, type=JobType.VIDEO_DOWNLOAD)
        accepted = Accepted(tuple(Target(kind=TargetKind.PLAYLIST, id=f"PL{n}") for n in range(targets)), root)
        return self._did(machine.create(self.rows, event, f"trace-{job_id}", accepted, self.now))

    def step(self, event: Event) -> list[Event]:
        return self._did(machine.step(self.rows, event, self.now))

    def checked(
        self,
        job_id: str = "j1",
        *videos: str,
        held: Held | None = None,
        marked: str | None = None,
        key: str = "p1",
        index: int = 0,
    ) -> list[Event]:
        entries = tuple(
            Entry(video_id=v, position=n, title=f"title {v}", marked=marked) for n, v in enumerate(videos or (VIDEO,))
        )
        holds = tuple(held or Held(video_id=entry.video_id) for entry in entries)
        return self.step(
            e.ArchiveChecked(
                job_id=job_id, root=self.rows.jobs[job_id].root, target_index=index, listing=1, page_key=key,
                playlist_id="PL0", entries=entries, held=holds,
            )
        )  # fmt: skip

    def listed(self, job_id: str = "j1", *keys: str, index: int = 0) -> list[Event]:
        listing = self.rows.listings[job_id, index]
        return self.step(
            e.ListingCompleted(
                job_id=job_id, root=ROOT, target_index=index, listing=listing.number, page_keys=keys or ("p1",), total=1
            )
        )

    def queued(self, job_id: str = "j1", **words: object) -> None:
        self.create(job_id, **words)  # type: ignore[arg-type]  # options by name
        self.checked(job_id)
        self.listed(job_id)

    def dispatch(self, video: str = VIDEO) -> e.DownloadRequested:
        (event,) = self._did(dispatches.dispatch(self.rows, self.rows.waiters(video)[0].job_id, video, self.now))
        assert isinstance(event, e.DownloadRequested)
        dispatches.claimed(self.rows, self.rows.fetches[video], "worker", self.now)
        return event

    def failed(self, request: e.DownloadRequested, kind: FailureKind, **words: object) -> list[Event]:
        code = ErrorCode.VIDEO_UNAVAILABLE if kind is FailureKind.GONE else ErrorCode.NETWORK_TIMEOUT
        about = {"reason": "private" if kind is FailureKind.GONE else "http_503", "message": "it failed"}
        failure = Failure.model_validate({"kind": kind, "code": code} | about | words)
        return self.step(e.DownloadFailed(**_names(request), failure=failure))

    def archived(self, request: e.DownloadRequested, **held: object) -> list[Event]:
        holding = Held.model_validate(
            {"video_id": request.video_id, "qualities": [request.wanted.quality], "thumbnail": True, "metadata": True}
            | held
        )
        return self.step(
            e.VideoArchived(
                job_id=request.job_id, video_id=request.video_id, root=request.root, dispatch_id=request.dispatch_id,
                directory="/archive/videos/x", files=(), bytes=5, held=holding,
            )
        )  # fmt: skip

    def plan_answers(self, event: Event) -> list[Event]:
        assert isinstance(event, e.VideoFailed)
        return self.step(
            e.WorkPlanUpdated(
                plan_id=event.job_id, job_id=event.job_id, video_ids=(event.video_id,), number=event.number,
                path="/plans/x.json", unavailable=1, failed=0, resolved=0,
            )
        )  # fmt: skip

    def status(self, job_id: str = "j1", video: str = VIDEO) -> ItemStatus:
        return self.rows.items[job_id, video].status


def _names(request: e.DownloadRequested) -> dict[str, str]:
    return request.model_dump(include={"dispatch_id", "fetch_id", "job_id", "video_id", "root"})


def completed(world: World, request: e.DownloadRequested) -> None:
    world.step(
        e.DownloadCompleted(
            **_names(request), wanted=request.wanted, directory="/data/tmp/x.part", files=(),
            metadata=VideoMetadata(video_id=VIDEO, title="the title"),
            provenance=Provenance(source_url="https://x", started_at=NOW, finished_at=NOW),
        )
    )  # fmt: skip


@pytest.fixture
def world() -> World:
    return World()


def test_each_target_is_listed_on_its_own(world: World) -> None:
    queued = world.create(targets=2)
    assert [(event.target_index, event.listing) for event in queued if isinstance(event, e.JobQueued)] == [
        (0, 1),
        (1, 2),
    ]
    assert world.rows.jobs["j1"].status is JobStatus.QUEUED


def test_a_rejected_job_is_kept_as_failed_and_never_holds_the_key(world: World) -> None:
    event = e.JobCreated(job_id="j1", targets=("x",), options=JobOptions(api_key="secret"))
    error = ErrorDetail(code=ErrorCode.INVALID_REQUEST, message="no")
    ((failed, trace),) = machine.create(world.rows, event, "t", error, NOW)
    assert isinstance(failed, e.JobFailed)
    assert trace == "t"
    assert failed.job.error == error
    assert failed.job.options.api_key is None


def test_a_job_of_many_named_videos_does_not_carry_them_all_around(world: World) -> None:
    event = e.JobCreated(job_id="j1", targets=tuple(f"video{n:06d}" for n in range(5_000)))
    accepted = Accepted((Target(kind=TargetKind.VIDEOS, video_ids=(VIDEO,)),), ROOT)
    machine.create(world.rows, event, "t", accepted, NOW)
    view = job_view(world.rows.jobs["j1"])
    assert (len(view.targets), view.target_count) == (100, 5_000)


def test_an_empty_listing_ends_the_job_at_once(world: World) -> None:
    world.create()
    (done,) = world.step(e.ListingCompleted(job_id="j1", root=ROOT, target_index=0, listing=1, page_keys=(), total=0))
    assert isinstance(done, e.JobCompleted)


def test_a_job_does_not_end_before_every_page_of_the_listing_came(world: World) -> None:
    world.create()
    assert world.listed("j1", "p1", "p2") == []
    held = Held(video_id=VIDEO, qualities=("1080p",), thumbnail=True, metadata=True)
    assert world.checked(held=held, key="p1") == []
    (done,) = world.checked("j1", OTHER, held=held, key="p2")
    assert isinstance(done, e.JobCompleted)
    assert done.job.counts.skipped == 2


def test_a_job_fails_only_when_all_its_targets_failed(world: World) -> None:
    world.create(targets=2)
    error = ErrorDetail(code=ErrorCode.INVALID_REQUEST, message="no such playlist")
    world.step(e.ListingFailed(job_id="j1", root=ROOT, target_index=0, listing=1, error=error, final=True))
    assert world.rows.jobs["j1"].status is JobStatus.QUEUED
    (end,) = world.step(e.ListingFailed(job_id="j1", root=ROOT, target_index=1, listing=2, error=error, final=True))
    assert isinstance(end, e.JobFailed)


def test_a_listing_goes_on_from_its_cursor_at_its_time(world: World) -> None:
    world.create()
    error = ErrorDetail(code=ErrorCode.NETWORK_TIMEOUT, message="503")
    at = NOW + timedelta(minutes=5)
    world.step(
        e.ListingFailed(
            job_id="j1", root=ROOT, target_index=0, listing=1, error=error, cursor="100", retry_after=at, spent=False
        )
    )
    listing = world.rows.listings["j1", 0]
    assert (listing.retry_at, listing.attempts) == (at, 0)
    ((again, _),) = listings.queue_listing(world.rows.jobs["j1"], listing, at)
    assert isinstance(again, e.JobQueued)
    assert (again.cursor, again.listing) == ("100", 2)


@pytest.mark.parametrize(
    ("held", "options", "status"),
    [
        (Held(video_id=VIDEO), {}, ItemStatus.WAITING),
        (Held(video_id=VIDEO, qualities=("1080p",), thumbnail=True, metadata=True), {}, ItemStatus.SKIPPED),
        (Held(video_id=VIDEO, qualities=("best",), absent=("thumbnail",), metadata=True), {}, ItemStatus.SKIPPED),
        (Held(video_id=VIDEO, qualities=("720p",), thumbnail=True, metadata=True), {}, ItemStatus.WAITING),
        (
            Held(video_id=VIDEO, qualities=("1080p",), thumbnail=True, metadata=True),
            {"skip_existing": False},
            ItemStatus.WAITING,
        ),
        (Held(video_id=VIDEO, known_gone=KnownGone(reason="private", at=NOW)), {}, ItemStatus.CLOSING),
        (
            Held(video_id=VIDEO, known_gone=KnownGone(reason="private", at=NOW)),
            {"skip_existing": False},
            ItemStatus.WAITING,
        ),
        (
            Held(video_id=VIDEO, known_gone=KnownGone(reason="copyright", at=NOW - timedelta(days=8))),
            {},
            ItemStatus.WAITING,
        ),
    ],
)
def test_what_is_held_decides(world: World, held: Held, options: dict[str, object], status: ItemStatus) -> None:
    world.create(**options)  # type: ignore[arg-type]  # options by name
    world.checked(held=held, marked="private")
    assert world.status() is status


def test_what_is_known_to_be_gone_is_no_fresh_finding(world: World) -> None:
    """Else the re-check interval would begin anew with every look at the playlist."""
    found_at = NOW - timedelta(days=3)
    world.create()
    (failed,) = world.checked(
        held=Held(video_id=VIDEO, known_gone=KnownGone(reason="private", at=found_at)), marked="x"
    )
    assert isinstance(failed, e.VideoFailed)
    assert failed.unavailable is not None
    assert failed.unavailable.detected_at == found_at
    again, _trace = gaps.announce_failure(
        world.rows.jobs["j1"], world.rows.items["j1", VIDEO], NOW + timedelta(hours=1)
    )
    assert isinstance(again, e.VideoFailed)
    assert again.unavailable is not None
    assert (again.unavailable.detected_at, again.number) == (found_at, 2)


def test_a_private_video_that_is_no_longer_marked_is_tried_again(world: World) -> None:
    world.create()
    world.checked(held=Held(video_id=VIDEO, known_gone=KnownGone(reason="private", at=NOW)), marked=None)
    assert world.status() is ItemStatus.WAITING


def test_a_saved_video_ends_its_item_and_the_job(world: World) -> None:
    world.queued()
    request = world.dispatch()
    assert world.status() is ItemStatus.RUNNING
    (done,) = world.archived(request)
    assert isinstance(done, e.JobCompleted)
    assert world.rows.items["j1", VIDEO].result is not None
    assert world.rows.fetches == {}


def test_gone_costs_one_try_and_ends_with_the_work_plan(world: World) -> None:
    world.queued()
    (failed,) = world.failed(world.dispatch(), FailureKind.GONE)
    assert isinstance(failed, e.VideoFailed)
    assert failed.unavailable is not None
    assert failed.unavailable.reason == "private"
    assert not world.rows.jobs["j1"].status.ended
    (done,) = world.plan_answers(failed)
    assert isinstance(done, e.JobCompleted)
    assert done.job.counts.unavailable == 1
    assert done.job.work_plan == "/plans/x.json"


@pytest.mark.claim("7.3")
def test_three_attempts_and_no_more(world: World) -> None:
    world.queued()
    for wait in (2, 4):
        assert world.failed(world.dispatch(), FailureKind.PASSING) == []
        assert world.rows.items["j1", VIDEO].retry_at == world.now + timedelta(seconds=wait)
        world.now += timedelta(seconds=wait)
    (failed,) = world.failed(world.dispatch(), FailureKind.PASSING)
    assert isinstance(failed, e.VideoFailed)
    assert failed.failed is not None
    assert failed.failed.attempts == 3
    assert len(failed.failed.errors) == 3


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (FailureKind.NOT_YET, {"retry_after": NOW + timedelta(hours=3)}),
        (FailureKind.PASSING, {"gained_bytes": True}),
        (FailureKind.LOCAL, {"retry_after": NOW + timedelta(minutes=1)}),
    ],
)
def test_some_failures_are_free(world: World, kind: FailureKind, words: dict[str, object]) -> None:
    world.queued()
    for _ in range(5):
        world.failed(world.dispatch(), kind, **words)
    assert world.status() is ItemStatus.WAITING
    assert world.rows.items["j1", VIDEO].attempts == 0


def test_two_jobs_that_want_one_video_share_one_fetch(world: World) -> None:
    world.queued("j1")
    world.queued("j2")
    ends = world.archived(world.dispatch())
    assert {event.job_id for event in ends if isinstance(event, e.JobCompleted)} == {"j1", "j2"}
    assert sum(isinstance(event, e.DownloadRequested) for event in world.out) == 1


def test_who_joins_a_running_fetch_and_wants_more_gets_another_dispatch(world: World) -> None:
    world.queued("j1", quality="720p")
    first = world.dispatch()
    world.queued("j2", quality="1080p")
    world.archived(first)
    assert world.rows.jobs["j1"].status is JobStatus.COMPLETED
    assert world.status("j2") is ItemStatus.WAITING
    second = world.dispatch()
    assert second.dispatch_id != first.dispatch_id
    assert second.wanted.quality == "1080p"


def test_who_wants_only_a_caption_more_does_not_fetch_the_media_again(world: World) -> None:
    held = Held(video_id=VIDEO, qualities=("1080p",), thumbnail=True, metadata=True, captions=("en",))
    world.create(include_captions=True, caption_languages=["en", "de"])
    world.checked(held=held)
    assert world.dispatch().wanted == Wanted(
        media=False, quality="1080p", thumbnail=False, captions=("de",), metadata=False
    )


def test_another_root_gets_its_own_dispatch(world: World) -> None:
    world.queued("j1")
    world.queued("j2", root="/elsewhere")
    world.archived(world.dispatch())
    assert world.status("j2") is ItemStatus.WAITING
    second = world.dispatch()
    assert second.root == "/elsewhere"
    world.archived(second)
    assert world.rows.jobs["j2"].status is JobStatus.COMPLETED


def test_facts_of_an_older_dispatch_change_nothing_but_an_archived_video_counts(world: World) -> None:
    world.queued()
    old = world.dispatch()
    dispatches.release(world.rows, world.rows.fetches[VIDEO], world.now)
    new = world.dispatch()
    assert new.dispatch_id != old.dispatch_id
    assert world.failed(old, FailureKind.GONE) == []
    assert world.status() is ItemStatus.RUNNING
    (done,) = world.archived(old)
    assert isinstance(done, e.JobCompleted)


def test_force_is_not_content_with_a_copy_that_was_under_way(world: World) -> None:
    world.queued("j1")
    first = world.dispatch()
    world.queued("j2", skip_existing=False)
    world.archived(first)
    assert world.status("j2") is ItemStatus.WAITING
    world.archived(world.dispatch())
    assert world.rows.jobs["j2"].status is JobStatus.COMPLETED


def test_what_could_not_be_fetched_beside_the_media_is_tried_again_alone(world: World) -> None:
    world.queued(include_captions=True)
    world.archived(world.dispatch(), captions=())
    again = world.dispatch()
    assert (again.wanted.media, again.wanted.captions) == (False, ("en",))
    world.archived(again, qualities=("1080p",), captions=("en",))
    assert world.rows.jobs["j1"].status is JobStatus.COMPLETED


def test_a_fact_that_comes_twice_changes_nothing(world: World) -> None:
    world.create()
    for _ in range(2):
        world.checked("j1", VIDEO, OTHER)
        world.listed()
    request = world.dispatch()
    for _ in range(2):
        world.archived(request)
    job = world.rows.jobs["j1"]
    assert (job.total, job.open, job.archived) == (2, 1, 1)


def test_metadata_only_ends_with_metadata_archived(world: World) -> None:
    event = e.JobCreated(job_id="j1", targets=("x",), type=JobType.METADATA_ONLY)
    accepted = Accepted((Target(kind=TargetKind.VIDEOS, video_ids=(VIDEO,)),), ROOT)
    machine.create(world.rows, event, "t", accepted, NOW)
    world.checked()
    world.listed()
    request = world.dispatch()
    assert request.wanted == Wanted(media=False, thumbnail=False, captions=(), metadata=True)
    (done,) = world.step(
        e.MetadataArchived(job_id="j1", root=ROOT, video_id=VIDEO, source_name="yt_dlp", path="/archive/m.json")
    )
    assert isinstance(done, e.JobCompleted)
    assert world.rows.fetches == {}


def described(world: World, type: JobType = JobType.METADATA_ONLY, **held: object) -> list[Event]:
    """A job whose only entry the Data API describes, as far as storage's answer to the page."""
    event = e.JobCreated(job_id="j1", targets=("x",), type=type)
    machine.create(world.rows, event, "t", Accepted((Target(kind=TargetKind.PLAYLIST, id="PL0"),), ROOT), NOW)
    return world.step(
        e.ArchiveChecked(
            job_id="j1", root=ROOT, target_index=0, listing=1, page_key="p1",
            entries=(Entry(video_id=VIDEO, described=True),),
            held=(Held.model_validate({"video_id": VIDEO} | held),),
        )
    )  # fmt: skip


METADATA_ARCHIVED = e.MetadataArchived(
    job_id="j1", root=ROOT, video_id=VIDEO, source_name="data_api", path="/archive/m.json"
)


@pytest.mark.parametrize("held", [{}, {"metadata": True}, {"known_gone": KnownGone(reason="region_blocked", at=NOW)}])
def test_metadata_that_the_data_api_brings_need_no_fetch(world: World, held: dict[str, object]) -> None:
    described(world, JobType.METADATA_ONLY, **held)
    assert world.rows.items["j1", VIDEO].status is ItemStatus.LISTED
    assert world.rows.fetches == {}
    world.listed()
    (done,) = world.step(METADATA_ARCHIVED)
    assert isinstance(done, e.JobCompleted)
    assert (done.job.counts.archived, world.rows.fetches) == (1, {})


def test_metadata_that_are_archived_before_storage_answers_the_page(world: World) -> None:
    event = e.JobCreated(job_id="j1", targets=("x",), type=JobType.METADATA_ONLY)
    machine.create(world.rows, event, "t", Accepted((Target(kind=TargetKind.PLAYLIST, id="PL0"),), ROOT), NOW)
    world.step(
        e.ListingPageFetched(
            job_id="j1", root=ROOT, type=event.type, options=event.options, target_index=0, listing=1, page_key="p1",
            entries=(Entry(video_id=VIDEO, described=True),),
        )
    )  # fmt: skip
    world.step(METADATA_ARCHIVED)
    world.checked(held=Held(video_id=VIDEO, metadata=True))
    assert world.rows.jobs["j1"].archived == 1


def test_media_are_fetched_however_well_a_video_is_described(world: World) -> None:
    described(world, JobType.PLAYLIST_DOWNLOAD)
    world.step(METADATA_ARCHIVED)
    assert world.rows.items["j1", VIDEO].status is ItemStatus.WAITING


def test_metadata_that_cannot_be_archived_are_fetched_instead(world: World) -> None:
    described(world)
    world.step(
        e.DeadLettered(
            type="metadata.fetched", consumer="storage", sequence=1, error="x", payload="", job_id="j1", video_id=VIDEO
        )
    )
    assert world.dispatch().wanted == Wanted(media=False, thumbnail=False, captions=(), metadata=True)


def test_a_deferred_dispatch_costs_no_attempt(world: World) -> None:
    world.queued()
    request = world.dispatch()
    world.step(e.DownloadDeferred(**_names(request), reason="shutdown"))
    assert world.rows.items["j1", VIDEO].attempts == 0
    assert world.rows.fetches[VIDEO].state is FetchState.IDLE
    assert world.dispatch().dispatch_id != request.dispatch_id


def test_a_completed_download_waits_for_storage(world: World) -> None:
    world.queued()
    request = world.dispatch()
    completed(world, request)
    assert world.rows.fetches[VIDEO].state is FetchState.STORING
    assert world.rows.items["j1", VIDEO].title == "the title"


def test_a_dead_letter_ends_the_dispatch_with_e999(world: World) -> None:
    world.queued()
    request = world.dispatch()
    (failed,) = world.step(
        e.DeadLettered(
            type="download.completed", consumer="storage", sequence=1, error="KeyError", payload="",
            job_id="j1", video_id=VIDEO, dispatch_id=request.dispatch_id,
        )
    )  # fmt: skip
    assert isinstance(failed, e.VideoFailed)
    assert failed.failed is not None
    assert failed.failed.errors[0]["code"] == ErrorCode.INTERNAL_ERROR


def lost(type: str, consumer: str, **about: object) -> e.DeadLettered:
    videos = (about["video_id"],) if "video_id" in about else ()
    fields = {"type": type, "consumer": consumer, "sequence": 1, "error": "KeyError", "payload": "", "job_id": "j1"}
    return e.DeadLettered.model_validate(fields | {"video_ids": videos} | about)


@pytest.mark.parametrize(
    ("type", "consumer"),
    [
        ("listing.page_fetched", "storage-listing_page_fetched"),
        ("archive.checked", "jobs-inbox"),
    ],
)
def test_a_lost_page_ends_its_items_that_wait_for_an_answer(world: World, type: str, consumer: str) -> None:
    world.create()
    entries = tuple(Entry(video_id=video, position=n) for n, video in enumerate((VIDEO, OTHER)))
    world.step(
        e.ListingPageFetched(
            job_id="j1", root=ROOT, type=JobType.VIDEO_DOWNLOAD, options=JobOptions(), target_index=0, listing=1,
            page_key="p1", entries=entries,
        )
    )  # fmt: skip
    failed = world.step(lost(type, consumer, video_ids=(VIDEO,), target_index=0))
    assert [event.video_id for event in failed if isinstance(event, e.VideoFailed)] == [VIDEO]
    assert world.rows.items["j1", VIDEO].error_code is ErrorCode.INTERNAL_ERROR
    assert world.rows.items["j1", OTHER].status is ItemStatus.LISTED
    state = world.rows.listings["j1", 0].state
    assert state is (ListingState.FAILED if consumer == "jobs-inbox" else ListingState.QUEUED)


@pytest.mark.parametrize("type", ["video.failed", "work_plan.updated"])
def test_a_lost_plan_ends_its_item(world: World, type: str) -> None:
    world.queued()
    world.failed(world.dispatch(), FailureKind.GONE)
    (ended,) = world.step(lost(type, "storage-video_failed", video_id=VIDEO))
    assert isinstance(ended, e.JobCompleted)
    assert world.rows.items["j1", VIDEO].error_code is ErrorCode.INTERNAL_ERROR


@pytest.mark.parametrize("consumer", ["logging-events", "download-video_archived"])
def test_what_nobody_waits_for_ends_nothing(world: World, consumer: str) -> None:
    world.queued()
    request = world.dispatch()
    about = {"video_id": VIDEO, "dispatch_id": request.dispatch_id, "target_index": 0}
    before = repr(world.rows)
    for type in ("job.queued", "video.archived", "listing.page_fetched"):
        assert world.step(lost(type, consumer, **about)) == []
    assert repr(world.rows) == before


def test_a_playlist_file_that_cannot_be_written_is_told_and_ends_nothing(world: World) -> None:
    world.queued()
    assert world.step(lost("playlist.fetched", "storage-playlist_fetched", target_index=0)) == []
    assert world.rows.jobs["j1"].error is not None
    assert world.rows.items["j1", VIDEO].status is ItemStatus.WAITING


@pytest.mark.parametrize(("unreadable", "code"), [(True, ErrorCode.INVALID_REQUEST), (False, ErrorCode.INTERNAL_ERROR)])
def test_a_job_that_could_not_be_taken_in_is_kept_as_failed(world: World, unreadable: bool, code: ErrorCode) -> None:
    letter = lost("job.created", "jobs-inbox", unreadable=unreadable)
    ((failed, trace_id),) = machine.refuse(world.rows, letter, "trace", NOW)
    assert isinstance(failed, e.JobFailed)
    assert failed.job.error is not None
    assert (failed.job.error.code, trace_id) == (code, "trace")
    assert machine.refuse(world.rows, letter, "trace", NOW) == []


def test_no_job_is_made_of_other_letters(world: World) -> None:
    for letter in (
        lost("job.created", "logging-events"),
        lost("job.queued", "jobs-inbox"),
        lost("job.created", "jobs-inbox", job_id="../x"),
        lost("job.created", "jobs-inbox", job_id=None),
    ):
        assert machine.refuse(world.rows, letter, "trace", NOW) == []
    assert world.rows.jobs == {}


def test_an_item_that_lacks_only_its_metadata_ends_when_they_are_archived(world: World) -> None:
    """Of such a fetch there are no files, hence no take-in to wait for."""
    world.queued()
    request = world.dispatch()
    held = Held(video_id=VIDEO, qualities=(request.wanted.quality,), thumbnail=True)
    world.step(
        e.VideoArchived(**{k: v for k, v in _names(request).items() if k != "fetch_id"}, directory="/x", files=(),
                        bytes=1, held=held)
    )  # fmt: skip
    assert world.rows.items["j1", VIDEO].need == Wanted(media=False, quality=request.wanted.quality, thumbnail=False)
    world.now += timedelta(minutes=5)
    again = world.dispatch()
    names = {"job_id": "j1", "root": ROOT, "video_id": VIDEO, "dispatch_id": again.dispatch_id}
    (ended,) = world.step(e.MetadataArchived(**names, source_name="yt_dlp", path="/m"))
    assert isinstance(ended, e.JobCompleted)
    assert ended.job.counts.archived == 1
    assert world.rows.fetches == {}


def test_retrying_means_that_only_timers_are_left(world: World) -> None:
    world.queued()
    later = NOW + timedelta(hours=1)
    world.failed(world.dispatch(), FailureKind.NOT_YET, retry_after=later)
    job = world.rows.jobs["j1"]
    note_timers(job, 1, later, world.now)
    assert (job.status, job.retry_at) == (JobStatus.RETRYING, later)
    note_timers(job, 0, None, later)
    assert job.status is JobStatus.RUNNING


# --- a change of mind ---------------------------------------------------------------------------------------------


def cancel(world: World, job_id: str = "j1", video_id: str | None = None) -> list[Event]:
    return world.step(e.JobCancelRequested(job_id=job_id, video_id=video_id))


def test_cancel_ends_what_waits_at_once(world: World) -> None:
    world.queued()
    (end,) = cancel(world)
    assert isinstance(end, e.JobCancelled)
    assert end.job.counts.cancelled == 1
    assert world.rows.fetches == {}
    assert cancel(world) == []


def test_cancel_of_a_running_download_asks_its_worker_and_ends_with_its_answer(world: World) -> None:
    world.queued()
    request = world.dispatch()
    (asked,) = cancel(world)
    assert isinstance(asked, e.DownloadCancelRequested)
    assert asked.dispatch_id == request.dispatch_id
    assert not world.rows.jobs["j1"].status.ended
    (end,) = world.step(e.DownloadCancelled(**_names(request)))
    assert isinstance(end, e.JobCancelled)
    assert world.rows.fetches == {}


@pytest.mark.parametrize("fact", ["archived", "failed", "deferred"])
def test_cancel_at_the_moment_of_the_end(world: World, fact: str) -> None:
    """What is complete is archived; what failed is not tried again."""
    world.queued()
    request = world.dispatch()
    cancel(world)
    if fact == "archived":
        (end,) = world.archived(request)
        assert isinstance(end, e.JobCompleted)
        return
    if fact == "failed":
        (end,) = world.failed(request, FailureKind.PASSING)
    else:
        (end,) = world.step(e.DownloadDeferred(**_names(request), reason="shutdown"))
    assert isinstance(end, e.JobCancelled)
    assert world.status() is ItemStatus.CANCELLED


@pytest.mark.parametrize("kind", [None, FailureKind.PASSING, FailureKind.LOCAL])
def test_cancel_of_one_video_that_storage_takes_in(world: World, kind: FailureKind | None) -> None:
    """It is archived; if that fails it is not tried again."""
    world.queued()
    request = world.dispatch()
    completed(world, request)
    assert cancel(world, "j1", VIDEO) == []
    if kind is None:
        (end,) = world.archived(request)
        assert isinstance(end, e.JobCompleted)
        assert world.status() is ItemStatus.ARCHIVED
    else:
        failure = Failure(kind=kind, code=ErrorCode.STORAGE_FULL, reason="storage_full", message="full")
        world.step(e.StorageFailed(**_names(request), failure=failure))
        assert world.status() is ItemStatus.CANCELLED
        assert world.rows.fetches == {}


def test_another_priority_is_for_open_jobs(world: World) -> None:
    world.queued()
    before = world.rows.jobs["j1"].revision
    world.step(e.JobPriorityRequested(job_id="j1", priority=9))
    job = world.rows.jobs["j1"]
    assert (job.priority, job.revision) == (9, before + 1)
    cancel(world)
    world.step(e.JobPriorityRequested(job_id="j1", priority=0))
    assert job.priority == 9


def test_cancel_leaves_a_fetch_that_another_job_waits_for(world: World) -> None:
    world.queued("j1")
    world.queued("j2")
    request = world.dispatch()
    (end,) = cancel(world, "j1")
    assert isinstance(end, e.JobCancelled)
    (done,) = world.archived(request)
    assert isinstance(done, e.JobCompleted)
    assert done.job_id == "j2"


def test_who_joins_a_fetch_that_is_being_cancelled_gets_it_anew(world: World) -> None:
    world.queued("j1")
    request = world.dispatch()
    cancel(world, "j1")
    world.queued("j2")
    world.step(e.DownloadCancelled(**_names(request)))
    assert world.rows.jobs["j1"].status is JobStatus.CANCELLED
    assert world.dispatch().job_id == "j2"


def test_cancel_ends_the_listing_and_late_pages_add_nothing(world: World) -> None:
    world.create()
    (end,) = cancel(world)
    assert isinstance(end, e.JobCancelled)
    world.checked()
    world.listed()
    assert world.rows.items == {}


def test_cancel_of_one_video_lets_the_others_go_on(world: World) -> None:
    world.create()
    world.checked("j1", VIDEO, OTHER)
    world.listed()
    assert cancel(world, "j1", OTHER) == []
    (done,) = world.archived(world.dispatch())
    assert isinstance(done, e.JobCompleted)
    assert (done.job.counts.archived, done.job.counts.cancelled) == (1, 1)


def test_cancel_of_a_failed_try_that_waits_has_its_partial_removed(world: World) -> None:
    world.queued()
    request = world.dispatch()
    world.failed(request, FailureKind.PASSING)
    asked = [event for event in cancel(world) if isinstance(event, e.DownloadCancelRequested)]
    assert [event.dispatch_id for event in asked] == [request.dispatch_id]


def test_a_large_job_is_cancelled_bit_by_bit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "AT_ONCE", 1)  # a smaller number, not another behaviour
    world.create()
    world.checked("j1", VIDEO, OTHER)
    world.listed()
    assert cancel(world) == []
    (end,) = wishes.cancel_more(world.rows, world.rows.jobs["j1"], NOW)
    assert isinstance(end[0], e.JobCancelled)


def test_pause_holds_the_queue_and_resume_lets_it_go(world: World) -> None:
    world.queued()
    world.step(e.JobPauseRequested(job_id="j1"))
    assert dispatches.dispatch(world.rows, "j1", VIDEO, NOW) == []
    world.step(e.JobResumeRequested(job_id="j1"))
    assert world.dispatch().job_id == "j1"


def test_retry_tries_just_the_gaps(world: World) -> None:
    world.create()
    world.checked("j1", VIDEO, OTHER)
    world.listed()
    world.archived(world.dispatch(VIDEO))
    first = world.dispatch(OTHER)
    (failed,) = world.failed(first, FailureKind.GONE)
    world.plan_answers(failed)
    assert world.rows.jobs["j1"].status is JobStatus.COMPLETED
    world.step(e.JobRetryRequested(job_id="j1"))
    job = world.rows.jobs["j1"]
    assert (job.status, job.open, job.archived, job.unavailable) == (JobStatus.RUNNING, 1, 1, 0)
    second = world.dispatch(OTHER)
    assert second.dispatch_id != first.dispatch_id
    assert world.rows.items["j1", OTHER].attempts == 0
    (done,) = world.archived(second)
    assert isinstance(done, e.JobCompleted)
    assert done.job.counts.archived == 2


def test_retry_lists_again_what_could_not_be_listed(world: World) -> None:
    world.create(targets=2)
    error = ErrorDetail(code=ErrorCode.NETWORK_TIMEOUT, message="503")
    for index in (0, 1):
        world.step(
            e.ListingFailed(job_id="j1", root=ROOT, target_index=index, listing=index + 1, error=error, final=True)
        )
    queued = world.step(e.JobRetryRequested(job_id="j1"))
    assert [event.listing for event in queued if isinstance(event, e.JobQueued)] == [3, 4]
    assert world.rows.jobs["j1"].status is JobStatus.QUEUED


def test_retry_of_a_rejected_job_does_nothing(world: World) -> None:
    error = ErrorDetail(code=ErrorCode.INVALID_REQUEST, message="no")
    machine.create(world.rows, e.JobCreated(job_id="j1", targets=("x",)), "t", error, NOW)
    assert world.step(e.JobRetryRequested(job_id="j1")) == []
    assert world.rows.jobs["j1"].status is JobStatus.FAILED


@pytest.mark.parametrize("first", ["metadata.archived", "download.completed"])
def test_who_joins_a_fetch_of_metadata_gets_the_media_next(world: World, first: str) -> None:
    """Storage says nothing to a delivery without files: nobody may wait for it."""
    event = e.JobCreated(job_id="j1", targets=("x",), type=JobType.METADATA_ONLY)
    machine.create(world.rows, event, "t", Accepted((Target(kind=TargetKind.VIDEOS, video_ids=(VIDEO,)),), ROOT), NOW)
    world.checked("j1")
    world.listed("j1")
    request = world.dispatch()
    world.queued("j2")
    archived = e.MetadataArchived(
        job_id="j1", root=ROOT, video_id=VIDEO, source_name="yt_dlp", path="/m.json", dispatch_id=request.dispatch_id
    )
    delivered = e.DownloadCompleted(
        **_names(request), wanted=request.wanted, directory="/data/tmp/x.part", files=(),
        metadata=VideoMetadata(video_id=VIDEO, title="t"),
        provenance=Provenance(source_url="https://x", started_at=NOW, finished_at=NOW),
    )  # fmt: skip
    for fact in (archived, delivered) if first == "metadata.archived" else (delivered, archived):
        world.step(fact)
    assert world.rows.jobs["j1"].status is JobStatus.COMPLETED
    second = world.dispatch()
    assert (second.job_id, second.wanted.media) == ("j2", True)


def test_an_event_that_no_broker_takes_ends_what_it_was_about(world: World) -> None:
    (queued,) = world.create()
    envelope = Envelope.around(queued, source="jobs/1", trace_id="t")
    (failed,) = world.step(unsendable(envelope, "too large"))
    assert isinstance(failed, e.JobFailed)
    assert failed.job.error is not None
    assert failed.job.error.code is ErrorCode.INTERNAL_ERROR
