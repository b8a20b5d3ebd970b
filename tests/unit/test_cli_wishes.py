"""What can be wished for a job, when a wish is fulfilled, and what is said then."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import InvalidRequest, NotFound
from services.common.events import JobCancelRequested, JobResumeRequested, JobRetryRequested
from services.common.models import (
    ErrorCode,
    ErrorDetail,
    Item,
    ItemStatus,
    Job,
    JobCounts,
    JobOptions,
    JobStatus,
    JobType,
    Progress,
)
from services.common.settings.load import Config
from ytarchive.client.job_commands import (
    GoOn,
    Kind,
    Outcome,
    Wish,
    check,
    checked_item,
    has_gaps,
    progress,
    root_beyond,
    told,
)

VIDEO = "demo-000001"
NOTHING = Progress(current=0, total=0, percentage=0.0, message="")
OPEN = [status for status in JobStatus if not status.ended]
ENDED = [status for status in JobStatus if status.ended]


def job(status: JobStatus = JobStatus.RUNNING, **fields: Any) -> Job:
    now = datetime.now(UTC)
    given: dict[str, Any] = {"root": "/archive", "revision": 7} | fields
    return Job(
        job_id="01234567-89ab-cdef-0123-456789abcdef", trace_id="t", type=JobType.VIDEO_DOWNLOAD, status=status,
        targets=[VIDEO], options=JobOptions(), progress=NOTHING, created_at=now, updated_at=now, **given,
    )  # fmt: skip


def item(status: ItemStatus) -> Item:
    return Item(job_id="01234567-89ab-cdef-0123-456789abcdef", video_id=VIDEO, position=0, status=status)


def rejected() -> Job:
    error = ErrorDetail(code=ErrorCode.INVALID_REQUEST, message="quality 'x' is not understood")
    return job(JobStatus.FAILED, root="", error=error)


@pytest.mark.parametrize("status", OPEN)
def test_an_open_job_can_be_cancelled_paused_and_resumed(status: JobStatus) -> None:
    for kind in (Kind.CANCEL, Kind.PAUSE, Kind.RESUME):
        check(kind, job(status))
    with pytest.raises(InvalidRequest, match="jobs resume 01234567"):
        check(Kind.RETRY, job(status))


@pytest.mark.parametrize("status", ENDED)
@pytest.mark.parametrize("kind", [Kind.CANCEL, Kind.PAUSE, Kind.RESUME])
def test_an_ended_job_can_only_be_retried(status: JobStatus, kind: Kind) -> None:
    gaps = job(status, counts=JobCounts(total=1, failed=1))
    check(Kind.RETRY, gaps)
    with pytest.raises(InvalidRequest, match="`ytarchive jobs retry 01234567` tries its gaps again"):
        check(kind, gaps)


def test_what_was_rejected_is_not_tried_again() -> None:
    with pytest.raises(InvalidRequest, match=r"order it anew[^$]*quality 'x'"):
        check(Kind.RETRY, rejected())
    with pytest.raises(InvalidRequest) as refused:
        check(Kind.CANCEL, rejected())
    assert "retry" not in refused.value.message


@pytest.mark.parametrize(
    ("ended", "gaps"),
    [
        (job(JobStatus.COMPLETED, counts=JobCounts(total=2, archived=1, skipped=1)), False),
        (job(JobStatus.COMPLETED), False),
        (job(JobStatus.COMPLETED, counts=JobCounts(total=1, unavailable=1)), True),
        (job(JobStatus.COMPLETED, counts=JobCounts(total=1, failed=1)), True),
        (job(JobStatus.COMPLETED, counts=JobCounts(total=1, cancelled=1)), True),
        (job(JobStatus.COMPLETED, error=ErrorDetail(code=ErrorCode.NETWORK_TIMEOUT, message="x")), True),
        (job(JobStatus.CANCELLED), True),
        (job(JobStatus.FAILED), True),
    ],
)
def test_gaps(ended: Job, gaps: bool) -> None:
    assert has_gaps(ended) is gaps


@pytest.mark.parametrize(
    ("kind", "after", "expected"),
    [
        (Kind.CANCEL, job(), (False, False)),
        (Kind.CANCEL, job(cancelling=True), (True, False)),
        (Kind.CANCEL, job(JobStatus.CANCELLED), (True, True)),
        (Kind.CANCEL, job(JobStatus.COMPLETED), (True, True)),
        (Kind.PAUSE, job(), (False, False)),
        (Kind.PAUSE, job(paused=True), (True, True)),
        (Kind.PAUSE, job(JobStatus.COMPLETED), (True, True)),
        (Kind.RESUME, job(paused=True), (False, False)),
        (Kind.RESUME, job(), (True, True)),
        (Kind.RETRY, job(JobStatus.COMPLETED), (False, False)),
        (Kind.RETRY, job(revision=8), (True, True)),
        (Kind.RETRY, job(JobStatus.COMPLETED, revision=12), (True, True)),
    ],
)
def test_when_a_wish_is_fulfilled(kind: Kind, after: Job, expected: tuple[bool, bool]) -> None:
    assert progress(Wish(kind, job()), after, None) == expected


@pytest.mark.parametrize(
    ("status", "revision", "expected"),
    [
        (ItemStatus.RUNNING, 7, (False, False)),
        (ItemStatus.RUNNING, 8, (True, False)),
        (ItemStatus.CANCELLED, 8, (True, True)),
        (ItemStatus.ARCHIVED, 8, (True, True)),
    ],
)
def test_when_one_video_is_cancelled(status: ItemStatus, revision: int, expected: tuple[bool, bool]) -> None:
    wish = Wish(Kind.CANCEL, job(), VIDEO)
    assert progress(wish, job(revision=revision), item(status)) == expected
    assert wish.event() == JobCancelRequested(job_id="01234567-89ab-cdef-0123-456789abcdef", video_id=VIDEO)


def test_the_video_is_named_by_id_or_link_and_is_open() -> None:
    running, done = [item(ItemStatus.RUNNING)], [item(ItemStatus.ARCHIVED)]

    assert checked_item(running, f"https://youtu.be/{VIDEO}") is running[0]
    with pytest.raises(NotFound, match="no such video"):
        checked_item(running, "demo-000002")
    with pytest.raises(InvalidRequest, match="archived"):
        checked_item(done, VIDEO)
    with pytest.raises(InvalidRequest):
        checked_item(running, "no video at all")


def test_a_retry_that_was_begun_is_gone_on_with() -> None:
    ended = job(JobStatus.COMPLETED, revision=9)
    errand = GoOn(Wish(Kind.RETRY, ended), None)

    assert errand.known([]).since == 9, "the end that is known is not the one that is waited for"
    assert GoOn(Wish(Kind.RESUME, job()), None).known([]).since == -1
    assert errand.event(ended.job_id, again=False) == JobRetryRequested(job_id=ended.job_id)
    assert errand.event(ended.job_id, again=True) == JobResumeRequested(job_id=ended.job_id)


def test_a_root_that_came_with_the_job_is_brought_along(config: Config) -> None:
    inside = config.storage.base_path / "music"

    assert root_beyond(job(root=str(inside)), config) is None
    assert root_beyond(job(root=""), config) is None
    assert root_beyond(job(root="/elsewhere"), config) == Path("/elsewhere")


@pytest.mark.parametrize(
    ("kind", "outcome", "says"),
    [
        (Kind.CANCEL, Outcome(job(JobStatus.CANCELLED)), "is cancelled"),
        (Kind.CANCEL, Outcome(job(cancelling=True), complete=False), "has not stopped yet"),
        (Kind.CANCEL, Outcome(job(JobStatus.COMPLETED)), "had ended (completed) before"),
        (Kind.CANCEL, Outcome(job(), item(ItemStatus.CANCELLED)), f"Video {VIDEO} is cancelled"),
        (Kind.CANCEL, Outcome(job(), item(ItemStatus.ARCHIVED)), "had ended (archived) before"),
        (Kind.CANCEL, Outcome(job(), item(ItemStatus.RUNNING), complete=False), "has not stopped yet"),
        (Kind.PAUSE, Outcome(job(paused=True)), "is paused"),
        (Kind.PAUSE, Outcome(job(JobStatus.COMPLETED)), "had ended (completed) before"),
        (Kind.RESUME, Outcome(job()), "goes on"),
        (Kind.RETRY, Outcome(job()), "tried again"),
    ],
)
def test_what_came_of_it(kind: Kind, outcome: Outcome, says: str) -> None:
    assert says in told(Wish(kind, job(), VIDEO if outcome.item else None), outcome)
