"""Messages about commands for jobs: what they did, or why they were rejected. Pure."""

from services.common.domain.jobs import Item, ItemStatus
from services.common.errors import InvalidRequest, NotFound
from services.common.models import JobStatus
from ytarchive.cli.jobs.exit_codes import rejected
from ytarchive.client.job_commands import CommandOutcome, JobCommand, JobCommandKind
from ytarchive.text import short_id


def nothing_to_retry(command: JobCommand) -> bool:
    """Return whether a rejected command is a retry of a job that was complete: no mistake of the user."""
    return command.kind is JobCommandKind.RETRY and command.job.status.ended and not rejected(command.job)


def explain_refusal(command: JobCommand, error: InvalidRequest) -> InvalidRequest:
    """Return the error of a rejected command with a suggestion which command to use instead."""
    job, short = command.job, short_id(command.job.job_id)
    if isinstance(error, NotFound):
        return NotFound(f"{error.message} `ytarchive jobs show {short}` lists the videos of the job.", **error.details)
    if command.kind is not JobCommandKind.RETRY and job.status.ended:
        remedy = "" if rejected(job) else f" `ytarchive jobs retry {short}` retries its failed and unavailable videos."
        message = f"Job {short} has ended ({job.status}): there is nothing to {command.kind}.{remedy}"
        return InvalidRequest(message, **error.details)
    if command.kind is JobCommandKind.RETRY and not job.status.ended:
        message = (
            f"Job {short} has not ended ({job.status}): only an ended job can be retried."
            f" `ytarchive jobs resume {short}` continues it, `ytarchive jobs watch {short}` follows it."
        )
        return InvalidRequest(message, **error.details)
    if command.kind is JobCommandKind.RETRY:
        reason = job.error.message if job.error else ""
        message = f"Job {short} was rejected and never started: submit it again with `ytarchive download`.\n{reason}"
        return InvalidRequest(message.rstrip(), **error.details)
    return error


def outcome_message(command: JobCommand, outcome: CommandOutcome) -> str:
    job, short = outcome.job, short_id(outcome.job.job_id)
    if outcome.item is not None:
        return _video_message(outcome.item, complete=outcome.complete)
    match command.kind:
        case JobCommandKind.CANCEL if not outcome.complete:
            return f"Job {short} is being cancelled; its running downloads have not stopped yet."
        case JobCommandKind.CANCEL if job.status is JobStatus.CANCELLED:
            return f"Job {short} is cancelled. Complete videos are archived. `ytarchive jobs retry {short}` undoes it."
        case JobCommandKind.PAUSE if not job.status.ended:
            return (
                f"Job {short} is paused; its running downloads are finished."
                f" `ytarchive jobs resume {short}` continues it."
            )
        case JobCommandKind.CANCEL | JobCommandKind.PAUSE:
            return f"Job {short} had already ended ({job.status})."
        case JobCommandKind.RESUME:
            return f"Job {short} continues. `ytarchive jobs watch {short}` follows it."
        case JobCommandKind.RETRY:
            return (
                f"The failed and unavailable videos of job {short} are retried."
                f" `ytarchive jobs watch {short}` follows it."
            )


def _video_message(item: Item, *, complete: bool) -> str:
    if not complete:
        return f"Video {item.video_id} is being cancelled; its download has not stopped yet."
    if item.status is ItemStatus.CANCELLED:
        return f"Video {item.video_id} is cancelled."
    return f"Video {item.video_id} had already ended ({item.status})."
