"""The state machine of jobs: the commands cancel, pause, resume, retry and priority."""

from datetime import timedelta

import pytest

from bus.message import Event
from services.common import events as e
from services.common.domain.archive import Held, KnownGone, Provenance
from services.common.domain.failures import Failure, FailureKind
from services.common.domain.jobs import ItemStatus
from services.common.domain.videos import Target, TargetKind, VideoMetadata
from services.common.models import ErrorCode, ErrorDetail, JobStatus, JobType
from services.jobs.domain import commands, dispatches, state_machine
from services.jobs.domain.accounting import set_retrying
from services.jobs.domain.rows import JobRow
from services.jobs.domain.state_machine import Accepted, Rejected
from tests.fixtures.jobs_world import NOW, OTHER, ROOT, VIDEO, World, completed, request_ids


def cancel(world: World, job_id: str = "j1", video_id: str | None = None) -> list[Event]:
    return world.step(e.JobCancelRequested(job_id=job_id, video_id=video_id))


def test_cancelling_a_waiting_job_ends_it_at_once(world: World) -> None:
    world.queued()
    (end,) = cancel(world)
    assert isinstance(end, e.JobCancelled)
    assert end.job.counts.cancelled == 1
    assert world.rows.fetches == {}
    assert cancel(world) == []


def test_cancelling_a_running_download_ends_the_job_when_the_worker_confirms(world: World) -> None:
    world.queued()
    request = world.dispatch()
    (request_to_cancel,) = cancel(world)
    assert isinstance(request_to_cancel, e.DownloadCancelRequested)
    assert request_to_cancel.dispatch_id == request.dispatch_id
    assert not world.rows.jobs["j1"].status.ended
    fetch = world.rows.fetches[VIDEO]
    dispatches.claimed(world.rows, fetch, "worker", world.now)  # the answer was lost, and the worker claims again
    assert dispatches.cancel_requests(world.rows, fetch) == [(request_to_cancel, "trace-j1")]
    (end,) = world.step(e.DownloadCancelled(**request_ids(request)))
    assert isinstance(end, e.JobCancelled)
    assert world.rows.fetches == {}


@pytest.mark.parametrize("fact", ["archived", "failed", "deferred"])
def test_the_end_of_a_download_that_races_with_a_cancel(world: World, fact: str) -> None:
    """A completed download is archived; a failed or deferred one is not retried."""
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
        (end,) = world.step(e.DownloadDeferred(**request_ids(request), reason="shutdown"))
    assert isinstance(end, e.JobCancelled)
    assert world.status() is ItemStatus.CANCELLED


@pytest.mark.parametrize("kind", [None, FailureKind.PASSING, FailureKind.LOCAL])
def test_cancelling_a_video_that_storage_is_committing(world: World, kind: FailureKind | None) -> None:
    """The video is archived; if that fails, it is not retried."""
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
        world.step(e.StorageFailed(**request_ids(request), failure=failure))
        assert world.status() is ItemStatus.CANCELLED
        assert world.rows.fetches == {}


def test_cancelling_a_video_that_is_being_added_to_the_work_plan_has_no_effect(world: World) -> None:
    world.queued()
    (failed,) = world.failed(world.dispatch(), FailureKind.GONE)
    assert world.step(e.JobCancelRequested(job_id="j1", video_id=VIDEO)) == []
    assert world.status() is ItemStatus.CLOSING
    world.answer_work_plan(failed)
    assert world.status() is ItemStatus.UNAVAILABLE


def test_the_priority_of_an_ended_job_cannot_be_changed(world: World) -> None:
    world.queued()
    before = world.rows.jobs["j1"].revision
    world.step(e.JobPriorityRequested(job_id="j1", priority=9))
    job = world.rows.jobs["j1"]
    assert (job.priority, job.revision) == (9, before + 1)
    cancel(world)
    world.step(e.JobPriorityRequested(job_id="j1", priority=0))
    assert job.priority == 9


def test_cancelling_a_job_keeps_a_fetch_that_another_job_waits_for(world: World) -> None:
    world.queued("j1")
    world.queued("j2")
    request = world.dispatch()
    (end,) = cancel(world, "j1")
    assert isinstance(end, e.JobCancelled)
    (done,) = world.archived(request)
    assert isinstance(done, e.JobCompleted)
    assert done.job_id == "j2"


def test_a_job_that_joins_a_fetch_during_its_cancellation_gets_a_new_dispatch(world: World) -> None:
    world.queued("j1")
    request = world.dispatch()
    cancel(world, "j1")
    world.queued("j2")
    world.step(e.DownloadCancelled(**request_ids(request)))
    assert world.rows.jobs["j1"].status is JobStatus.CANCELLED
    assert world.dispatch().job_id == "j2"


def test_a_download_stopped_by_hand_is_cancelled_for_all_waiting_jobs(world: World) -> None:
    """Even for a job whose request the dispatch did not cover; other videos of that job continue."""
    world.queued("j1")
    world.create("j2", root="/elsewhere")
    world.checked("j2", VIDEO, OTHER)
    world.listed("j2")
    request = world.dispatch()
    assert request.job_id == "j1"
    facts = world.step(e.DownloadCancelled(**request_ids(request), by_hand=True))
    assert [fact.job_id for fact in facts if isinstance(fact, e.JobCompleted)] == ["j1"]
    assert world.status("j1") is world.status("j2") is ItemStatus.CANCELLED
    assert world.rows.items["j2", OTHER].status is ItemStatus.WAITING
    assert VIDEO not in world.rows.fetches


def test_a_stop_by_hand_of_a_released_dispatch_cancels_its_successor(world: World) -> None:
    world.queued("j1")
    first = world.dispatch()
    world.step(e.DownloadDeferred(**request_ids(first), reason="gone"))
    second = world.dispatch()
    (request_to_cancel,) = world.step(e.DownloadCancelled(**request_ids(first), by_hand=True))
    assert isinstance(request_to_cancel, e.DownloadCancelRequested)
    assert request_to_cancel.dispatch_id == second.dispatch_id
    (end,) = world.step(e.DownloadCancelled(**request_ids(second)))
    assert isinstance(end, e.JobCompleted)
    assert (end.job.counts.cancelled, world.status()) == (1, ItemStatus.CANCELLED)
    assert world.step(e.DownloadCancelled(**request_ids(second), by_hand=True)) == []  # no job waits any more


def test_pages_that_arrive_after_the_job_was_cancelled_add_no_items(world: World) -> None:
    world.create()
    (end,) = cancel(world)
    assert isinstance(end, e.JobCancelled)
    world.checked()
    world.listed()
    assert world.rows.items == {}


def test_pages_that_arrive_while_a_download_is_being_cancelled_add_no_items(world: World) -> None:
    world.queued()
    world.dispatch()
    cancel(world)
    assert world.checked("j1", "late-000001", key="p2") == []
    assert [item.video_id for item in world.rows.items.values()] == [VIDEO]


def test_cancelling_one_video_does_not_affect_the_others(world: World) -> None:
    world.create()
    world.checked("j1", VIDEO, OTHER)
    world.listed()
    assert cancel(world, "j1", OTHER) == []
    (done,) = world.archived(world.dispatch())
    assert isinstance(done, e.JobCompleted)
    assert (done.job.counts.archived, done.job.counts.cancelled) == (1, 1)


def test_cancelling_before_a_retry_requests_removal_of_the_partial_download(world: World) -> None:
    world.queued()
    request = world.dispatch()
    world.failed(request, FailureKind.PASSING)
    requests = [event for event in cancel(world) if isinstance(event, e.DownloadCancelRequested)]
    assert [event.dispatch_id for event in requests] == [request.dispatch_id]


def test_a_large_job_is_cancelled_in_batches(world: World) -> None:
    world.create()
    world.checked("j1", *(f"video{number:06}" for number in range(commands.BATCH + 1)))
    world.listed()
    assert cancel(world) == []
    (end,) = commands.cancel_more(world.rows, world.rows.jobs["j1"], NOW)
    assert isinstance(end[0], e.JobCancelled)


def test_a_paused_job_is_not_dispatched_until_it_is_resumed(world: World) -> None:
    world.queued()
    world.step(e.JobPauseRequested(job_id="j1"))
    assert dispatches.dispatch(world.rows, "j1", VIDEO, NOW) == []
    world.step(e.JobResumeRequested(job_id="j1"))
    assert world.dispatch().job_id == "j1"


def test_a_retry_fetches_only_the_missing_videos(world: World) -> None:
    world.create()
    world.checked("j1", VIDEO, OTHER)
    world.listed()
    world.archived(world.dispatch(VIDEO))
    first = world.dispatch(OTHER)
    (failed,) = world.failed(first, FailureKind.GONE)
    world.answer_work_plan(failed)
    assert world.rows.jobs["j1"].status is JobStatus.COMPLETED
    (page,) = world.step(e.JobRetryRequested(job_id="j1"))
    assert isinstance(page, e.ListingPageFetched)
    assert ([entry.video_id for entry in page.entries], page.playlist_id) == ([OTHER], None)
    assert world.status(video=OTHER) is ItemStatus.LISTED
    world.checked("j1", OTHER, key=page.page_key)
    job = world.rows.jobs["j1"]
    assert (job.status, job.open, job.archived, job.unavailable) == (JobStatus.RUNNING, 1, 1, 0)
    second = world.dispatch(OTHER)
    assert second.dispatch_id != first.dispatch_id
    assert world.rows.items["j1", OTHER].attempts == 0
    (done,) = world.archived(second)
    assert isinstance(done, e.JobCompleted)
    assert done.job.counts.archived == 2


def test_a_retried_video_does_not_end_by_the_work_plan_update_of_the_first_try(world: World) -> None:
    world.queued()
    (first,) = world.failed(world.dispatch(), FailureKind.GONE)
    world.answer_work_plan(first)
    assert world.status() is ItemStatus.UNAVAILABLE
    world.step(e.JobRetryRequested(job_id="j1"))
    world.checked("j1", held=Held(video_id=VIDEO, known_gone=KnownGone(reason="private", at=NOW)))
    (second,) = world.failed(world.dispatch(), FailureKind.GONE)
    world.answer_work_plan(first)  # redelivered
    assert world.status() is ItemStatus.CLOSING
    world.answer_work_plan(second)
    assert world.status() is ItemStatus.UNAVAILABLE


def test_a_retry_skips_a_video_that_another_job_archived_meanwhile(world: World) -> None:
    world.queued()
    (failed,) = world.failed(world.dispatch(), FailureKind.GONE)
    world.answer_work_plan(failed)
    world.step(e.JobRetryRequested(job_id="j1"))
    complete = Held(video_id=VIDEO, qualities=("best",), thumbnail=True, metadata=True, info=True)
    (done,) = world.checked("j1", held=complete)
    assert isinstance(done, e.JobCompleted)
    assert (world.status(), done.job.counts.skipped) == (ItemStatus.SKIPPED, 1)


def test_a_retry_of_a_forced_job_fetches_only_the_missing_files(world: World) -> None:
    world.queued(skip_existing=False)
    request = world.dispatch()
    world.archived(request, thumbnail=False)
    for _ in range(2):
        failed = world.failed(world.dispatch(), FailureKind.PASSING)
    world.answer_work_plan(failed[0])
    assert world.step(e.JobRetryRequested(job_id="j1")) == []
    again = world.dispatch()
    assert (again.wanted.media, again.wanted.thumbnail) == (False, True)


def test_a_retry_without_missing_videos_completes_the_job_again(world: World) -> None:
    """A client that follows the job, for example to get a missing playlist file written, waits for the end."""
    world.queued()
    world.archived(world.dispatch())
    before = world.rows.jobs["j1"].revision
    assert world.step(e.JobRetryRequested(job_id="j1")) == []
    assert world.rows.jobs["j1"].status is JobStatus.COMPLETED
    assert world.rows.jobs["j1"].revision > before


def test_a_retry_of_many_videos_is_split_into_pages(world: World) -> None:
    videos = [f"video{n:06d}" for n in range(150)]
    world.create()
    world.checked("j1", *videos)
    world.listed()
    world.step(e.JobCancelRequested(job_id="j1"))
    pages = [event for event in world.step(e.JobRetryRequested(job_id="j1")) if isinstance(event, e.ListingPageFetched)]
    assert [len(page.entries) for page in pages] == [100, 50]
    assert len({page.page_key for page in pages}) == 2


def test_a_retry_repeats_failed_listings(world: World) -> None:
    world.create(targets=2)
    error = ErrorDetail(code=ErrorCode.NETWORK_TIMEOUT, message="503")
    for index in (0, 1):
        world.step(
            e.ListingFailed(job_id="j1", root=ROOT, target_index=index, listing=index + 1, error=error, final=True)
        )
    queued = world.step(e.JobRetryRequested(job_id="j1"))
    assert [event.listing for event in queued if isinstance(event, e.JobQueued)] == [3, 4]
    assert [listing.attempts for listing in world.rows.listings.values()] == [0, 0]
    assert world.rows.jobs["j1"].status is JobStatus.QUEUED


def test_a_retry_of_a_rejected_job_has_no_effect(world: World) -> None:
    error = ErrorDetail(code=ErrorCode.INVALID_REQUEST, message="no")
    state_machine.create(world.rows, e.JobCreated(job_id="j1", targets=("x",)), "t", Rejected(error, ""), NOW)
    assert world.step(e.JobRetryRequested(job_id="j1")) == []
    assert world.rows.jobs["j1"].status is JobStatus.FAILED


@pytest.mark.parametrize("first", ["metadata.archived", "download.completed"])
def test_a_job_that_joins_a_metadata_only_fetch_gets_its_media_by_a_second_dispatch(world: World, first: str) -> None:
    """Storage publishes no event for a delivery without files, so no item may wait for one."""
    event = e.JobCreated(job_id="j1", targets=("x",), type=JobType.METADATA_ONLY)
    state_machine.create(
        world.rows, event, "t", Accepted((Target(kind=TargetKind.VIDEOS, video_ids=(VIDEO,)),), ROOT, ""), NOW
    )
    world.checked("j1")
    world.listed("j1")
    request = world.dispatch()
    world.queued("j2")
    archived = e.MetadataArchived(
        job_id="j1", root=ROOT, video_id=VIDEO, source_name="yt_dlp", path="/m.json", dispatch_id=request.dispatch_id
    )
    delivered = e.DownloadCompleted(
        **request_ids(request), wanted=request.wanted, directory="/data/tmp/x.part", files=(),
        metadata=VideoMetadata(video_id=VIDEO, title="t"),
        provenance=Provenance(source_url="https://x", started_at=NOW, finished_at=NOW),
    )  # fmt: skip
    for fact in (archived, delivered) if first == "metadata.archived" else (delivered, archived):
        world.step(fact)
    assert world.rows.jobs["j1"].status is JobStatus.COMPLETED
    second = world.dispatch()
    assert (second.job_id, second.wanted.media) == ("j2", True)


# --- the same request again -----------------------------------------------------------------------------------------


def waiting_job(world: World, *, cut_short: bool = False) -> JobRow:
    """Return a job that was listed, and only waits for a scheduled retry."""
    world.create()
    world.checked()
    end = e.ListingCompleted(
        job_id="j1", root=ROOT, target_index=0, listing=1, page_keys=("p1",), total=1, announced=2, cut_short=cut_short
    )
    world.step(end)
    world.failed(world.dispatch(), FailureKind.NOT_YET, retry_after=NOW + timedelta(hours=1))
    job = world.rows.jobs["j1"]
    set_retrying(job, 1, NOW + timedelta(hours=1), NOW)
    return job


def send_again(world: World) -> list[Event]:
    return world.apply(e.JobCreated(job_id="j1", targets=("x",)))


def test_a_job_that_only_waits_is_listed_again(world: World) -> None:
    job = waiting_job(world)
    (queued,) = send_again(world)
    assert isinstance(queued, e.JobQueued)
    assert (queued.listing, queued.again, queued.attempts, queued.cursor) == (2, True, 0, None)
    assert job.listings_open == 1
    assert (job.status, job.retry_at) == (JobStatus.RUNNING, None), "nobody takes it for a job that only waits"


def test_a_retry_ends_the_waiting_of_a_job_with_failures(world: World) -> None:
    world.create()
    world.checked("j1", VIDEO, OTHER)
    world.listed()
    (failed,) = world.failed(world.dispatch(OTHER), FailureKind.GONE)
    world.answer_work_plan(failed)
    world.failed(world.dispatch(), FailureKind.NOT_YET, retry_after=NOW + timedelta(hours=1))
    job = world.rows.jobs["j1"]
    set_retrying(job, 1, NOW + timedelta(hours=1), NOW)
    assert job.status is JobStatus.RETRYING
    world.step(e.JobRetryRequested(job_id="j1"))
    assert (job.status, job.retry_at) == (JobStatus.RUNNING, None)


def test_a_list_that_is_whole_now_has_no_error_any_more(world: World) -> None:
    job = waiting_job(world, cut_short=True)
    assert job.error is not None
    send_again(world)
    assert job.error is None


@pytest.mark.parametrize("state", ["running", "cancelling", "being listed"])
def test_a_job_with_something_else_to_do_is_not_listed_again(world: World, state: str) -> None:
    """Its revision changes, so that a client that sent the request again knows that it was received."""
    job = waiting_job(world)
    if state == "running":
        job.status = JobStatus.RUNNING
    elif state == "cancelling":
        job.cancelling = True
    else:
        send_again(world)
        job.status = JobStatus.RETRYING
    before = job.revision
    assert send_again(world) == []
    assert job.revision == before + 1


def test_an_ended_job_is_not_changed(world: World) -> None:
    job = waiting_job(world)
    cancel(world)
    assert job.status is JobStatus.CANCELLED
    before = job.revision
    assert send_again(world) == []
    assert job.revision == before
