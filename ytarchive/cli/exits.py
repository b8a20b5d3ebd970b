"""Exit codes, and what each means. Pure."""

from datetime import datetime, timedelta
from enum import IntEnum

from services.common.errors import InvalidRequest
from services.common.models import ErrorCode, Job, JobStatus

PARK_BEYOND = timedelta(minutes=10)  # DESIGN §7


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    REFUSED = 2
    GAPS = 3
    PARKED = 4
    INTERRUPTED = 130


MEANINGS = {
    Exit.OK: "done",
    Exit.FAILED: "it failed, was cancelled, or what was asked for is not there",
    Exit.REFUSED: "wrong usage, or a request that was rejected; nothing was begun",
    Exit.GAPS: "finished with gaps: some videos are unavailable or failed, the work plan names them",
    Exit.PARKED: "parked: only timers more than ten minutes away are left",
    Exit.INTERRUPTED: "interrupted (Ctrl-C, SIGTERM); the same command goes on",
}


def exit_code(job: Job) -> Exit:
    """What the end (or the parking) of a job means to who started it."""
    if job.status is JobStatus.FAILED:
        return Exit.REFUSED if rejected(job) else Exit.FAILED
    if job.status is JobStatus.CANCELLED:
        return Exit.FAILED
    if not job.status.ended:
        return Exit.PARKED
    gaps = job.counts.unavailable + job.counts.failed + job.counts.cancelled
    return Exit.GAPS if gaps or job.error else Exit.OK


def rejected(job: Job) -> bool:
    """The request itself was refused: no root was ever given to the job, nothing was listed."""
    return bool(job.error and job.error.code is ErrorCode.INVALID_REQUEST and not job.root)


def parked(job: Job, now: datetime) -> bool:
    """Only timers are left, and the nearest is far."""
    return job.status is JobStatus.RETRYING and job.retry_at is not None and job.retry_at - now > PARK_BEYOND


def of_error(error: Exception) -> Exit:
    return Exit.REFUSED if isinstance(error, InvalidRequest) else Exit.FAILED
