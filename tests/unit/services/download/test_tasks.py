"""The task list of the download service."""

from datetime import UTC, datetime
from typing import Any

from bus import Event
from services.common.domain.archive import Provenance
from services.common.domain.failures import Failure, FailureKind
from services.common.domain.videos import VideoMetadata, Wanted
from services.common.events import (
    DownloadCancelled,
    DownloadCompleted,
    DownloadDeferred,
    DownloadFailed,
    DownloadRequested,
)
from services.common.models import ErrorCode
from services.common.youtube.messages import Downloading
from services.download.tasks import KEPT, TaskRecord, Tasks, TaskState, UnknownFailures

VIDEO = "aaaaaaaaaaa"
GONE = Failure(kind=FailureKind.GONE, code=ErrorCode.VIDEO_UNAVAILABLE, reason="private", message="it is private")
LATER = datetime(2026, 1, 1, tzinfo=UTC)


def requested(number: int = 1) -> DownloadRequested:
    names = {"dispatch_id": f"f.{number}", "fetch_id": "f", "job_id": "j", "video_id": VIDEO, "root": "/x"}
    return DownloadRequested.model_validate(names | {"wanted": Wanted()})


def end_of(request: DownloadRequested, kind: type[Event]) -> Event:
    more: dict[type[Event], dict[str, Any]] = {
        DownloadFailed: {"failure": GONE},
        DownloadDeferred: {"reason": "disk_full", "retry_after": LATER},
        DownloadCompleted: {
            "wanted": request.wanted,
            "directory": "/nowhere",
            "files": (),
            "metadata": VideoMetadata(video_id=VIDEO, title="t"),
            "provenance": Provenance(source_url="u", started_at=LATER, finished_at=LATER),
        },
    }
    return kind.model_validate(request.model_dump(exclude={"wanted"}) | more.get(kind, {}))


def ended(tasks: Tasks, number: int, kind: type[Event] | None) -> TaskRecord:
    record = tasks.begin(requested(number), "t")
    if kind is not None:
        record.note(end_of(record.request, kind))
    tasks.end(record)
    return record


def test_speed_and_eta_are_shown_only_while_downloading() -> None:
    record = Tasks().begin(requested(), "t")
    assert (record.progress_view().state, record.progress_view().current, record.progress_view().total) == (
        TaskState.WAITING,
        0,
        0,
    )
    record.arrived(Downloading(downloaded=250, total=1000, speed=50.0, eta=15))
    view = record.progress_view()
    assert (view.percentage, view.speed_bps, view.eta_seconds, view.message) == (25.0, 50.0, 15, "downloading")
    record.state = TaskState.FINISHING
    view = record.progress_view()
    assert (view.percentage, view.speed_bps, view.eta_seconds) == (25.0, None, None)
    assert view.message == "merging and checking the files"


def test_every_ended_task_shows_its_result_and_reason() -> None:
    tasks = Tasks()
    kinds: tuple[type[Event], ...] = (DownloadCompleted, DownloadFailed, DownloadDeferred, DownloadCancelled)
    records = [ended(tasks, number, kind) for number, kind in enumerate(kinds)]
    assert [record.progress_view().message for record in records] == [
        "completed",
        "failed: it is private",
        "deferred: disk_full",
        "cancelled",
    ]
    assert [record.progress_view().percentage for record in records] == [100.0, 0.0, 0.0, 0.0]
    views = [record.view() for record in records]
    assert (views[1].failure, views[2].retry_after) == (GONE, LATER)
    assert all(view.finished_at and view.state is TaskState.ENDED for view in views)
    assert tasks.numbers()["tasks_ended"] == {"completed": 1, "failed": 1, "deferred": 1, "cancelled": 1}


def test_a_task_that_ends_without_an_event_is_removed() -> None:
    tasks = Tasks()
    ended(tasks, 1, None)
    assert tasks.find("f.1") is None
    assert list(tasks.all()) == []


def test_running_tasks_come_first_and_only_the_latest_ended_tasks_are_kept() -> None:
    tasks = Tasks()
    running = [tasks.begin(requested(number), "t") for number in (1, 2)]
    for number in range(3, KEPT + 5):
        ended(tasks, number, DownloadCompleted)
    found = [record.task_id for record in tasks.all()]
    assert found[:3] == ["f.1", "f.2", f"f.{KEPT + 4}"]
    assert len(found) == KEPT + 2
    assert tasks.find("f.3") is None
    assert tasks.find("f.1") is running[0]


def test_bytes_of_earlier_attempts_are_not_counted() -> None:
    tasks = Tasks()
    record = tasks.begin(requested(), "t")
    record.arrived(Downloading(downloaded=400, total=1000))
    record.arrived(Downloading(downloaded=700, total=1000))
    assert tasks.numbers()["bytes_downloaded"] == 300
    record.note(end_of(record.request, DownloadCancelled))
    tasks.end(record)
    assert tasks.numbers()["bytes_downloaded"] == 300
    assert tasks.numbers()["tasks"] == {state.value: 0 for state in TaskState if state is not TaskState.ENDED}


def unknown(message: str) -> Failure:
    return GONE.model_copy(update={"kind": FailureKind.PASSING, "reason": "unknown", "message": message})


def test_failures_that_no_rule_recognizes_are_counted_by_their_words() -> None:
    tasks = Tasks()
    for number in range(3):
        record = tasks.begin(requested(number), "t")
        failure = unknown(f"Nobody has seen video{number} before")
        record.note(end_of(record.request, DownloadFailed).model_copy(update={"failure": failure}))
        tasks.end(record)
    ended(tasks, 9, DownloadFailed)
    assert tasks.numbers()["unknown_failures"] == {"nobody has seen # before": 3}


def test_the_number_of_counted_texts_and_their_length_are_bounded() -> None:
    counts = UnknownFailures()
    for first in "abcdefghij":
        for second in "abcdefghij":
            counts.note(unknown(f"{first * 60} {second * 60}"))
    found = counts.numbers()
    assert len(found) <= UnknownFailures.MOST + 1
    assert sum(found.values()) == 100
    assert max(map(len, found)) <= UnknownFailures.LONGEST
