"""What is told of which event, from real events as the journal has them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bus.message import Event
from services.common import events as e
from services.common.domain.archive import Held
from services.common.domain.failures import Failure, FailureKind
from services.common.domain.jobs import Job, JobCounts
from services.common.domain.videos import Entry
from services.common.models import ErrorCode, ErrorDetail, JobOptions, JobStatus, JobType, Progress
from services.logging.news.notes import Note, Withdrawn, changes

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
DISPATCH: dict[str, Any] = {
    "dispatch_id": "f.1",
    "fetch_id": "f",
    "job_id": "j",
    "video_id": "video000001",
    "root": "/a",
}


def told(event: Event) -> list[Note | Withdrawn]:
    return changes(event.subject, event.model_dump(mode="json"))


def failure(reason: str, code: ErrorCode = ErrorCode.INVALID_CREDENTIALS) -> Failure:
    return Failure(kind=FailureKind.LOCAL, code=code, reason=reason, message="What happened")


def job(**counts: int) -> Job:
    return Job(
        job_id="0123456789", trace_id="t", type=JobType.PLAYLIST_DOWNLOAD, status=JobStatus.COMPLETED, targets=["PLx"],
        options=JobOptions(), root="/a", title="Talks", counts=JobCounts(**counts), created_at=NOW, updated_at=NOW,
        progress=Progress(current=1, total=1, percentage=100, message=""),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("event", "urgent", "title"),
    [
        (e.FixityFailed(verification_id="v", root="/a", video_id="video000001", files=("a.mp4",), reasons=("changed",)),
         True, "A file of the archive is damaged"),
        (e.DownloadFailed(**DISPATCH, failure=failure("cookies")), True, "The cookies cannot be used"),
        (e.DownloadDeferred(**DISPATCH, reason="disk_full", failure=failure("disk_full", ErrorCode.STORAGE_FULL)),
         True, "The disk is full"),
        (e.StorageFailed(job_id="j", video_id="video000001", root="/a", dispatch_id="d",
                         failure=failure("disk_full", ErrorCode.STORAGE_FULL)), True, "The disk is full"),
        (e.ListingFailed(job_id="j", root="/a", target_index=0, listing=1, error=ErrorDetail(
            code=ErrorCode.INVALID_CREDENTIALS, message="no", details={"reason": "cookies"})),
         True, "The cookies cannot be used"),
        (e.FollowFound(follow_id="0" * 12, look=3, job_id="follow-x-3", title="Bern", found=2,
                       entries=(Entry(video_id="video000001", title="One"), Entry(video_id="video000002"))),
         False, "Bern: 2 new videos"),
        (e.JobCompleted(job_id="j", revision=3, job=job(archived=2, unavailable=1, total=3)),
         False, "Not all of Talks could be saved"),
    ],
)  # fmt: skip
def test_what_is_told(event: Event, urgent: bool, title: str) -> None:
    (note,) = told(event)
    assert isinstance(note, Note)
    assert (note.urgent, note.title, note.wait) == (urgent, title, timedelta())


@pytest.mark.parametrize(
    "event",
    [
        e.JobCompleted(job_id="j", revision=3, job=job(archived=3, total=3)),
        e.DownloadFailed(**DISPATCH, failure=failure("timeout", ErrorCode.NETWORK_TIMEOUT)),
        e.JobPauseRequested(job_id="j"),
    ],
)
def test_what_is_not_told(event: Event) -> None:
    assert told(event) == []


def test_what_passes_by_itself_waits_and_is_withdrawn() -> None:
    (blocked,) = told(e.SourceBlocked(egress="home", reason="bot_check", until=NOW, message="Bot check."))
    assert isinstance(blocked, Note)
    assert (blocked.key, blocked.wait) == ("blocked/home", timedelta(hours=1))
    assert told(e.SourceCleared(egress="home")) == [Withdrawn("blocked/home")]
    error = ErrorDetail(code=ErrorCode.SERVICE_UNAVAILABLE, message="away")
    (failing,) = told(e.FollowLooked(follow_id="0" * 12, look=1, how="list", error=error))
    assert isinstance(failing, Note)
    assert failing.wait == timedelta(days=1)
    assert told(e.FollowLooked(follow_id="0" * 12, look=2, how="feed")) == [Withdrawn(failing.key)]


def test_saved_in_time_is_what_is_held_and_hidden() -> None:
    marks = (None, "private", "deleted", "private")
    entries = tuple(Entry(video_id=f"video00000{n}", marked=mark) for n, mark in enumerate(marks))
    held = tuple(
        Held(video_id=entry.video_id, qualities=("1080p",) if n < 3 else ()) for n, entry in enumerate(entries)
    )
    checked = e.ArchiveChecked(
        job_id="j", root="/a", target_index=0, listing=1, page_key="k", entries=entries, held=held
    )
    assert [(note.key, note.text) for note in told(checked) if isinstance(note, Note)] == [
        ("in-time/video000001", "video000001 was made private on YouTube. You hold it."),
        ("in-time/video000002", "video000002 was deleted on YouTube. You hold it."),
    ]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"egress": 1},
        {"entries": 3, "held": None},
        {"job": {}},
        {"error": "x"},
        {"job": {"counts": {"unavailable": 1}, "targets": [], "job_id": "x"}, "job_id": "x", "revision": 1},
    ],
)
def test_an_event_of_another_version_is_no_error(data: dict[str, Any]) -> None:
    for subject in ("source.blocked", "archive.checked", "job.completed", "follow.looked", "follow.found", "other"):
        assert isinstance(changes(subject, data), list)


def test_texts_of_others_are_cut_and_harmless() -> None:
    entry = Entry(video_id="video000001", title="a\x1b[31m\n" + "x" * 1000)
    (note,) = told(e.FollowFound(follow_id="0" * 12, look=1, job_id="j", found=1, entries=(entry,)))
    assert isinstance(note, Note)
    assert note.text.isprintable()
    assert len(note.text) < 310
