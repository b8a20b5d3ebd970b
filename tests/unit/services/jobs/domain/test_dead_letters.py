"""The state machine of jobs: dead letters and unsendable events end the items that waited for them."""

import pytest

from bus.message import Envelope, Event
from services.common import events as e
from services.common.domain.failures import FailureKind
from services.common.domain.jobs import ItemStatus
from services.common.domain.videos import Entry
from services.common.models import ErrorCode, JobOptions, JobType
from services.jobs.domain import state_machine
from services.jobs.domain.dead_letters import unsendable
from services.jobs.domain.rows import ListingState
from tests.fixtures.jobs_world import NOW, OTHER, ROOT, VIDEO, World


def test_a_dead_letter_of_a_delivery_fails_its_video_with_e999(world: World) -> None:
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


def dead_letter_of(type: str, consumer: str, **about: object) -> e.DeadLettered:
    videos = (about["video_id"],) if "video_id" in about else ()
    fields = {"type": type, "consumer": consumer, "sequence": 1, "error": "KeyError", "payload": "", "job_id": "j1"}
    return e.DeadLettered.model_validate(fields | {"video_ids": videos} | about)


@pytest.mark.parametrize(
    "types",
    [
        ("metadata.fetched", "download.completed", "video.failed"),
        ("download.completed", "metadata.fetched", "video.failed"),
        ("metadata.fetched", "video.failed", "download.completed"),
        ("download.completed", "video.failed", "metadata.fetched"),
    ],
)
def test_dead_letters_of_one_delivery_end_the_item_the_same_in_any_order(world: World, types: tuple[str, ...]) -> None:
    """Storage handles both messages of a delivery concurrently; the first dead letter requests the plan entry."""
    world.queued()
    dispatch_id = world.dispatch().dispatch_id
    published: list[Event] = []
    for type in types:
        about = {} if type == "video.failed" else {"dispatch_id": dispatch_id}
        published += world.step(dead_letter_of(type, "storage", video_id=VIDEO, **about))
    assert [event.subject for event in published] == ["video.failed", "job.completed"]
    item = world.rows.items["j1", VIDEO]
    assert (item.status, item.error_code) == (ItemStatus.FAILED, ErrorCode.INTERNAL_ERROR)
    assert item.message == "video.failed could not be handled: KeyError"
    assert len(item.errors) == 1


@pytest.mark.parametrize(
    ("type", "consumer"),
    [
        ("listing.page_fetched", "storage-listing_page_fetched"),
        ("archive.checked", "jobs-inbox"),
    ],
)
def test_a_dead_letter_of_a_page_fails_the_items_that_wait_for_its_archive_check(
    world: World, type: str, consumer: str
) -> None:
    world.create()
    entries = tuple(Entry(video_id=video, position=n) for n, video in enumerate((VIDEO, OTHER)))
    world.step(
        e.ListingPageFetched(
            job_id="j1", root=ROOT, type=JobType.VIDEO_DOWNLOAD, options=JobOptions(), target_index=0, listing=1,
            page_key="p1", entries=entries,
        )
    )  # fmt: skip
    failed = world.step(dead_letter_of(type, consumer, video_ids=(VIDEO,), target_index=0))
    assert [event.video_id for event in failed if isinstance(event, e.VideoFailed)] == [VIDEO]
    assert world.rows.items["j1", VIDEO].error_code is ErrorCode.INTERNAL_ERROR
    assert world.rows.items["j1", OTHER].status is ItemStatus.LISTED
    state = world.rows.listings["j1", 0].state
    assert state is (ListingState.FAILED if consumer == "jobs-inbox" else ListingState.QUEUED)


@pytest.mark.parametrize("type", ["video.failed", "work_plan.updated"])
def test_a_dead_letter_of_a_work_plan_message_ends_its_item(world: World, type: str) -> None:
    world.queued()
    world.failed(world.dispatch(), FailureKind.GONE)
    (ended,) = world.step(dead_letter_of(type, "storage-video_failed", video_id=VIDEO))
    assert isinstance(ended, e.JobCompleted)
    assert world.rows.items["j1", VIDEO].error_code is ErrorCode.INTERNAL_ERROR


@pytest.mark.parametrize("consumer", ["logging-events", "download-video_archived"])
def test_a_dead_letter_of_an_unrelated_consumer_changes_nothing(world: World, consumer: str) -> None:
    world.queued()
    request = world.dispatch()
    about = {"video_id": VIDEO, "dispatch_id": request.dispatch_id, "target_index": 0}
    before = repr(world.rows)
    for type in ("job.queued", "video.archived", "listing.page_fetched"):
        assert world.step(dead_letter_of(type, consumer, **about)) == []
    assert repr(world.rows) == before


def test_a_dead_letter_of_a_playlist_file_is_an_error_of_the_job_but_ends_no_item(world: World) -> None:
    world.queued()
    assert world.step(dead_letter_of("playlist.fetched", "storage-playlist_fetched", target_index=0)) == []
    assert world.rows.jobs["j1"].error is not None
    assert world.rows.items["j1", VIDEO].status is ItemStatus.WAITING


@pytest.mark.parametrize(("unreadable", "code"), [(True, ErrorCode.INVALID_REQUEST), (False, ErrorCode.INTERNAL_ERROR)])
def test_a_dead_letter_of_job_created_is_stored_as_a_failed_job(
    world: World, unreadable: bool, code: ErrorCode
) -> None:
    dead_letter = dead_letter_of("job.created", "jobs-inbox", unreadable=unreadable)
    ((failed, trace_id),) = state_machine.refuse(world.rows, dead_letter, "trace", NOW)
    assert isinstance(failed, e.JobFailed)
    assert failed.job.error is not None
    assert (failed.job.error.code, trace_id) == (code, "trace")
    assert state_machine.refuse(world.rows, dead_letter, "trace", NOW) == []


def test_other_dead_letters_create_no_job(world: World) -> None:
    for dead_letter in (
        dead_letter_of("job.created", "logging-events"),
        dead_letter_of("job.queued", "jobs-inbox"),
        dead_letter_of("job.created", "jobs-inbox", job_id="../x"),
        dead_letter_of("job.created", "jobs-inbox", job_id=None),
    ):
        assert state_machine.refuse(world.rows, dead_letter, "trace", NOW) == []
    assert world.rows.jobs == {}


def test_an_event_that_the_broker_refuses_fails_its_job(world: World) -> None:
    (queued,) = world.create()
    envelope = Envelope.around(queued, source="jobs/1", trace_id="t")
    (failed,) = world.step(unsendable(envelope, "too large"))
    assert isinstance(failed, e.JobFailed)
    assert failed.job.error is not None
    assert failed.job.error.code is ErrorCode.INTERNAL_ERROR
