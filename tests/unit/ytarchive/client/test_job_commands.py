"""Commands for a job: refusals, when they are applied, and messages about the outcome."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.common.domain.jobs import Item, ItemStatus, Job, JobCounts
from services.common.errors import InvalidRequest, NotFound
from services.common.events import JobCancelRequested, JobResumeRequested, JobRetryRequested
from services.common.models import ErrorCode, ErrorDetail, JobOptions, JobStatus, JobType, Progress
from services.common.settings.load import Config
from ytarchive.cli.render.job_commands import explain_refusal, nothing_to_retry, outcome_message
from ytarchive.cli.workflows.run_job import ContinuedJob
from ytarchive.client.job_commands import (
    CommandOutcome,
    JobCommand,
    JobCommandKind,
    check_offline,
    command_state,
    root_outside_configuration,
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


NO_EFFECT = InvalidRequest("the command has no effect", status="s")


def refusal(kind: JobCommandKind, of: Job) -> InvalidRequest:
    error = explain_refusal(JobCommand(kind, of), NO_EFFECT)
    assert error.details == NO_EFFECT.details
    return error


@pytest.mark.parametrize("status", OPEN)
def test_the_refusal_to_retry_an_open_job_suggests_to_resume_it(status: JobStatus) -> None:
    assert "`ytarchive jobs resume 01234567` continues it" in refusal(JobCommandKind.RETRY, job(status)).message
    assert not nothing_to_retry(JobCommand(JobCommandKind.RETRY, job(status)))


@pytest.mark.parametrize("status", ENDED)
@pytest.mark.parametrize("kind", [JobCommandKind.CANCEL, JobCommandKind.PAUSE, JobCommandKind.RESUME])
def test_the_refusal_of_a_command_for_an_ended_job_suggests_to_retry_it(
    status: JobStatus, kind: JobCommandKind
) -> None:
    message = refusal(kind, job(status, counts=JobCounts(total=1, failed=1))).message
    assert f"has ended ({status}): there is nothing to {kind}." in message
    assert "`ytarchive jobs retry 01234567` retries its failed and unavailable videos" in message
    assert nothing_to_retry(JobCommand(JobCommandKind.RETRY, job(status))), "a complete job is not an error"


def test_the_refusal_of_a_command_for_a_rejected_job_suggests_to_submit_it_again() -> None:
    message = refusal(JobCommandKind.RETRY, rejected()).message
    assert "submit it again" in message and "quality 'x'" in message
    assert "retry" not in refusal(JobCommandKind.CANCEL, rejected()).message
    assert not nothing_to_retry(JobCommand(JobCommandKind.RETRY, rejected()))


def test_a_command_for_an_unknown_video_names_the_command_that_lists_the_videos() -> None:
    error = explain_refusal(JobCommand(JobCommandKind.CANCEL, job(), VIDEO), NotFound("no such video", video_id=VIDEO))
    assert isinstance(error, NotFound)
    assert error.message == "no such video `ytarchive jobs show 01234567` lists the videos of the job."


async def test_a_command_for_an_unknown_job_is_refused_offline(config: Config) -> None:
    with pytest.raises(NotFound, match="There is no job"):
        await check_offline(config, JobCommand(JobCommandKind.CANCEL, job()))


@pytest.mark.parametrize(
    ("kind", "after", "expected"),
    [
        (JobCommandKind.CANCEL, job(), (False, False)),
        (JobCommandKind.CANCEL, job(cancelling=True), (True, False)),
        (JobCommandKind.CANCEL, job(JobStatus.CANCELLED), (True, True)),
        (JobCommandKind.CANCEL, job(JobStatus.COMPLETED), (True, True)),
        (JobCommandKind.PAUSE, job(), (False, False)),
        (JobCommandKind.PAUSE, job(paused=True), (True, True)),
        (JobCommandKind.PAUSE, job(JobStatus.COMPLETED), (True, True)),
        (JobCommandKind.RESUME, job(paused=True), (False, False)),
        (JobCommandKind.RESUME, job(), (True, True)),
        (JobCommandKind.RETRY, job(JobStatus.COMPLETED), (False, False)),
        (JobCommandKind.RETRY, job(revision=8), (True, True)),
        (JobCommandKind.RETRY, job(JobStatus.COMPLETED, revision=12), (True, True)),
    ],
)
def test_when_a_command_is_applied(kind: JobCommandKind, after: Job, expected: tuple[bool, bool]) -> None:
    assert command_state(JobCommand(kind, job()), after, None) == expected


@pytest.mark.parametrize(
    ("status", "revision", "expected"),
    [
        (ItemStatus.RUNNING, 7, (False, False)),
        (ItemStatus.RUNNING, 8, (True, False)),
        (ItemStatus.CANCELLED, 8, (True, True)),
        (ItemStatus.ARCHIVED, 8, (True, True)),
    ],
)
def test_when_the_cancellation_of_a_video_is_applied(
    status: ItemStatus, revision: int, expected: tuple[bool, bool]
) -> None:
    command = JobCommand(JobCommandKind.CANCEL, job(), VIDEO)
    assert command_state(command, job(revision=revision), item(status)) == expected
    assert command.event() == JobCancelRequested(job_id="01234567-89ab-cdef-0123-456789abcdef", video_id=VIDEO)


def test_an_applied_retry_waits_for_the_next_end_and_continues_by_resuming() -> None:
    ended = job(JobStatus.COMPLETED, revision=9)
    task = ContinuedJob(JobCommand(JobCommandKind.RETRY, ended), None)

    assert task.existing([]).since == 9, "wait for an end after the known one"
    assert ContinuedJob(JobCommand(JobCommandKind.RESUME, job()), None).existing([]).since == -1
    assert task.event(ended.job_id, again=False) == JobRetryRequested(job_id=ended.job_id)
    assert task.event(ended.job_id, again=True) == JobResumeRequested(job_id=ended.job_id)


def test_a_root_outside_the_configuration_is_returned(config: Config) -> None:
    inside = config.storage.base_path / "music"

    assert root_outside_configuration(job(root=str(inside)), config) is None
    assert root_outside_configuration(job(root=""), config) is None
    assert root_outside_configuration(job(root="/elsewhere"), config) == Path("/elsewhere")


@pytest.mark.parametrize(
    ("kind", "outcome", "expected"),
    [
        (JobCommandKind.CANCEL, CommandOutcome(job(JobStatus.CANCELLED)), "is cancelled"),
        (JobCommandKind.CANCEL, CommandOutcome(job(cancelling=True), complete=False), "not stopped yet"),
        (JobCommandKind.CANCEL, CommandOutcome(job(JobStatus.COMPLETED)), "had already ended (completed)"),
        (JobCommandKind.CANCEL, CommandOutcome(job(), item(ItemStatus.CANCELLED)), f"Video {VIDEO} is cancelled"),
        (JobCommandKind.CANCEL, CommandOutcome(job(), item(ItemStatus.ARCHIVED)), "had already ended (archived)"),
        (JobCommandKind.CANCEL, CommandOutcome(job(), item(ItemStatus.RUNNING), complete=False), "not stopped yet"),
        (JobCommandKind.PAUSE, CommandOutcome(job(paused=True)), "is paused"),
        (JobCommandKind.PAUSE, CommandOutcome(job(JobStatus.COMPLETED)), "had already ended (completed)"),
        (JobCommandKind.RESUME, CommandOutcome(job()), "continues"),
        (JobCommandKind.RETRY, CommandOutcome(job()), "are retried"),
    ],
)
def test_messages_about_the_outcome(kind: JobCommandKind, outcome: CommandOutcome, expected: str) -> None:
    assert expected in outcome_message(JobCommand(kind, job(), VIDEO if outcome.item else None), outcome)
