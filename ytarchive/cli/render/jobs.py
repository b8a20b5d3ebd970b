"""Jobs and their items for people. Pure; upstream text goes through safe_text."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.common.domain.jobs import Item, ItemStatus, Job
from services.common.models import JobStatus
from services.jobs.rest_models import JobList, JobSummary
from ytarchive.cli.render.table import Cell, facts, page_of, table
from ytarchive.text import count, moment, safe_text, short_id, size

_STATUS_STYLE = {
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "red",
    JobStatus.RUNNING: "cyan",
    JobStatus.RETRYING: "yellow",
}
_ITEM_STYLE = {
    ItemStatus.ARCHIVED: "green",
    ItemStatus.SKIPPED: "green",
    ItemStatus.UNAVAILABLE: "yellow",
    ItemStatus.FAILED: "red",
    ItemStatus.RUNNING: "cyan",
}
_TITLE, _NAME = 60, 80  # characters, of a video and of a job


def job_name(job: Job | None) -> str:
    if job is None:
        return "…"
    if job.title:
        return safe_text(job.title, _NAME)
    return count(job.target_count, "target") if job.target_count > 1 else safe_text(job.targets[0], _NAME)


def jobs_table(page: JobList, now: datetime) -> RenderableType:
    if not page.jobs:
        return Text("No jobs." if not page.total else "No jobs on this page.")
    rows: Iterator[tuple[Cell, ...]] = (
        (
            short_id(job.job_id),
            _status(job),
            job_name(job),
            f"{job.counts.total - job.counts.open}/{job.counts.total}",
            str(job.counts.unavailable + job.counts.failed),
            moment(job.created_at, now),
        )
        for job in page.jobs
    )
    listed = table("job", "status", "title", "done", "failures", "created", rows=rows)
    return page_of(listed, len(page.jobs), page.total, "job")


def _status(job: Job) -> Text:
    return Text(f"{job.status}{' (paused)' if job.paused else ''}", style=_STATUS_STYLE.get(job.status, ""))


def job_summary(summary: JobSummary, now: datetime) -> RenderableType:
    """`left_out` videos are only counted, with the command that lists them."""
    shown: list[RenderableType] = [facts(_job_facts(summary.job, now))]
    if summary.items:
        shown.append(items_table(summary.items))
    if summary.left_out:
        more = f"{count(summary.left_out, 'more video')}: `ytarchive jobs show {short_id(summary.job.job_id)} --all`."
        shown.append(Text(more))
    return Group(*shown)


def _job_facts(job: Job, now: datetime) -> list[tuple[str, Cell]]:
    rows: list[tuple[str, Cell]] = [
        ("Job", job.job_id),
        ("Trace", safe_text(job.trace_id)),
        ("Status", _status(job)),
        ("Title", job_name(job)),
        ("Targets", safe_text(", ".join(job.targets[:5]), 500) + ("…" if job.target_count > 5 else "")),
        ("Type", job.type.value),
        ("Quality", safe_text(job.options.quality)),
        ("Files", safe_text(job.root, 4096)),
        ("Progress", safe_text(job.progress.message)),
        *([("Videos", _counts(job))] if job.counts.total else []),
        ("Created", moment(job.created_at, now)),
    ]
    if job.finished_at:
        rows.append(("Finished", moment(job.finished_at, now)))
    if job.waiting_for:
        rows.append(("Waiting", safe_text(job.waiting_for, 1000)))
    if job.retry_at:
        rows.append(("Next retry", moment(job.retry_at, now)))
    if job.work_plan:
        rows.append(("Work plan", safe_text(job.work_plan, 4096)))
    rows += [("Note", safe_text(note, 500)) for note in job.notes]
    if job.error:
        rows.append(("Error", Text(f"[{job.error.code}] {safe_text(job.error.message, 500)}", style="red")))
    return rows


def _counts(job: Job) -> str:
    """Return `3 archived, 1 failed, 20 open`."""
    counted = job.counts.model_dump(exclude={"total", "open"}) | {"open": job.counts.open}
    return ", ".join(f"{number:,} {name}" for name, number in counted.items() if number)


def items_table(items: Sequence[Item]) -> Table:
    return table("video", "status", "title", "size", "attempts", "reason", rows=map(_item, items))


def _item(item: Item) -> tuple[Cell, ...]:
    weight = item.result.file_size if item.result else None
    return (
        safe_text(item.video_id),
        Text(item.status, style=_ITEM_STYLE.get(item.status, "")),
        safe_text(item.title or "", _TITLE),
        size(weight) if weight else "",
        str(item.attempts) if item.attempts else "",
        safe_text(item.message or item.reason or ""),
    )
