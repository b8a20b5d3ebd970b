"""The state machine of jobs: an item from its dispatch to its end. Listings, commands and dead letters: jobs/domain."""

from datetime import timedelta

import pytest

from bus.message import Event
from services.common import events as e
from services.common.domain.archive import Held, KnownGone
from services.common.domain.failures import Failure, FailureKind
from services.common.domain.jobs import ItemStatus
from services.common.domain.videos import Entry, Target, TargetKind, Wanted
from services.common.models import ErrorCode, JobStatus, JobType
from services.jobs.domain import dispatches, state_machine
from services.jobs.domain.accounting import set_retrying
from services.jobs.domain.rows import FetchState
from services.jobs.domain.state_machine import Accepted
from tests.fixtures.jobs_world import NOW, OTHER, ROOT, VIDEO, World, completed, names_of


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
    assert world.rows.items["j1", VIDEO].attempts == 1
    assert not world.rows.jobs["j1"].status.ended
    (done,) = world.plan_answers(failed)
    assert isinstance(done, e.JobCompleted)
    assert done.job.counts.unavailable == 1
    assert done.job.work_plan == "/plans/x.json"


@pytest.mark.claim("7.3", "7.4", "16.3")
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


def described(world: World, type: JobType = JobType.METADATA_ONLY, **held: object) -> list[Event]:
    """A job whose only entry the Data API describes, as far as storage's answer to the page."""
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
def test_metadata_that_the_data_api_brings_need_no_fetch(world: World, held: dict[str, object]) -> None:
    described(world, JobType.METADATA_ONLY, **held)
    assert world.rows.items["j1", VIDEO].status is ItemStatus.LISTED
    assert world.rows.fetches == {}
    world.listed()
    (done,) = world.step(METADATA_ARCHIVED)
    assert isinstance(done, e.JobCompleted)
    assert (done.job.counts.archived, world.rows.fetches) == (1, {})


def test_a_forced_description_is_not_content_with_that_of_another_job(world: World) -> None:
    for job_id, words in (("j1", {}), ("j2", {"skip_existing": False})):
        event = e.JobCreated.model_validate(
            {"job_id": job_id, "targets": ("x",), "type": JobType.METADATA_ONLY, "options": words}
        )
        state_machine.create(
            world.rows, event, "t", Accepted((Target(kind=TargetKind.PLAYLIST, id="PL0"),), ROOT, ""), NOW
        )
        world.checked(job_id)
    world.step(METADATA_ARCHIVED)
    assert (world.status("j1"), world.status("j2")) == (ItemStatus.ARCHIVED, ItemStatus.WAITING)
    world.step(METADATA_ARCHIVED.model_copy(update={"job_id": "j2"}))
    assert world.status("j2") is ItemStatus.ARCHIVED


def test_a_description_alone_does_not_bring_back_a_lost_record_of_yt_dlp(world: World) -> None:
    event = e.JobCreated(job_id="j1", targets=("x",), type=JobType.METADATA_ONLY)
    state_machine.create(world.rows, event, "t", Accepted((Target(kind=TargetKind.PLAYLIST, id="PL0"),), ROOT, ""), NOW)
    world.checked(held=Held(video_id=VIDEO, qualities=("1080p",), thumbnail=True, metadata=True, info=False))
    request = world.dispatch()
    world.step(METADATA_ARCHIVED.model_copy(update={"dispatch_id": request.dispatch_id}))
    assert world.status() is ItemStatus.RUNNING
    completed(world, request)
    world.archived(request)
    assert world.status() is ItemStatus.ARCHIVED


def test_metadata_that_are_archived_before_storage_answers_the_page(world: World) -> None:
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
    world.step(e.DownloadDeferred(**names_of(request), reason="shutdown"))
    assert world.rows.items["j1", VIDEO].attempts == 0
    assert world.rows.fetches[VIDEO].state is FetchState.IDLE
    again = world.dispatch()
    assert again.dispatch_id != request.dispatch_id
    later = NOW + timedelta(minutes=1)
    world.step(e.DownloadDeferred(**names_of(again), reason="disk_full", retry_after=later))
    assert (world.status(), world.rows.items["j1", VIDEO].retry_at) == (ItemStatus.WAITING, later)


def refused(world: World) -> list[Event]:
    """The site refuses the machine when it is asked for VIDEO; a minute later it may be asked again."""
    request = world.dispatch()
    failure = Failure(
        kind=FailureKind.SITE_WIDE, code=ErrorCode.SERVICE_UNAVAILABLE, reason="bot_check", message="not a bot?"
    )
    until = world.now + timedelta(minutes=1)
    told = world.step(e.DownloadDeferred(**names_of(request), reason="bot_check", retry_after=until, failure=failure))
    world.now = until
    return told


def test_a_refusal_of_the_site_is_nobodys_attempt_however_often(world: World) -> None:
    world.queued()
    for _ in range(10):
        assert refused(world) == []
    item = world.rows.items["j1", VIDEO]
    assert (item.status, item.attempts, item.errors) == (ItemStatus.WAITING, 0, [])
    assert (item.reason, item.message) == ("bot_check", "not a bot?")


def test_a_video_that_is_refused_while_others_are_served_is_given_up(world: World) -> None:
    """Else it would look after each block whether it is over, cause the next one, and all others would wait."""
    world.create()
    world.checked("j1", VIDEO, OTHER)
    world.listed()
    assert refused(world) == []
    world.archived(world.dispatch(OTHER))
    assert refused(world) == []
    (failed,) = refused(world)
    assert isinstance(failed, e.VideoFailed)
    assert failed.failed is not None
    assert (failed.failed.attempts, failed.failed.errors[-1]["reason"]) == (3, "bot_check")
    (done,) = world.plan_answers(failed)
    assert isinstance(done, e.JobCompleted)
    world.step(e.JobRetryRequested(job_id="j1"))
    world.checked("j1", VIDEO, key="again")
    assert refused(world) == [], "a retry begins anew"


def test_what_was_let_through_before_a_refusal_proves_nothing(world: World) -> None:
    """Two slots: what the other one had fetched already is taken in a moment later."""
    world.create()
    world.checked("j1", VIDEO, OTHER)
    world.listed()
    other = world.dispatch(OTHER)
    world.now += timedelta(seconds=1)
    assert refused(world) == []
    world.archived(other)
    for _ in range(5):
        assert refused(world) == []
    assert world.status() is ItemStatus.WAITING


def test_a_completed_download_waits_for_storage(world: World) -> None:
    world.queued()
    request = world.dispatch()
    completed(world, request)
    assert world.rows.fetches[VIDEO].state is FetchState.STORING
    assert world.rows.items["j1", VIDEO].title == "the title"


def test_an_item_that_lacks_only_its_metadata_ends_when_they_are_archived(world: World) -> None:
    """Of such a fetch there are no files, hence no take-in to wait for."""
    world.queued()
    request = world.dispatch()
    held = Held(video_id=VIDEO, qualities=(request.wanted.quality,), thumbnail=True)
    world.step(
        e.VideoArchived(**{k: v for k, v in names_of(request).items() if k != "fetch_id"}, directory="/x", files=(),
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
    set_retrying(job, 1, later, world.now)
    assert (job.status, job.retry_at) == (JobStatus.RETRYING, later)
    set_retrying(job, 0, None, later)
    assert job.status is JobStatus.RUNNING
