"""The videos of all work plans as one list."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.common.events import VideoFailed
from services.common.models import FailedDownload, JobOptions, JobType, UnavailableVideo
from services.storage.formats import work_plan
from services.storage.formats.work_plan import WorkPlan
from services.storage.workplans.missing import MissingPage, MissingQuery, page_of

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
DAY, WEEK = timedelta(days=1), timedelta(days=7)
A, B, C = "aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc"


def plan(job_id: str, *failures: tuple[str, str, datetime], root: str = "/archive") -> WorkPlan:
    """Return a plan of (video, reason, time); the reason `timeout` is a failed download, any other a gone video."""
    made: WorkPlan | None = None
    for number, (video_id, reason, at) in enumerate(failures, start=1):
        gone = UnavailableVideo(video_id=video_id, title=f"Title {video_id[0]}", reason=reason, detected_at=at)
        errors = [{"reason": "timeout", "message": "It took too long."}]
        failed = FailedDownload(
            video_id=video_id, title=f"Title {video_id[0]}", attempts=3, last_attempt=at, errors=errors
        )
        event = VideoFailed(
            job_id=job_id, video_id=video_id, root=root, number=number, type=JobType.VIDEO_DOWNLOAD,
            options=JobOptions(), targets=("x",),
            unavailable=None if reason == "timeout" else gone, failed=failed if reason == "timeout" else None,
        )  # fmt: skip
        made = work_plan.with_failure(made, event, now=at, trace_id="t")
    assert made is not None
    return made


def page(*plans: WorkPlan, interval: timedelta = WEEK, **query: object) -> MissingPage:
    return page_of(plans, MissingQuery.model_validate(query), interval)


def test_a_video_is_listed_once_with_its_latest_finding_and_all_plans() -> None:
    older, newer = plan("one", (A, "timeout", NOW - 2 * DAY)), plan("two", (A, "private", NOW))
    (video,) = page(older, newer).videos
    assert (video.reason, video.looks, video.plans) == ("private", 4, ["two", "one"])
    assert (video.first_look, video.last_look, video.next_look) == (NOW - 2 * DAY, NOW, NOW + WEEK)
    assert page(older, newer, interval=timedelta()).videos[0].next_look is None


def test_a_failed_download_has_the_reason_and_the_message_of_its_last_error() -> None:
    (video,) = page(plan("one", (A, "timeout", NOW))).videos
    assert (video.reason, video.message, video.looks) == ("timeout", "It took too long.", 3)


def test_videos_are_missing_until_they_have_arrived_in_their_root() -> None:
    first = plan("one", (A, "private", NOW), (B, "deleted", NOW - DAY))
    other_root = plan("two", (A, "private", NOW), root="/other")
    arrived = work_plan.with_arrival(first, A, now=NOW + DAY)
    found = page(arrived, other_root)
    assert [(video.video_id, video.root) for video in found.videos] == [(A, "/other"), (B, "/archive")]
    assert (found.open, found.resolved) == (2, 1)
    (resolved,) = page(arrived, other_root, resolved=True).videos
    assert (resolved.root, resolved.resolved_at, resolved.next_look) == ("/archive", NOW + DAY, None)


def test_a_video_that_waits_for_its_recheck_has_no_next_look() -> None:
    asked = work_plan.with_recheck(plan("one", (A, "private", NOW)), [A], "recheck-1", now=NOW + DAY)
    (video,) = page(asked).videos
    assert (video.rechecked_by, video.next_look) == ("recheck-1", None)
    (video,) = page(work_plan.with_recheck_ended(asked, "recheck-1", now=NOW + DAY)).videos
    assert (video.rechecked_by, video.next_look) == (None, NOW + DAY + WEEK)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [C, B, A]),
        ({"reason": "private"}, [C, A]),
        ({"plan": "two"}, [C]),
        ({"q": "TITLE B"}, [B]),
        ({"q": "ccc"}, [C]),
        ({"limit": 1, "offset": 1}, [B]),
    ],
)
def test_filters_and_pages(query: dict[str, Any], expected: list[str]) -> None:
    first = plan("one", (A, "private", NOW - 2 * DAY), (B, "deleted", NOW - DAY))
    found = page(first, plan("two", (C, "private", NOW)), **query)
    assert [video.video_id for video in found.videos] == expected


def test_reasons_are_counted_whatever_reason_is_chosen() -> None:
    found = page(plan("one", (A, "private", NOW), (B, "deleted", NOW), (C, "private", NOW)), reason="deleted")
    assert [(one.reason, one.videos) for one in found.reasons] == [("private", 2), ("deleted", 1)]
    assert found.total == 1
