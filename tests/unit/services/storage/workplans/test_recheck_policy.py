"""Re-checks: which videos of the work plans are due, and how their entries are updated."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.common.events import VideoFailed
from services.common.models import FailedDownload, JobOptions, JobType, UnavailableVideo
from services.common.rechecks import is_recheck
from services.storage.formats import work_plan
from services.storage.formats.work_plan import WorkPlan
from services.storage.workplans import recheck_policy

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
DAY, WEEK, HOUR = timedelta(days=1), timedelta(days=7), timedelta(hours=1)
A, B, C = "aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc"


def failure(
    video_id: str, at: datetime, *, job_id: str = "job-1", number: int = 1, reason: str = "private", **more: Any
) -> VideoFailed:
    """Return a video.failed event; the reason `failed` means that all attempts failed."""
    gone = UnavailableVideo(video_id=video_id, reason=reason, detected_at=at)
    failed = FailedDownload(video_id=video_id, title="T", attempts=3, last_attempt=at, errors=[])
    fields = {"root": "/archive", "type": JobType.VIDEO_DOWNLOAD, "options": JobOptions(quality="720p")} | more
    which = {"failed": failed} if reason == "failed" else {"unavailable": gone}
    return VideoFailed(job_id=job_id, video_id=video_id, number=number, targets=("x",), **fields, **which)


def plan(*events: VideoFailed) -> WorkPlan:
    made: WorkPlan | None = None
    for event in events:
        made = work_plan.with_failure(made, event, now=NOW - 30 * DAY, trace_id="t")
    assert made is not None
    return made


def chosen(known: Iterable[WorkPlan], now: datetime = NOW, interval: timedelta = WEEK) -> list[list[str]]:
    return [list(batch.event().targets) for batch in recheck_policy.choose_batches(list(known), now, interval)]


def with_recheck(known: WorkPlan, batch: recheck_policy.RecheckBatch, now: datetime = NOW) -> WorkPlan:
    for plan_id, video_ids in batch.by_plan():
        if plan_id == known.plan_id:
            known = work_plan.with_recheck(known, video_ids, batch.job_id, now=now)
    return known


# --- due videos ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([], []),
        ([plan(failure(A, NOW - WEEK))], [[A]]),
        ([plan(failure(A, NOW - WEEK + HOUR))], []),
        ([plan(failure(A, NOW - WEEK, reason="failed"))], [[A]]),
        ([work_plan.with_arrival(plan(failure(A, NOW - WEEK)), A, now=NOW)], []),
        # in several plans of one root it is one video, with its latest check
        ([plan(failure(A, NOW - 9 * DAY)), plan(failure(A, NOW - 8 * DAY, job_id="job-2"))], [[A]]),
        ([plan(failure(A, NOW - 9 * DAY)), plan(failure(A, NOW - DAY, job_id="job-2"))], []),
    ],
)
def test_a_video_is_due_one_interval_after_its_last_check(known: list[WorkPlan], expected: list[list[str]]) -> None:
    assert chosen(known) == expected


def test_videos_with_the_same_root_type_and_options_share_one_job() -> None:
    old, older = NOW - 8 * DAY, NOW - 9 * DAY
    known = [
        plan(failure(A, old), failure(B, older)),
        plan(failure(C, old, job_id="job-2")),
        plan(failure("d" * 11, old, job_id="job-3", options=JobOptions(quality="audio"))),
        plan(failure("e" * 11, old, job_id="job-4", type=JobType.METADATA_ONLY)),
        plan(failure(A, old, job_id="job-5", root="/music")),
    ]
    batches = recheck_policy.choose_batches(known, NOW, timedelta(hours=6))  # all of them are due
    assert [list(batch.event().targets) for batch in batches] == [[B, A, C], [A], ["d" * 11], ["e" * 11]]
    first = batches[0].event()
    assert is_recheck(first.job_id)
    assert (first.type, first.options.quality, first.options.output_dir) == (
        JobType.VIDEO_DOWNLOAD, "720p", "/archive",
    )  # fmt: skip
    assert first.options.skip_existing
    assert first.priority == -100
    assert batches[1].event().options.output_dir == "/music"
    assert batches[3].event().type is JobType.METADATA_ONLY
    assert [*batches[0].by_plan()] == [("job-1", [B, A]), ("job-2", [C])]


@pytest.mark.parametrize(
    ("open_videos", "interval", "expected"),
    [(1, WEEK, 1), (28, WEEK, 1), (29, WEEK, 2), (5_000, WEEK, 179), (50_000, WEEK, 200), (50, HOUR, 50)],
)
def test_many_open_videos_are_spread_over_the_interval(open_videos: int, interval: timedelta, expected: int) -> None:
    known = plan(failure(A, NOW - 8 * DAY))
    entry = known.unavailable_videos[0]
    at = NOW - 30 * DAY
    entries = [
        entry.model_copy(update={"video_id": f"{n:011d}", "detected_at": at + n * timedelta(seconds=1)})
        for n in range(open_videos)
    ]
    known = known.model_copy(update={"unavailable_videos": entries})
    (batch,) = recheck_policy.choose_batches([known], NOW, interval)
    assert list(batch.event().targets) == [f"{n:011d}" for n in range(expected)]  # oldest first


def test_a_video_with_a_running_recheck_is_not_chosen_until_the_recheck_is_lost() -> None:
    known = plan(failure(A, NOW - 8 * DAY), failure(B, NOW - 7 * DAY + HOUR))
    (batch,) = recheck_policy.choose_batches([known], NOW, WEEK)
    known = with_recheck(known, batch)
    assert chosen([known]) == []
    (again,) = recheck_policy.running_batches([known], NOW + HOUR)
    assert again.event() == batch.event()
    assert chosen([known], NOW + 8 * DAY, HOUR) == [[B]]
    # without an answer the job counts as lost, and the next one has another id
    late = NOW + recheck_policy.LOST_AFTER
    assert recheck_policy.running_batches([known], late) == []
    assert chosen([known], late, HOUR) == [[B, A]]
    other = work_plan.with_arrival(known, B, now=NOW)
    assert recheck_policy.choose_batches([other], late, WEEK)[0].job_id != batch.job_id


def test_the_job_id_is_stable_within_a_round_and_different_in_the_next() -> None:
    known = plan(failure(A, NOW - 8 * DAY))
    (batch,) = recheck_policy.choose_batches([known], NOW, WEEK)
    assert recheck_policy.choose_batches([known], NOW + HOUR, WEEK)[0].job_id == batch.job_id
    cancelled = work_plan.with_recheck_ended(with_recheck(known, batch), batch.job_id, now=NOW + HOUR)
    assert chosen([cancelled], NOW + WEEK - HOUR) == []
    (later,) = recheck_policy.choose_batches([cancelled], NOW + WEEK, WEEK)
    assert later.job_id != batch.job_id


def test_the_number_of_running_rechecks_is_limited() -> None:
    entry = plan(failure(A, NOW - 8 * DAY)).unavailable_videos[0]
    busy = entry.with_recheck("recheck-1", NOW - HOUR)
    entries = [busy.model_copy(update={"video_id": f"busy{n:07d}"}) for n in range(recheck_policy.MAX_RUNNING - 3)]
    entries += [entry.model_copy(update={"video_id": f"idle{n:07d}"}) for n in range(50)]
    known = plan(failure(A, NOW)).model_copy(update={"unavailable_videos": entries})
    assert [len(videos) for videos in chosen([known], interval=HOUR)] == [3]


def test_the_next_round_is_derived_from_the_plans_after_a_restart() -> None:
    known = plan(failure(A, NOW - 8 * DAY))
    assert recheck_policy.next_round([known], NOW, WEEK) == NOW
    known = with_recheck(known, recheck_policy.choose_batches([known], NOW, WEEK)[0])
    assert recheck_policy.next_round([known], NOW + HOUR, WEEK) == NOW + recheck_policy.ROUND_INTERVAL
    assert recheck_policy.next_round([known], NOW + HOUR, HOUR / 2) <= NOW + HOUR + HOUR / 2


# --- updates of the entries ---------------------------------------------------------------------------------------


def test_a_finding_of_a_recheck_updates_the_entry_once() -> None:
    known = plan(failure(A, NOW - 8 * DAY), failure(B, NOW + 2 * DAY))
    known = work_plan.with_recheck(known, [A], "recheck-1", now=NOW)
    found = failure(A, NOW + HOUR, job_id="recheck-1")
    assert work_plan.is_rechecked_by(known, A, "recheck-1")
    assert not work_plan.is_rechecked_by(known, B, "recheck-1")
    after = work_plan.with_recheck_failure(known, found, now=NOW + HOUR)
    assert [entry.video_id for entry in after.unavailable_videos] == [A, B]
    entry = after.unavailable_videos[0]
    assert (entry.detected_at, entry.number) == (NOW + HOUR, 1)
    assert [(one.reason, one.since, one.last) for one in entry.findings] == [("private", NOW - 8 * DAY, NOW + HOUR)]
    assert recheck_policy.running_batches([after], NOW + HOUR) == []
    assert work_plan.with_recheck_failure(after, found, now=NOW + DAY) is after
    assert chosen([after], NOW + HOUR + WEEK) == [[A]]
    # failures of the plan's own job are still deduplicated by their own numbers
    assert work_plan.with_failure(after, failure(A, NOW - 8 * DAY), now=NOW, trace_id="t") is after


def test_an_entry_keeps_the_history_of_its_findings() -> None:
    known = plan(failure(A, NOW - 9 * DAY, reason="failed"))
    for days, reason in ((1, "private"), (2, "private"), (3, "deleted")):
        job_id, at = f"recheck-{days}", NOW + days * DAY
        known = work_plan.with_recheck(known, [A], job_id, now=at)
        known = work_plan.with_recheck_failure(known, failure(A, at, job_id=job_id, reason=reason), now=at)
    assert known.failed_downloads == []
    known = work_plan.with_arrival(known, A, now=NOW + 4 * DAY)
    (entry,) = known.unavailable_videos
    assert entry.title == "T"  # the title of the first failure
    assert [(one.reason, one.since, one.last, one.resolved_at) for one in entry.findings] == [
        ("failed", NOW - 9 * DAY, NOW - 9 * DAY, None),
        ("private", NOW + DAY, NOW + 2 * DAY, None),
        ("deleted", NOW + 3 * DAY, NOW + 3 * DAY, NOW + 4 * DAY),
    ]
    assert work_plan.with_recheck_failure(known, failure(A, NOW, job_id="recheck-3", number=2), now=NOW) is known
    gone_again = work_plan.with_failure(known, failure(A, NOW + 9 * DAY, number=2), now=NOW, trace_id="t")
    assert gone_again.entry(A) is not None
    assert [one.reason for one in gone_again.unavailable_videos[0].findings][2:] == ["deleted", "private"]


def test_a_plan_of_an_older_version_without_findings_is_supported() -> None:
    written = plan(failure(A, NOW - 9 * DAY)).model_dump(mode="json")
    for entry in written["unavailable_videos"]:
        del entry["findings"], entry["recheck"]
    old = WorkPlan.model_validate(written)
    assert chosen([old]) == [[A]]
    (entry,) = work_plan.with_arrival(old, A, now=NOW).unavailable_videos
    assert [(one.reason, one.since, one.resolved_at) for one in entry.findings] == [("private", NOW - 9 * DAY, NOW)]


def test_the_end_of_a_recheck_ends_it_for_all_its_remaining_videos() -> None:
    known = plan(failure(A, NOW - 9 * DAY), failure(B, NOW - 9 * DAY, reason="failed"), failure(C, NOW))
    known = work_plan.with_recheck(known, [A, B], "recheck-1", now=NOW)
    assert work_plan.with_recheck_ended(known, "recheck-2", now=NOW) is known
    ended = work_plan.with_recheck_ended(known, "recheck-1", now=NOW)
    assert recheck_policy.running_batches([ended], NOW) == []
    assert chosen([ended], NOW + WEEK + HOUR, HOUR) != []
    assert work_plan.with_recheck_ended(ended, "recheck-1", now=NOW + HOUR) is ended


# --- a clock that was wrong ---------------------------------------------------------------------------------------


def test_a_video_that_was_checked_in_the_future_is_due() -> None:
    assert chosen([plan(failure(A, NOW + 3650 * DAY))]) == [[A]]
    assert chosen([plan(failure(A, NOW + HOUR))]) == []  # clocks of two machines differ


def test_a_recheck_that_was_created_in_the_future_is_created_again() -> None:
    ahead = NOW + 3650 * DAY
    known = plan(failure(A, NOW - WEEK))
    (batch,) = recheck_policy.choose_batches([known], ahead, WEEK)
    known = with_recheck(known, batch, ahead)
    assert recheck_policy.running_batches([known], ahead) != []
    assert recheck_policy.running_batches([known], NOW) == []
    assert chosen([known]) == [[A]]
