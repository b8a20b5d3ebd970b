"""Looks at archived videos that might get better, in the state machine of jobs."""

from datetime import timedelta

import pytest

from services.common import events as e
from services.common.domain.archive import Held, Revisit, RevisitReason
from services.common.domain.failures import FailureKind
from services.common.domain.jobs import ItemStatus
from tests.fixtures.jobs_world import NOW, VIDEO, World, request_ids

HOUR = timedelta(hours=1)


def held(*, next_look: timedelta | None = -HOUR) -> Held:
    return Held(
        video_id=VIDEO, qualities=("1080p",), thumbnail=True, metadata=True, bytes=5,
        revisit=Revisit(reasons=(RevisitReason.LOWER,), resolution=360, offered=360, since=NOW),
        next_look=None if next_look is None else NOW + next_look,
    )  # fmt: skip


def looking(world: World) -> e.DownloadRequested:
    """Begin a look."""
    world.create()
    world.checked(held=held())
    world.listed()
    return world.dispatch()


def archived(request: e.DownloadRequested, *, better: bool, next_look: timedelta | None = HOUR) -> e.VideoArchived:
    return e.VideoArchived(
        **request_ids(request), directory="/archive/videos/x", files=(), bytes=5, held=held(next_look=next_look),
        better=better,
    )  # fmt: skip


@pytest.fixture
def world() -> World:
    return World()


def test_a_look_that_is_due_is_dispatched_with_what_is_held(world: World) -> None:
    wanted = looking(world).wanted
    assert wanted.look is not None
    assert (wanted.media, wanted.thumbnail, wanted.look.resolution, wanted.look.alone) == (True, False, 360, True)


def test_a_look_that_is_not_due_is_skipped(world: World) -> None:
    world.create()
    world.checked(held=held(next_look=HOUR))
    assert world.rows.items["j1", VIDEO].message == "already archived"


@pytest.mark.parametrize(
    ("next_look", "then"),
    [
        (HOUR, "next look at 2026-11-22 13:00 UTC"),
        (timedelta(0), "next look in the next run"),
        (None, "there is no further look"),
    ],
)
def test_a_look_that_finds_nothing_skips_the_video(world: World, next_look: timedelta | None, then: str) -> None:
    (done,) = world.step(archived(looking(world), better=False, next_look=next_look))
    assert isinstance(done, e.JobCompleted)
    assert (done.job.counts.skipped, done.job.counts.archived) == (1, 0)
    assert world.rows.items["j1", VIDEO].message == f"already archived; nothing better yet, {then}"


def test_a_look_that_finds_something_saves_the_video(world: World) -> None:
    (done,) = world.step(archived(looking(world), better=True))
    assert isinstance(done, e.JobCompleted)
    assert (done.job.counts.skipped, done.job.counts.archived) == (0, 1)


@pytest.mark.parametrize("kind", [FailureKind.GONE, FailureKind.REFUSED, FailureKind.NOT_YET])
def test_a_look_at_a_video_that_cannot_be_had_ends_and_fails_nothing(world: World, kind: FailureKind) -> None:
    request = looking(world)
    failed, done = world.failed(request, kind, message="Private video")
    assert isinstance(failed, e.LookFailed)
    assert (failed.video_id, failed.dispatch_id, failed.message) == (VIDEO, request.dispatch_id, "Private video")
    assert isinstance(done, e.JobCompleted)
    assert (done.job.counts.skipped, done.job.counts.unavailable, done.job.work_plan) == (1, 0, None)
    assert "already archived; it could not be looked at again" in (world.rows.items["j1", VIDEO].message or "")
    assert world.rows.fetches == {}


def test_a_look_that_fails_for_a_moment_is_repeated(world: World) -> None:
    request = looking(world)
    for _attempt in range(2):
        assert world.failed(request, FailureKind.PASSING) == []
        assert world.status() is ItemStatus.WAITING
        request = world.dispatch()
    failed, done = world.failed(request, FailureKind.PASSING)
    assert (type(failed), type(done)) == (e.LookFailed, e.JobCompleted)
    assert world.status() is ItemStatus.SKIPPED


def test_new_captions_are_still_missing_when_the_video_is_gone(world: World) -> None:
    """The look is not alone: what was asked for besides it fails as ever."""
    world.create(include_captions=True, caption_languages=["de"])
    world.checked(held=held())
    world.listed()
    (failed,) = world.failed(world.dispatch(), FailureKind.GONE)
    assert isinstance(failed, e.VideoFailed)


def test_a_look_shares_the_fetch_of_a_job_that_needs_the_media(world: World) -> None:
    world.create("j1")
    world.checked("j1", held=held())
    world.listed("j1")
    world.create("j2", quality="best", skip_existing=False)
    world.checked("j2", held=held())
    world.listed("j2")
    request = world.dispatch()
    assert (request.wanted.look, request.wanted.quality, request.wanted.force) == (None, "best", True)
    world.archived(request)
    assert [world.status(job) for job in ("j1", "j2")] == [ItemStatus.ARCHIVED, ItemStatus.ARCHIVED]
