"""The state machine of jobs: items from dispatch to end. Listings, commands and dead letters: jobs/domain."""

from datetime import timedelta

import pytest

from bus.message import Event
from services.common import events as e
from services.common.domain.archive import FileFact, FileRole, Held, KnownGone
from services.common.domain.failures import Failure, FailureKind
from services.common.domain.jobs import ItemStatus
from services.common.domain.videos import Entry, Target, TargetKind, Wanted
from services.common.models import ErrorCode, JobStatus, JobType
from services.jobs.domain import dispatches, state_machine
from services.jobs.domain.accounting import set_retrying
from services.jobs.domain.rows import FetchState
from services.jobs.domain.state_machine import Accepted
from tests.fixtures.jobs_world import NOW, OTHER, ROOT, VIDEO, World, completed, request_ids


def test_an_archived_video_ends_its_item_and_the_job(world: World) -> None:
    world.queued()
    request = world.dispatch()
    assert world.status() is ItemStatus.RUNNING
    (done,) = world.archived(request)
    assert isinstance(done, e.JobCompleted)
    assert world.rows.items["j1", VIDEO].result is not None
    assert world.rows.fetches == {}


def test_a_gone_video_has_one_attempt_and_ends_with_its_work_plan_entry(world: World) -> None:
    world.queued()
    (failed,) = world.failed(world.dispatch(), FailureKind.GONE)
    assert isinstance(failed, e.VideoFailed)
    assert failed.unavailable is not None
    assert failed.unavailable.reason == "private"
    assert world.rows.items["j1", VIDEO].attempts == 1
    assert not world.rows.jobs["j1"].status.ended
    (done,) = world.answer_work_plan(failed)
    assert isinstance(done, e.JobCompleted)
    assert done.job.counts.unavailable == 1
    assert done.job.work_plan == "/plans/x.json"


@pytest.mark.claim("7.3", "7.4", "16.3")
def test_a_video_has_at_most_three_attempts(world: World) -> None:
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
    ("kind", "fields"),
    [
        (FailureKind.NOT_YET, {"retry_after": NOW + timedelta(hours=3)}),
        (FailureKind.PASSING, {"gained_bytes": True}),
        (FailureKind.LOCAL, {"retry_after": NOW + timedelta(minutes=1)}),
    ],
)
def test_some_failures_do_not_count_as_attempts(world: World, kind: FailureKind, fields: dict[str, object]) -> None:
    world.queued()
    for _ in range(5):
        world.failed(world.dispatch(), kind, **fields)
    assert world.status() is ItemStatus.WAITING
    assert world.rows.items["j1", VIDEO].attempts == 0


def test_a_failed_download_has_its_size_and_the_time_to_repeat_it(world: World) -> None:
    world.queued()
    later = NOW + timedelta(hours=3)
    failed: list[Event] = []
    for size in (None, 700, None):
        about = {"kind": FailureKind.PASSING, "code": ErrorCode.NETWORK_TIMEOUT, "reason": "http_503"}
        failure = Failure.model_validate(about | {"message": "why", "retry_after": later})
        failed = world.step(e.DownloadFailed(**request_ids(world.dispatch()), failure=failure, file_size=size))
    (event,) = failed
    assert isinstance(event, e.VideoFailed)
    assert event.failed is not None
    assert (event.failed.file_size, event.failed.retry_after) == (700, later)


def test_a_video_that_could_not_be_archived_has_the_size_of_its_files(world: World) -> None:
    world.queued()
    failed: list[Event] = []
    for _ in range(3):
        request = world.dispatch()
        files = tuple(FileFact(name=f"{n}", role=FileRole.VIDEO, size=n, sha256="") for n in (30, 12))
        completed(world, request, files)
        failure = Failure(kind=FailureKind.LOCAL, code=ErrorCode.INTERNAL_ERROR, reason="bug", message="why")
        ids = request.model_dump(include={"job_id", "video_id", "root", "dispatch_id"})
        failed = world.step(e.StorageFailed(**ids, failure=failure))
    (event,) = failed
    assert isinstance(event, e.VideoFailed)
    assert event.failed is not None
    assert (event.failed.file_size, event.failed.retry_after) == (42, None)


@pytest.mark.parametrize("when", ["held before", "before the failure", "before the answer", "after the end"])
def test_a_failed_item_tells_that_its_metadata_are_saved(world: World, when: str) -> None:
    world.create()
    world.checked(held=Held(video_id=VIDEO, metadata=when == "held before"))
    request = world.dispatch()

    def archive_metadata(at: str) -> None:
        if when == at:
            ids = request.model_dump(include={"job_id", "video_id", "root", "dispatch_id"})
            world.step(e.MetadataArchived(**ids, source_name="yt_dlp", path="/x"))

    archive_metadata("before the failure")
    (failed,) = world.failed(request, FailureKind.GONE)
    archive_metadata("before the answer")
    world.answer_work_plan(failed)
    archive_metadata("after the end")
    result = world.rows.items["j1", VIDEO].result
    assert result is not None
    assert (result.status, result.metadata_saved, result.video_downloaded) == ("failed", True, False)


def test_metadata_of_another_root_are_not_those_of_the_item(world: World) -> None:
    world.queued()
    request = world.dispatch()
    world.step(e.MetadataArchived(job_id="j9", root="/elsewhere", video_id=VIDEO, source_name="yt_dlp", path="/x"))
    (failed,) = world.failed(request, FailureKind.GONE)
    world.answer_work_plan(failed)
    result = world.rows.items["j1", VIDEO].result
    assert result is not None
    assert result.metadata_saved is False


def test_two_jobs_with_the_same_video_share_one_fetch(world: World) -> None:
    world.queued("j1")
    world.queued("j2")
    ends = world.archived(world.dispatch())
    assert {event.job_id for event in ends if isinstance(event, e.JobCompleted)} == {"j1", "j2"}
    assert sum(isinstance(event, e.DownloadRequested) for event in world.out) == 1


def test_a_job_that_joins_a_running_fetch_and_wants_more_gets_another_dispatch(world: World) -> None:
    world.queued("j1", quality="720p")
    first = world.dispatch()
    world.queued("j2", quality="1080p")
    world.archived(first)
    assert world.rows.jobs["j1"].status is JobStatus.COMPLETED
    assert world.status("j2") is ItemStatus.WAITING
    second = world.dispatch()
    assert second.dispatch_id != first.dispatch_id
    assert second.wanted.quality == "1080p"


def test_a_missing_caption_is_fetched_without_the_media(world: World) -> None:
    held = Held(video_id=VIDEO, qualities=("1080p",), thumbnail=True, metadata=True, captions=("en",))
    world.create(include_captions=True, caption_languages=["en", "de"])
    world.checked(held=held)
    assert world.dispatch().wanted == Wanted(
        media=False, quality="1080p", thumbnail=False, captions=("de",), metadata=False
    )


def test_each_root_gets_its_own_dispatch(world: World) -> None:
    world.queued("j1")
    world.queued("j2", root="/elsewhere")
    world.archived(world.dispatch())
    assert world.status("j2") is ItemStatus.WAITING
    second = world.dispatch()
    assert second.root == "/elsewhere"
    world.archived(second)
    assert world.rows.jobs["j2"].status is JobStatus.COMPLETED


def test_a_failure_of_an_older_dispatch_is_ignored_but_its_archived_video_counts(world: World) -> None:
    world.queued()
    old = world.dispatch()
    dispatches.release(world.rows, world.rows.fetches[VIDEO], world.now)
    new = world.dispatch()
    assert new.dispatch_id != old.dispatch_id
    assert world.failed(old, FailureKind.GONE) == []
    assert world.status() is ItemStatus.RUNNING
    (done,) = world.archived(old)
    assert isinstance(done, e.JobCompleted)


def test_a_forced_job_does_not_use_a_fetch_that_was_already_running(world: World) -> None:
    world.queued("j1")
    first = world.dispatch()
    world.queued("j2", skip_existing=False)
    world.archived(first)
    assert world.status("j2") is ItemStatus.WAITING
    world.archived(world.dispatch())
    assert world.rows.jobs["j2"].status is JobStatus.COMPLETED


def test_captions_that_could_not_be_fetched_do_not_fail_the_video(world: World) -> None:
    world.queued(include_captions=True)
    (done,) = world.archived(world.dispatch(), captions=())
    assert isinstance(done, e.JobCompleted)
    assert done.job.counts.archived == 1
    assert done.job.notes == [f"{VIDEO}: captions en could not be fetched; there is no further look"]


def test_redelivered_events_change_nothing(world: World) -> None:
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
    accepted = Accepted((Target(kind=TargetKind.VIDEOS, video_ids=(VIDEO,)),), ROOT, "")
    state_machine.create(world.rows, event, "t", accepted, NOW)
    world.checked()
    world.listed()
    request = world.dispatch()
    assert request.wanted == Wanted(media=False, thumbnail=False, captions=(), metadata=True)
    (done,) = world.step(
        e.MetadataArchived(job_id="j1", root=ROOT, video_id=VIDEO, source_name="yt_dlp", path="/archive/m.json")
    )
    assert isinstance(done, e.JobCompleted)
    assert world.rows.fetches == {}


def check_described_entry(world: World, type: JobType = JobType.METADATA_ONLY, **held: object) -> list[Event]:
    """Create a job whose only entry has metadata of the Data API, and apply the archive check of its page."""
    event = e.JobCreated(job_id="j1", targets=("x",), type=type)
    state_machine.create(world.rows, event, "t", Accepted((Target(kind=TargetKind.PLAYLIST, id="PL0"),), ROOT, ""), NOW)
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
def test_metadata_of_the_data_api_needs_no_fetch(world: World, held: dict[str, object]) -> None:
    check_described_entry(world, JobType.METADATA_ONLY, **held)
    assert world.rows.items["j1", VIDEO].status is ItemStatus.LISTED
    assert world.rows.fetches == {}
    world.listed()
    (done,) = world.step(METADATA_ARCHIVED)
    assert isinstance(done, e.JobCompleted)
    assert (done.job.counts.archived, world.rows.fetches) == (1, {})


def test_a_forced_metadata_job_does_not_end_with_the_metadata_of_another_job(world: World) -> None:
    for job_id, options in (("j1", {}), ("j2", {"skip_existing": False})):
        event = e.JobCreated.model_validate(
            {"job_id": job_id, "targets": ("x",), "type": JobType.METADATA_ONLY, "options": options}
        )
        state_machine.create(
            world.rows, event, "t", Accepted((Target(kind=TargetKind.PLAYLIST, id="PL0"),), ROOT, ""), NOW
        )
        world.checked(job_id)
    world.step(METADATA_ARCHIVED)
    assert (world.status("j1"), world.status("j2")) == (ItemStatus.ARCHIVED, ItemStatus.WAITING)
    world.step(METADATA_ARCHIVED.model_copy(update={"job_id": "j2"}))
    assert world.status("j2") is ItemStatus.ARCHIVED


def test_a_missing_info_json_is_not_satisfied_by_metadata_alone(world: World) -> None:
    event = e.JobCreated(job_id="j1", targets=("x",), type=JobType.METADATA_ONLY)
    state_machine.create(world.rows, event, "t", Accepted((Target(kind=TargetKind.PLAYLIST, id="PL0"),), ROOT, ""), NOW)
    world.checked(held=Held(video_id=VIDEO, qualities=("1080p",), thumbnail=True, metadata=True, info=False))
    request = world.dispatch()
    world.step(METADATA_ARCHIVED.model_copy(update={"dispatch_id": request.dispatch_id}))
    assert world.status() is ItemStatus.RUNNING
    completed(world, request)
    world.archived(request)
    assert world.status() is ItemStatus.ARCHIVED


def test_metadata_archived_before_the_archive_check_counts(world: World) -> None:
    event = e.JobCreated(job_id="j1", targets=("x",), type=JobType.METADATA_ONLY)
    state_machine.create(world.rows, event, "t", Accepted((Target(kind=TargetKind.PLAYLIST, id="PL0"),), ROOT, ""), NOW)
    world.step(
        e.ListingPageFetched(
            job_id="j1", root=ROOT, type=event.type, options=event.options, target_index=0, listing=1, page_key="p1",
            entries=(Entry(video_id=VIDEO, described=True),),
        )
    )  # fmt: skip
    world.step(METADATA_ARCHIVED)
    world.checked(held=Held(video_id=VIDEO, metadata=True))
    assert world.rows.jobs["j1"].archived == 1


def test_media_is_fetched_even_if_metadata_is_archived(world: World) -> None:
    check_described_entry(world, JobType.PLAYLIST_DOWNLOAD)
    world.step(METADATA_ARCHIVED)
    assert world.rows.items["j1", VIDEO].status is ItemStatus.WAITING


def test_metadata_that_cannot_be_archived_is_fetched_instead(world: World) -> None:
    check_described_entry(world)
    world.step(
        e.DeadLettered(
            type="metadata.fetched", consumer="storage", sequence=1, error="x", payload="", job_id="j1", video_id=VIDEO
        )
    )
    assert world.dispatch().wanted == Wanted(media=False, thumbnail=False, captions=(), metadata=True)


def test_a_deferred_dispatch_costs_no_attempt(world: World) -> None:
    world.queued()
    request = world.dispatch()
    world.step(e.DownloadDeferred(**request_ids(request), reason="shutdown"))
    assert world.rows.items["j1", VIDEO].attempts == 0
    assert world.rows.fetches[VIDEO].state is FetchState.IDLE
    again = world.dispatch()
    assert again.dispatch_id != request.dispatch_id
    later = NOW + timedelta(minutes=1)
    world.step(e.DownloadDeferred(**request_ids(again), reason="disk_full", retry_after=later))
    assert (world.status(), world.rows.items["j1", VIDEO].retry_at) == (ItemStatus.WAITING, later)


def refuse(world: World) -> list[Event]:
    """Dispatch VIDEO, defer it by a bot check for a minute, and advance the clock to the end of the block."""
    request = world.dispatch()
    failure = Failure(
        kind=FailureKind.SITE_WIDE, code=ErrorCode.SERVICE_UNAVAILABLE, reason="bot_check", message="not a bot?"
    )
    until = world.now + timedelta(minutes=1)
    published = world.step(
        e.DownloadDeferred(**request_ids(request), reason="bot_check", retry_after=until, failure=failure)
    )
    world.now = until
    return published


def test_a_refusal_of_the_site_never_counts_as_an_attempt(world: World) -> None:
    world.queued()
    for _ in range(10):
        assert refuse(world) == []
    item = world.rows.items["j1", VIDEO]
    assert (item.status, item.attempts, item.errors) == (ItemStatus.WAITING, 0, [])
    assert (item.reason, item.message) == ("bot_check", "not a bot?")


def test_a_video_that_is_refused_three_times_while_others_succeed_fails(world: World) -> None:
    """Otherwise it would be the probe after every block, cause the next block, and delay all other videos."""
    world.create()
    world.checked("j1", VIDEO, OTHER)
    world.listed()
    assert refuse(world) == []
    world.archived(world.dispatch(OTHER))
    assert refuse(world) == []
    (failed,) = refuse(world)
    assert isinstance(failed, e.VideoFailed)
    assert failed.failed is not None
    assert (failed.failed.attempts, failed.failed.errors[-1]["reason"]) == (3, "bot_check")
    (done,) = world.answer_work_plan(failed)
    assert isinstance(done, e.JobCompleted)
    world.step(e.JobRetryRequested(job_id="j1"))
    world.checked("j1", VIDEO, key="again")
    assert refuse(world) == [], "a retry resets the count"


def test_a_video_dispatched_before_the_refusal_does_not_count_as_a_success_after_it(world: World) -> None:
    """With two slots, the download of the other slot is committed after the refusal."""
    world.create()
    world.checked("j1", VIDEO, OTHER)
    world.listed()
    other = world.dispatch(OTHER)
    world.now += timedelta(seconds=1)
    assert refuse(world) == []
    world.archived(other)
    for _ in range(5):
        assert refuse(world) == []
    assert world.status() is ItemStatus.WAITING


def test_a_completed_download_waits_for_storage(world: World) -> None:
    world.queued()
    request = world.dispatch()
    completed(world, request)
    assert world.rows.fetches[VIDEO].state is FetchState.STORING
    assert world.rows.items["j1", VIDEO].title == "the title"


def test_an_item_without_metadata_ends_when_its_metadata_is_archived(world: World) -> None:
    """A metadata fetch has no files, so there is no commit to wait for."""
    world.queued()
    request = world.dispatch()
    held = Held(video_id=VIDEO, qualities=(request.wanted.quality,), thumbnail=True)
    world.step(
        e.VideoArchived(**{k: v for k, v in request_ids(request).items() if k != "fetch_id"}, directory="/x", files=(),
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


def test_a_job_is_retrying_while_it_only_waits_for_timers(world: World) -> None:
    world.queued()
    later = NOW + timedelta(hours=1)
    world.failed(world.dispatch(), FailureKind.NOT_YET, retry_after=later)
    job = world.rows.jobs["j1"]
    set_retrying(job, 1, later, world.now)
    assert (job.status, job.retry_at) == (JobStatus.RETRYING, later)
    set_retrying(job, 0, None, later)
    assert job.status is JobStatus.RUNNING
