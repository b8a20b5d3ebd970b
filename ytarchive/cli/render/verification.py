"""A verification for people: its progress and its findings."""

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from services.storage.fixity.report import VerificationPage, VerificationState
from services.storage.fixity.rules import FixityFinding
from ytarchive.cli.render.table import table
from ytarchive.text import count, safe_text, short_id, size, span

_ENDED_EARLY = {"stopped": "it was stopped before its end", "failed": "it failed before its end"}
_LINE_EVERY = 5.0  # seconds (SPEC: Progress Reporting)


def state_line(state: VerificationState) -> str:
    """Return the progress: `12 of 80 videos  1.2 GiB of 7.0 GiB  50.0 MiB/s  1:58 left  1 file damaged`."""
    progress = state.progress
    parts = [f"{state.videos} of {count(state.videos_total, 'video')}"]
    parts.append(f"{size(progress.current)} of {size(progress.total)}")
    if progress.speed_bps:
        parts.append(f"{size(progress.speed_bps)}/s")
    if progress.eta_seconds is not None:
        parts.append(f"{span(progress.eta_seconds)} left")
    if state.damaged:
        parts.append(f"{count(state.damaged, 'file')} damaged")
    return "  ".join(parts)


def report(page: VerificationPage, *, running: bool) -> RenderableType:
    """Return the findings and what to do about them. `running`: a system runs, which repairs what it can."""
    state = page.verification
    if state is None:
        return Text("No verification yet: `ytarchive storage verify` starts one.")
    took = f" in {span((state.ended_at - state.begun_at).total_seconds())}" if state.ended_at else ""
    read = f"{count(state.videos, 'video')}, {count(state.files, 'file')}, {size(state.bytes)} read{took}"
    parts: list[RenderableType] = [_findings(page.findings)] if page.findings else []
    parts.append(Text(f"{read}: {_verdict(state)}"))
    parts += [Text(line) for line in _advice(page, state, running=running)]
    return Group(*parts)


def _verdict(state: VerificationState) -> str:
    extra = f", {count(state.extra, 'extra file')}" if state.extra else ""
    verdict = f"{count(state.damaged, 'file')} damaged" if state.damaged else "no damage"
    if state.status in _ENDED_EARLY:
        why = f" ({safe_text(state.error)})" if state.error else ""
        return f"{verdict}{extra}; {_ENDED_EARLY[state.status]}{why}."
    return f"{verdict}{extra}."


def _advice(page: VerificationPage, state: VerificationState, *, running: bool) -> list[str]:
    lines = [
        f"Job {job} downloads the damaged files again: `ytarchive jobs watch {short_id(job)}` follows it."
        for job in state.jobs
    ]
    if any(one.set_aside for one in page.findings):
        lines.append("Damaged files were moved to the folders shown above; nothing was deleted.")
    if state.damaged and not running:
        lines.append("Nothing was changed. To repair, start `ytarchive up`, then run `ytarchive storage verify`.")
    elif state.damaged and not state.repair:
        lines.append("Nothing was changed. Without --no-repair `ytarchive storage verify` repairs what it can.")
    if any(one.kind.damage and one.job_id is None for one in page.findings) and state.jobs:
        lines.append("These need manual action: invalid manifests, and files without read permission.")
    if state.error and state.status == "completed":
        lines.append(safe_text(state.error))
    if state.extra:
        lines.append("Extra files are only reported.")
    return lines


def _findings(findings: list[FixityFinding]) -> Table:
    rows = (
        (one.video_id, safe_text(one.name), one.kind, safe_text(one.message), safe_text(one.set_aside or "", 4096))
        for one in findings
    )
    return table("video", "file", "finding", "reason", "moved to", rows=rows)


class VerificationProgress:
    """Shows the progress of a verification: a bar on a terminal, else a line from time to time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._held = ExitStack()
        self._progress = Progress(
            TextColumn("verifying"), BarColumn(bar_width=24), TextColumn("{task.fields[facts]}", markup=False),
            console=console, transient=True,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._printed_at = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._held.enter_context(self._progress)
            self._task = self._progress.add_task("verifying", total=None, facts="")
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._held.close()

    def show(self, state: VerificationState) -> None:
        if self._task is not None:
            progress = state.progress
            facts = state_line(state)
            self._progress.update(self._task, total=progress.total, completed=progress.current, facts=facts)
        elif time.monotonic() - self._printed_at >= _LINE_EVERY:
            self._printed_at = time.monotonic()
            self._console.print(Text(state_line(state)))
