"""Jobs, health, configuration, versions and events for people. Pure; upstream text goes through safe_text."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bus.message import Envelope
from services.common.domain.jobs import Item, ItemStatus, Job
from services.common.models import HealthCheck, HealthStatus, JobStatus
from services.common.web.tokens import IssuedToken
from services.jobs.rest_models import JobList
from ytarchive.cli.render.messages import job_name
from ytarchive.cli.render.table import Cell, facts, page_of, table
from ytarchive.text import moment, safe_text, short_id, size

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
_TITLE = 60
_SHOWN_FIELDS = (
    "job_id", "video_id", "target_index", "reason", "until", "instance", "name", "page_key", "plan_id", "egress",
)  # fmt: skip


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


def job_detail(job: Job, items: Sequence[Item], now: datetime) -> RenderableType:
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
    return Group(facts(rows), items_table(items)) if items else facts(rows)


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


def health_table(answers: Mapping[str, HealthCheck | str]) -> Table:
    """`answers`: by service, a health check or the reason why there is none."""
    rows = (_health(name, answer) for name, answer in answers.items())
    return table("service", "status", "version", "uptime", "failed checks", rows=rows)


def _health(name: str, answer: HealthCheck | str) -> tuple[Cell, ...]:
    if isinstance(answer, str):
        return name, Text("no answer", style="red"), "", "", safe_text(answer)
    style = "green" if answer.status is HealthStatus.HEALTHY else "red"
    failed = ", ".join(check for check, passed in answer.checks.items() if not passed)
    uptime = f"{answer.uptime_seconds} s"
    return name, Text(answer.status, style=style), safe_text(answer.version), uptime, safe_text(failed)


def config_table(described: Mapping[str, Mapping[str, Any]]) -> Table:
    """`described`: the result of services.common.settings.load.describe."""
    return table("key", "value", "from", rows=(_setting(key, setting) for key, setting in described.items()))


def _setting(key: str, setting: Mapping[str, Any]) -> tuple[Cell, ...]:
    style = "dim" if setting["origin"] == "default" else ""
    value = "" if setting["value"] is None else safe_text(setting["value"], 500)
    return Text(key, style=style), Text(value, style=style), Text(safe_text(setting["origin"]), style=style)


def tokens_table(issued: Sequence[IssuedToken]) -> RenderableType:
    if not issued:
        return Text("No tokens are issued.")
    rows = ((safe_text(one.name), one.scope, f"{one.created_at.astimezone():%Y-%m-%d %H:%M}") for one in issued)
    return table("name", "scope", "issued", rows=rows)


def versions_table(versions: Mapping[str, str | None]) -> Table:
    return facts(
        (program, safe_text(version) if version else Text("not found", style="red"))
        for program, version in versions.items()
    )


def envelope_line(envelope: Envelope) -> Text:
    """Format an event as `21:03:11 download.started  video_id=… (download/3f2a, trace …)`."""
    fields = " ".join(
        f"{key}={safe_text(envelope.data[key], _TITLE)}"
        for key in _SHOWN_FIELDS
        if envelope.data.get(key) not in (None, "")
    )
    at = envelope.timestamp.astimezone()
    return Text.assemble(
        (f"{at:%H:%M:%S} ", "dim"),
        (f"{envelope.type:<22} ", "cyan"),
        fields,
        (f"  ({safe_text(envelope.source)}, trace {safe_text(envelope.trace_id)[:8]})", "dim"),
    )
