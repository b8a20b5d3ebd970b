"""Rows as REST and events show them. Pure."""

from services.common.domain.jobs import Item, Job, JobCounts
from services.common.models import Progress
from services.jobs.domain.rows import ItemRow, JobRow


def job_view(job: JobRow) -> Job:
    ended = job.total - job.open
    listed = job.listings_open == 0
    counts = JobCounts(
        total=job.total,
        open=job.open,
        archived=job.archived,
        skipped=job.skipped,
        unavailable=job.unavailable,
        failed=job.failed,
        cancelled=job.cancelled,
    )
    of = f"{job.total}" if listed else f"{job.total} listed so far"
    return Job(
        job_id=job.job_id,
        trace_id=job.trace_id,
        type=job.type,
        status=job.status,
        paused=job.paused,
        cancelling=job.cancelling,
        priority=job.priority,
        targets=list(job.targets),
        target_count=job.target_count,
        targets_digest=job.targets_digest,
        options=job.options,
        root=job.root,
        title=job.title,
        counts=counts,
        listed=listed,
        progress=Progress(
            current=ended,
            total=job.total,
            percentage=round(100 * ended / job.total, 1) if job.total else 0.0,
            message=f"{ended} of {of} done",
        ),
        error=job.error,
        notes=list(job.notes),
        retry_at=job.retry_at,
        waiting_for=job.waiting_for,
        work_plan=job.work_plan,
        created_at=job.created_at,
        updated_at=job.updated_at,
        finished_at=job.finished_at,
        revision=job.revision,
    )


def item_view(item: ItemRow) -> Item:
    return Item(
        job_id=item.job_id,
        video_id=item.video_id,
        position=item.position,
        title=item.title,
        status=item.status,
        attempts=item.attempts,
        reason=item.reason,
        message=item.message,
        error_code=item.error_code,
        retry_at=item.retry_at,
        result=item.result,
        shortfall=item.shortfall,
        revision=item.revision,
    )
