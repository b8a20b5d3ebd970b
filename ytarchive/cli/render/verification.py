"""A verification for people: how far it is, and what it found."""

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
from ytarchive.cli.render.text import count, safe_text, short_id, size, span

_LINE_EVERY = 5.0  # seconds (SPEC: Progress Reporting)


def state_line(state: VerificationState) -> str:
    """`12 of 80 videos  1.2 GiB of 7.0 GiB  50.0 MiB/s  1:58 left  1 file damaged`."""
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


def outcome(page: VerificationPage, *, running: bool) -> RenderableType:
    """What it came to. `running`: a system runs that mends what it can."""
    state = page.verification
    if state is None:
        return Text("Nothing was ever verified. `ytarchive storage verify` does it.")
    took = f" in {span((state.ended_at - state.begun_at).total_seconds())}" if state.ended_at else ""
    read = f"{count(state.videos, 'video')}, {count(state.files, 'file')}, {size(state.bytes)} read{took}"
    parts: list[RenderableType] = [_table(page.findings)] if page.findings else []
    parts.append(Text(f"{read}: {_verdict(state)}"))
    parts += [Text(line) for line in _advice(page, state, running=running)]
    return Group(*parts)


def _verdict(state: VerificationState) -> str:
    extra = f", {count(state.extra, 'extra file')}" if state.extra else ""
    verdict = f"{count(state.damaged, 'file')} damaged" if state.damaged else "all as recorded"
    if state.status in {"stopped", "failed"}:
        why = f" ({safe_text(state.error)})" if state.error else ""
        return f"{verdict}{extra}; it {state.status} before its end{why}."
    return f"{verdict}{extra}."


def _advice(page: VerificationPage, state: VerificationState, *, running: bool) -> list[str]:
    lines = [
        f"Job {job} fetches what is missing: `ytarchive jobs watch {short_id(job)}` follows it." for job in state.jobs
    ]
    if any(one.set_aside for one in page.findings):
        lines.append("What was damaged lies where the table says: nothing was deleted.")
    if state.damaged and not running:
        lines.append("Nothing was changed. To mend it, `ytarchive up`, and `ytarchive storage verify` beside it.")
    elif state.damaged and not state.repair:
        lines.append("Nothing was changed. `ytarchive storage verify` without --no-repair mends what it can.")
    if any(one.kind.damage and one.job_id is None for one in page.findings) and state.jobs:
        lines.append("What no job fetches needs a look of yours: an unreadable record, or a file that may not be read.")
    if state.error and state.status == "completed":
        lines.append(safe_text(state.error))
    if state.extra:
        lines.append("Extra files are only reported.")
    return lines


def _table(findings: list[FixityFinding]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("video", "file", "what", "why", "set aside"):
        table.add_column(column)
    for one in findings:
        place = safe_text(one.set_aside or "", 4096)
        table.add_row(one.video_id, safe_text(one.name), one.kind, safe_text(one.message), place)
    return table


class Meter:
    """Shows how far a verification is: a bar on a terminal, else a line from time to time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._held = ExitStack()
        self._progress = Progress(
            TextColumn("verifying"), BarColumn(bar_width=24), TextColumn("{task.fields[facts]}", markup=False),
            console=console, transient=True,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._told_at = time.monotonic()

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
        elif time.monotonic() - self._told_at >= _LINE_EVERY:
            self._told_at = time.monotonic()
            self._console.print(Text(state_line(state)))
