"""Exit codes and their meanings. Pure."""

from datetime import datetime, timedelta
from enum import IntEnum

from services.common.domain.jobs import Job
from services.common.errors import InvalidRequest
from services.common.models import ErrorCode, JobStatus

PARK_AFTER = timedelta(minutes=10)  # a one-shot does not wait longer for a scheduled retry


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    REFUSED = 2
    INCOMPLETE = 3
    PARKED = 4
    INTERRUPTED = 130


MEANINGS = {
    Exit.OK: "success",
    Exit.FAILED: "the operation failed or was cancelled, or the requested object does not exist",
    Exit.REFUSED: "wrong usage or a rejected request; nothing was started",
    Exit.INCOMPLETE: "finished, but some videos, or all, are unavailable or failed; the work plan lists them",
    Exit.PARKED: "parked: the next scheduled retry is more than ten minutes away",
    Exit.INTERRUPTED: "interrupted (Ctrl-C, SIGTERM); the same command continues",
}


def exit_code(job: Job) -> Exit:
    """Return the exit code for a job that ended or was parked."""
    if job.status is JobStatus.FAILED:
        return Exit.REFUSED if rejected(job) else Exit.FAILED
    if job.status is JobStatus.CANCELLED:
        return Exit.FAILED
    if not job.status.ended:
        return Exit.PARKED
    failures = job.counts.unavailable + job.counts.failed + job.counts.cancelled
    return Exit.INCOMPLETE if failures or job.error else Exit.OK


def rejected(job: Job) -> bool:
    """Return whether the request itself was rejected: the job has no archive root, and nothing was listed."""
    return bool(job.error and job.error.code is ErrorCode.INVALID_REQUEST and not job.root)


def parked(job: Job, now: datetime) -> bool:
    """Return whether a job only waits for scheduled retries, and the next one is more than ten minutes away."""
    return job.status is JobStatus.RETRYING and job.retry_at is not None and job.retry_at - now > PARK_AFTER


def of_error(error: Exception) -> Exit:
    return Exit.REFUSED if isinstance(error, InvalidRequest) else Exit.FAILED
