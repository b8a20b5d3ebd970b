"""The state machine of jobs: listings and archive checks."""

from datetime import timedelta

import pytest

from services.common import events as e
from services.common.domain.archive import Held, KnownGone
from services.common.domain.jobs import ItemStatus
from services.common.domain.videos import Target, TargetKind
from services.common.models import ErrorCode, ErrorDetail, JobOptions, JobStatus
from services.jobs.domain import failures, listings, state_machine
from services.jobs.domain.state_machine import Accepted, Rejected
from services.jobs.domain.views import job_view
from tests.fixtures.jobs_world import NOW, OTHER, ROOT, VIDEO, World


def test_each_target_has_its_own_listing(world: World) -> None:
    queued = world.create(targets=2)
    assert [(event.target_index, event.listing) for event in queued if isinstance(event, e.JobQueued)] == [
        (0, 1),
        (1, 2),
    ]
    assert world.rows.jobs["j1"].status is JobStatus.QUEUED


def test_a_rejected_job_is_stored_as_failed_without_its_api_key(world: World) -> None:
    event = e.JobCreated(job_id="j1", targets=("x",), options=JobOptions(api_key="secret"))
    error = ErrorDetail(code=ErrorCode.INVALID_REQUEST, message="no")
    ((failed, trace),) = state_machine.create(world.rows, event, "t", Rejected(error, ""), NOW)
    assert isinstance(failed, e.JobFailed)
    assert trace == "t"
    assert failed.job.error == error
    assert failed.job.options.api_key is None


def test_the_view_of_a_job_contains_at_most_100_targets(world: World) -> None:
    event = e.JobCreated(job_id="j1", targets=tuple(f"video{n:06d}" for n in range(5_000)))
    accepted = Accepted((Target(kind=TargetKind.VIDEOS, video_ids=(VIDEO,)),), ROOT, "")
    state_machine.create(world.rows, event, "t", accepted, NOW)
    view = job_view(world.rows.jobs["j1"])
    assert (len(view.targets), view.target_count) == (100, 5_000)


def test_an_empty_listing_ends_the_job_at_once(world: World) -> None:
    world.create()
    (done,) = world.step(e.ListingCompleted(job_id="j1", root=ROOT, target_index=0, listing=1, page_keys=(), total=0))
    assert isinstance(done, e.JobCompleted)


@pytest.mark.parametrize(
    ("total", "announced", "cut_short", "noted"),
    [
        (100, 130, True, "error: run the command again later"),
        (128, 130, False, "note: hidden"),
        (20_000, 45_000, False, "note: newest 20,000 uploads"),
        (130, 130, False, ""),
        (131, 130, False, ""),
        (5, None, False, ""),
    ],
)
def test_a_list_that_is_shorter_than_it_announces_is_noted(
    world: World, total: int, announced: int | None, cut_short: bool, noted: str
) -> None:
    world.create()
    end = e.ListingCompleted(
        job_id="j1", root=ROOT, target_index=0, listing=1, page_keys=(), total=total, title="Talks",
        announced=announced, cut_short=cut_short,
    )  # fmt: skip
    (done,) = world.step(end)
    assert isinstance(done, e.JobCompleted)
    kind, _, words = noted.partition(": ")
    notes, error = done.job.notes, done.job.error
    assert (bool(notes), error is not None) == (kind == "note", kind == "error")
    text = "".join(notes) + (error.message if error else "")
    assert words in text
    assert not words or f"Talks: YouTube listed {total:,} of the {announced:,} entries" in text


def test_each_attempt_of_a_listing_names_the_failed_ones(world: World) -> None:
    world.create()
    error = ErrorDetail(code=ErrorCode.SERVICE_UNAVAILABLE, message="cut short")
    world.step(e.ListingFailed(job_id="j1", root=ROOT, target_index=0, listing=1, error=error, cursor="c"))
    listing = world.rows.listing("j1", 0)
    assert listing is not None
    ((queued, _trace),) = listings.queue_listing(world.rows.jobs["j1"], listing, NOW)
    assert isinstance(queued, e.JobQueued)
    assert (queued.attempts, queued.cursor) == (1, "c")


def test_a_job_does_not_end_before_every_page_of_its_listing_was_checked(world: World) -> None:
    world.create()
    assert world.listed("j1", "p1", "p2") == []
    held = Held(video_id=VIDEO, qualities=("1080p",), thumbnail=True, metadata=True)
    assert world.checked(held=held, key="p1") == []
    (done,) = world.checked("j1", OTHER, held=held, key="p2")
    assert isinstance(done, e.JobCompleted)
    assert done.job.counts.skipped == 2


def test_a_job_fails_only_if_the_listings_of_all_targets_failed(world: World) -> None:
    world.create(targets=2)
    error = ErrorDetail(code=ErrorCode.INVALID_REQUEST, message="no such playlist")
    world.step(e.ListingFailed(job_id="j1", root=ROOT, target_index=0, listing=1, error=error, final=True))
    assert world.rows.jobs["j1"].status is JobStatus.QUEUED
    (end,) = world.step(e.ListingFailed(job_id="j1", root=ROOT, target_index=1, listing=2, error=error, final=True))
    assert isinstance(end, e.JobFailed)


def test_a_listing_resumes_from_its_cursor_at_its_retry_time(world: World) -> None:
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


@pytest.mark.claim("7.3", "7.4", "16.3")
def test_a_listing_has_at_most_three_attempts(world: World) -> None:
    world.create()
    error = ErrorDetail(code=ErrorCode.NETWORK_TIMEOUT, message="503")

    def failed(number: int) -> e.ListingFailed:
        return e.ListingFailed(job_id="j1", root=ROOT, target_index=0, listing=number, error=error)

    for number, wait in ((1, 2), (2, 4)):
        assert world.step(failed(number)) == []
        job, listing = world.rows.jobs["j1"], world.rows.listings["j1", 0]
        assert listing.retry_at == world.now + timedelta(seconds=wait)
        world.now += timedelta(seconds=wait)
        listings.queue_listing(job, listing, world.now)
    (end,) = world.step(failed(3))
    assert isinstance(end, e.JobFailed)


@pytest.mark.parametrize(
    ("held", "options", "status"),
    [
        (Held(video_id=VIDEO), {}, ItemStatus.WAITING),
        (Held(video_id=VIDEO, qualities=("1080p",), thumbnail=True, metadata=True), {}, ItemStatus.SKIPPED),
        (Held(video_id=VIDEO, qualities=("best",), absent=("thumbnail",), metadata=True), {}, ItemStatus.SKIPPED),
        (Held(video_id=VIDEO, qualities=("720p",), thumbnail=True, metadata=True), {}, ItemStatus.WAITING),
        (Held(video_id=VIDEO, qualities=("1080p",), thumbnail=True, metadata=True, info=False), {}, ItemStatus.WAITING),
        (
            Held(video_id=VIDEO, qualities=("1080p",), thumbnail=True, info=False),
            {"include_metadata": False},
            ItemStatus.SKIPPED,
        ),
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
def test_the_archive_check_decides_the_status_of_an_item(
    world: World, held: Held, options: dict[str, object], status: ItemStatus
) -> None:
    world.create(**options)  # type: ignore[arg-type]  # options as keywords
    world.checked(held=held, marked="private")
    assert world.status() is status


@pytest.mark.parametrize(
    ("job_id", "age_days", "recheck_days", "status"),
    [
        ("j1", 1, 2, ItemStatus.CLOSING),
        ("j1", 2, 2, ItemStatus.WAITING),
        ("j1", 0.5, 0.25, ItemStatus.WAITING),
        ("j1", 9_000, 0, ItemStatus.CLOSING),  # 0: never re-checked automatically
        ("recheck-1", 1, 2, ItemStatus.WAITING),
        ("recheck-1", 1, 0, ItemStatus.WAITING),
    ],
)
def test_a_gone_video_is_tried_again_after_the_recheck_interval(
    world: World, job_id: str, age_days: float, recheck_days: float, status: ItemStatus
) -> None:
    world.recheck_after = timedelta(days=recheck_days)
    world.create(job_id)
    gone = KnownGone(reason="copyright", at=NOW - timedelta(days=age_days))
    world.checked(job_id, held=Held(video_id=VIDEO, known_gone=gone))
    assert world.rows.items[job_id, VIDEO].status is status


def test_a_known_gone_video_keeps_the_time_of_its_detection(world: World) -> None:
    """Otherwise every listing of the playlist would restart the re-check interval."""
    found_at = NOW - timedelta(days=3)
    world.create()
    (failed,) = world.checked(
        held=Held(video_id=VIDEO, known_gone=KnownGone(reason="private", at=found_at)), marked="x"
    )
    assert isinstance(failed, e.VideoFailed)
    assert failed.unavailable is not None
    assert failed.unavailable.detected_at == found_at
    again, _trace = failures.announce_failure(
        world.rows.jobs["j1"], world.rows.items["j1", VIDEO], NOW + timedelta(hours=1)
    )
    assert isinstance(again, e.VideoFailed)
    assert again.unavailable is not None
    assert (again.unavailable.detected_at, again.number) == (found_at, 2)


def test_a_known_private_video_that_is_no_longer_marked_private_is_tried_again(world: World) -> None:
    world.create()
    world.checked(held=Held(video_id=VIDEO, known_gone=KnownGone(reason="private", at=NOW)), marked=None)
    assert world.status() is ItemStatus.WAITING
