"""Work plans: one entry per video, marked as resolved when the video is archived later."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.common.events import VideoFailed
from services.common.models import ErrorCode, FailedDownload, JobOptions, JobType, UnavailableVideo
from services.storage.formats import work_plan
from services.storage.formats.work_plan import WorkPlan
from services.storage.formats.work_plan_entry import FailedEntry, UnavailableEntry
from services.storage.workplans import plan_file

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = AT + timedelta(hours=1)


def gone(video_id: str, number: int = 1, reason: str = "private") -> VideoFailed:
    return _event(video_id, number, unavailable=UnavailableVideo(video_id=video_id, reason=reason, detected_at=AT))


def failed(video_id: str, number: int = 1) -> VideoFailed:
    error = {"code": ErrorCode.NETWORK_TIMEOUT, "message": "503"}
    download = FailedDownload(video_id=video_id, title="T", attempts=3, last_attempt=AT, errors=[error])
    return _event(video_id, number, failed=download)


def _event(
    video_id: str,
    number: int,
    unavailable: UnavailableVideo | None = None,
    failed: FailedDownload | None = None,
) -> VideoFailed:
    return VideoFailed(
        job_id="job-1",
        video_id=video_id,
        root="/archive",
        number=number,
        type=JobType.PLAYLIST_DOWNLOAD,
        options=JobOptions(quality="720p", api_key="secret-key"),
        targets=("PL0123456789abcdef",),
        unavailable=unavailable,
        failed=failed,
    )


def after(plan: WorkPlan | None, *events: VideoFailed) -> WorkPlan:
    for event in events:
        plan = work_plan.with_failure(plan, event, now=AT, trace_id="trace")
    assert plan is not None
    return plan


def ids(entries: list[UnavailableEntry] | list[FailedEntry]) -> list[str]:
    return [entry.video_id for entry in entries]


def test_a_work_plan_contains_everything_that_a_retry_needs(tmp_path: Path) -> None:
    plan = after(None, gone("a" * 11), failed("b" * 11))
    path = plan_file.save_plan(tmp_path, None, plan)
    assert path == tmp_path / "job-1.json"
    written = json.loads(path.read_text())
    assert written["options"]["quality"] == "720p"
    assert "output_dir" not in written["options"]
    assert written["targets"] == ["PL0123456789abcdef"]
    assert written["type"] == "playlist_download"
    assert written["trace_id"] == "trace"
    assert written["unavailable_videos"][0]["reason"] == "private"
    assert written["failed_downloads"][0]["attempts"] == 3
    assert "secret-key" not in path.read_text()
    assert plan_file.read_plan(path) == plan
    assert [one.plan_id for one in plan_file.all_plans(tmp_path)] == ["job-1"]


def test_a_redelivered_failure_does_not_change_the_plan() -> None:
    plan = after(None, gone("a" * 11))
    assert after(plan, gone("a" * 11)) is plan
    assert after(plan, failed("a" * 11)) is plan


def test_a_later_failure_replaces_the_earlier_one() -> None:
    plan = after(None, failed("a" * 11), failed("b" * 11), gone("a" * 11, number=2))
    assert ids(plan.unavailable_videos) == ["a" * 11]
    assert ids(plan.failed_downloads) == ["b" * 11]
    assert after(plan, failed("a" * 11, number=1)) is plan


def test_a_resolved_entry_stays_resolved_if_the_old_failure_is_redelivered() -> None:
    plan = after(None, gone("a" * 11), failed("b" * 11))
    assert work_plan.with_arrival(plan, "c" * 11, now=LATER) is plan
    resolved = work_plan.with_arrival(plan, "b" * 11, now=LATER)
    assert resolved.failed_downloads[0].resolved_at == LATER
    assert (resolved.open_unavailable, resolved.open_failed, resolved.resolved) == (1, 0, 1)
    assert work_plan.with_arrival(resolved, "b" * 11, now=AT) is resolved
    assert after(resolved, failed("b" * 11)) is resolved
    again = after(resolved, failed("b" * 11, number=2))
    assert (again.open_failed, again.resolved) == (1, 0)


def test_a_plan_file_is_written_only_if_the_plan_changed(tmp_path: Path) -> None:
    plan = after(None, gone("a" * 11))
    path = plan_file.save_plan(tmp_path, None, plan)
    before = path.stat()
    plan_file.save_plan(tmp_path, plan, after(plan, gone("a" * 11)))
    assert path.stat() == before


def test_unreadable_plan_files_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("[]")
    assert plan_file.read_plan(tmp_path / "bad.json") is None
    assert plan_file.read_plan(tmp_path / "none.json") is None
    assert list(plan_file.all_plans(tmp_path)) == []
