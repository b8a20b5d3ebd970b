"""Rows as REST and events show them. Pure."""

from services.common.domain.follows import Follow, FollowVideo
from services.common.domain.jobs import Item, Job, JobCounts
from services.common.models import Progress
from services.jobs.domain.rows import FollowRow, FollowVideoRow, ItemRow, JobRow


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


def follow_view(follow: FollowRow) -> Follow:
    return Follow(
        follow_id=follow.follow_id,
        target=follow.target,
        title=follow.title,
        channel_id=follow.channel_id,
        type=follow.type,
        options=follow.options,
        root=follow.root,
        priority=follow.priority,
        every_seconds=follow.every,
        last=follow.last,
        paused=follow.paused,
        looking=follow.looking is not None,
        looks=follow.look - follow.first_look,
        looked_at=follow.looked_at,
        how=follow.how,
        next_look=follow.next_look,
        interval_seconds=follow.interval or None,
        stretched=follow.stretched,
        failures=follow.failures,
        error=follow.error,
        feed_problem=follow.feed_problem,
        found_at=follow.found_at,
        found_title=follow.found_title,
        job_id=follow.last_job,
        videos=follow.videos,
        taken=follow.taken,
        left_out=follow.left_out,
        created_at=follow.created_at,
    )


def follow_video_view(video: FollowVideoRow) -> FollowVideo:
    return FollowVideo(
        video_id=video.video_id,
        title=video.title,
        state=video.state,
        reason=video.reason,
        job_id=video.job_id,
        found_at=video.at,
        published_until=video.published_until,
    )
