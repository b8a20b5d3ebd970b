"""The end of a failed item: video.failed is published, and the answer of the work plan ends it. Pure."""

from datetime import datetime

from services.common import events as e
from services.common.domain.jobs import ItemStatus
from services.common.models import ErrorCode, ErrorDetail, FailedDownload, JobResult, UnavailableVideo
from services.jobs.domain.accounting import Out, finish, open_job, settle, touch
from services.jobs.domain.rows import ItemRow, JobRow, Rows


def give_up(
    job: JobRow, item: ItemRow, outcome: ItemStatus, reason: str, now: datetime, *, found_at: datetime | None = None
) -> list[Out]:
    """Close a failed item: it ends when storage has written it to the work plan. A look at an archived video just ends.

    `found_at` is when the video was found to be gone, if not now: the re-check interval starts at that time.
    """
    if item.need is not None and item.need.only_looks:
        return [_end_look(job, item, reason, now)]
    item.status, item.since, item.outcome, item.taken_back = ItemStatus.CLOSING, now, outcome, None
    item.reason, item.dispatch_id, item.retry_at = reason, None, None
    item.detected_at = found_at or now
    if outcome is ItemStatus.UNAVAILABLE:
        item.error_code = ErrorCode.VIDEO_UNAVAILABLE
    touch(job, now, item)
    return [announce_failure(job, item, now)]


def _end_look(job: JobRow, item: ItemRow, reason: str, now: datetime) -> Out:
    """Skip an archived video that could not be looked at again. Storage counts the look."""
    why = item.message or reason
    failed = e.LookFailed(
        job_id=job.job_id,
        video_id=item.video_id,
        root=job.root,
        dispatch_id=item.dispatch_id or f"{job.job_id}.{item.revision}",
        reason=reason,
        message=why,
    )
    result = JobResult(
        video_id=item.video_id, status="skipped", message=f"already archived; it could not be looked at again: {why}",
        metadata_saved=item.metadata_saved,
    )  # fmt: skip
    finish(job, item, ItemStatus.SKIPPED, now, result=result)
    return failed, job.trace_id


def announce_failure(job: JobRow, item: ItemRow, now: datetime) -> Out:
    """Return video.failed for a closing item. It is repeated, with a new number, when storage does not answer."""
    item.number += 1
    item.since = now
    unavailable = failed = None
    if item.outcome is ItemStatus.UNAVAILABLE:
        unavailable = UnavailableVideo(
            video_id=item.video_id,
            title=item.title,
            reason=item.reason or "",
            detected_at=item.detected_at or now,
            playlist_id=item.playlist_id,
        )
    else:
        failed = FailedDownload(
            video_id=item.video_id,
            title=item.title or item.video_id,
            attempts=item.attempts,
            last_attempt=item.detected_at or now,
            errors=item.errors,
            file_size=item.file_size,
            retry_after=item.retry_after,
        )
    event = e.VideoFailed(
        job_id=job.job_id,
        video_id=item.video_id,
        root=job.root,
        number=item.number,
        type=job.type,
        options=job.options,
        targets=job.targets,
        unavailable=unavailable,
        failed=failed,
    )
    return event, job.trace_id


def work_plan_updated(rows: Rows, event: e.WorkPlanUpdated, now: datetime) -> list[Out]:
    job = open_job(rows, event.job_id)
    if job is None:
        return []
    for video_id in event.video_ids:
        item = rows.item(job.job_id, video_id)
        if item and item.status is ItemStatus.CLOSING and item.number == event.number:
            job.work_plan = event.path
            result = failed_result(item, item.message or item.reason)
            finish(job, item, item.outcome or ItemStatus.FAILED, now, result=result)
    return settle(job, now)


def close_without_plan(rows: Rows, job: JobRow, video_id: str, error: ErrorDetail, now: datetime) -> list[Out]:
    """End an item whose work plan could not be written, with that error."""
    item = rows.item(job.job_id, video_id)
    if item is None or item.status is not ItemStatus.CLOSING:
        return []
    item.message, item.error_code = error.message, error.code
    finish(job, item, ItemStatus.FAILED, now, result=failed_result(item, error.message))
    return settle(job, now)


def failed_result(item: ItemRow, message: str | None) -> JobResult:
    return JobResult(
        video_id=item.video_id,
        status="failed",
        message=message,
        metadata_saved=item.metadata_saved,
        error_code=item.error_code,
    )
