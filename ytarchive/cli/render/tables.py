"""Models as tables for people. Pure functions; all upstream text goes through safe_text."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bus.message import Envelope
from services.common.models import HealthCheck, HealthStatus, Item, ItemStatus, Job, JobStatus
from ytarchive.cli.render.messages import job_name
from ytarchive.cli.render.text import moment, safe_text, short_id, size

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
_TOLD = ("job_id", "video_id", "target_index", "reason", "until", "instance", "name", "page_key", "plan_id", "egress")


def jobs_table(jobs: Sequence[Job], total: int, now: datetime) -> RenderableType:
    if not jobs:
        return Text("No jobs." if not total else "No jobs on this page.")
    table = _table("job", "status", "what", "done", "gaps", "created")
    for job in jobs:
        table.add_row(
            short_id(job.job_id),
            _status(job),
            Text(job_name(job)),
            f"{job.counts.total - job.counts.open}/{job.counts.total}",
            str(job.counts.unavailable + job.counts.failed),
            moment(job.created_at, now),
        )
    more = Text(f"{len(jobs)} of {total}", style="dim")
    return Group(table, more) if total > len(jobs) else table


def _status(job: Job) -> Text:
    return Text(f"{job.status}{' (paused)' if job.paused else ''}", style=_STATUS_STYLE.get(job.status, ""))


def job_detail(job: Job, items: Sequence[Item], now: datetime) -> RenderableType:
    facts = _table(None, None)
    facts.add_row("Job", job.job_id)
    facts.add_row("Trace", safe_text(job.trace_id))
    facts.add_row("Status", _status(job))
    facts.add_row("Title", Text(job_name(job)))
    facts.add_row("Targets", Text(safe_text(", ".join(job.targets[:5]), 500) + ("…" if job.target_count > 5 else "")))
    facts.add_row("Type", job.type.value)
    facts.add_row("Quality", Text(safe_text(job.options.quality)))
    facts.add_row("Files", Text(safe_text(job.root, 4096)))
    facts.add_row("Progress", Text(safe_text(job.progress.message)))
    facts.add_row("Created", moment(job.created_at, now))
    if job.finished_at:
        facts.add_row("Finished", moment(job.finished_at, now))
    if job.retry_at:
        facts.add_row("Goes on at", moment(job.retry_at, now))
    if job.work_plan:
        facts.add_row("Work plan", Text(safe_text(job.work_plan, 4096)))
    if job.error:
        facts.add_row("Error", Text(f"[{job.error.code}] {safe_text(job.error.message, 500)}", style="red"))
    return Group(facts, items_table(items)) if items else facts


def items_table(items: Sequence[Item]) -> Table:
    table = _table("video", "status", "title", "size", "tries", "why")
    for item in items:
        weight = item.result.file_size if item.result else None
        why = item.message or item.reason or ""
        table.add_row(
            Text(safe_text(item.video_id)),
            Text(item.status, style=_ITEM_STYLE.get(item.status, "")),
            Text(safe_text(item.title or "", _TITLE)),
            size(weight) if weight else "",
            str(item.attempts) if item.attempts else "",
            Text(safe_text(why)),
        )
    return table


def health_table(answers: Mapping[str, HealthCheck | str]) -> Table:
    """A HealthCheck by service, or the reason why there is none."""
    table = _table("service", "status", "version", "up", "what is wrong")
    for name, answer in answers.items():
        if isinstance(answer, str):
            table.add_row(name, Text("no answer", style="red"), "", "", Text(safe_text(answer)))
            continue
        good = answer.status is HealthStatus.HEALTHY
        wrong = ", ".join(check for check, passed in answer.checks.items() if not passed)
        status = Text(answer.status, style="green" if good else "red")
        table.add_row(name, status, safe_text(answer.version), f"{answer.uptime_seconds} s", Text(safe_text(wrong)))
    return table


def config_table(described: Mapping[str, Mapping[str, Any]]) -> Table:
    """services.common.settings.load.describe: every key, its value, where that comes from."""
    table = _table("key", "value", "from")
    for key, told in described.items():
        value = told["value"]
        shown = "" if value is None else safe_text(value, 500)
        style = "dim" if told["origin"] == "default" else ""
        table.add_row(Text(key, style=style), Text(shown, style=style), Text(safe_text(told["origin"]), style=style))
    return table


def versions_table(versions: Mapping[str, str | None]) -> Table:
    table = _table(None, None)
    for program, version in versions.items():
        table.add_row(program, safe_text(version) if version else Text("not found", style="red"))
    return table


def envelope_line(envelope: Envelope) -> Text:
    """`21:03:11 download.started  video_id=… (download/3f2a) trace …`: what `events tail` shows of an event."""
    facts = " ".join(
        f"{key}={safe_text(envelope.data[key], _TITLE)}" for key in _TOLD if envelope.data.get(key) not in (None, "")
    )
    at = envelope.timestamp.astimezone()
    return Text.assemble(
        (f"{at:%H:%M:%S} ", "dim"),
        (f"{envelope.type:<22} ", "cyan"),
        facts,
        (f"  ({safe_text(envelope.source)}, trace {safe_text(envelope.trace_id)[:8]})", "dim"),
    )


def _table(*headings: str | None) -> Table:
    shown = any(headings)
    table = Table(box=None, show_header=shown, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading or "", overflow="fold")
    return table
