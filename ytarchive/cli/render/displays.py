"""Three displays of a running job: bars on a terminal, plain lines elsewhere, JSON lines for programs."""

import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.text import Text

from bus.message import Envelope
from services.common.settings.masking import mask
from ytarchive.cli.jobs.job_state import JobMessage, JobState, RunningDownload
from ytarchive.cli.jobs.result import RunResult
from ytarchive.cli.render.jobs import job_name
from ytarchive.cli.render.json_output import print_json
from ytarchive.cli.render.messages import job_line, message_line, progress_line, summary, video_name
from ytarchive.text import safe_text, size, span

_LINE_EVERY = 10.0  # seconds
_LINE_AT = 25.0  # percent
_MIN_INTERVAL = 1.0  # seconds
_TITLE_WIDTH = 40


class Display(Protocol):
    """A context for the time in which a job is followed; `finish` is called after it."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None: ...

    def notify(self, text: str) -> None:
        """Show a message about this command; `text` has no upstream text."""

    def event(self, envelope: Envelope) -> None:
        """Show an event of the job."""

    def update(self, state: JobState, messages: list[JobMessage]) -> None:
        """Show the current state and new messages."""

    def finish(self, result: RunResult) -> None:
        """Show the result."""


class Lines:
    """For logs and pipes: a line per finished video, and from time to time one per download and one for the job."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._shown: dict[str, tuple[float, float]] = {}  # by video id: percentage and time of the last line
        self._job_line = ""
        self._job_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        pass

    def notify(self, text: str) -> None:
        self._out.print(Text(text))

    def event(self, envelope: Envelope) -> None:
        pass

    def update(self, state: JobState, messages: list[JobMessage]) -> None:
        for message in messages:
            self._out.print(message_line(message, datetime.now(UTC)))
        now = time.monotonic()
        for running in state.running.values():
            if self._due(running, now):
                self._out.print(progress_line(running))
        for video_id in set(self._shown) - set(state.running):
            del self._shown[video_id]
        line = job_line(state) if state.job else ""
        if line and now - self._job_at >= _LINE_EVERY and line != self._job_line:
            self._job_line, self._job_at = line, now
            self._out.print(Text(f"{job_name(state.job)}: {line}"))

    def _due(self, running: RunningDownload, now: float) -> bool:
        """A line is due after 25 percent or ten seconds, at most one per second: small files have none."""
        percent = running.progress.percentage if running.progress else 0.0
        shown, at = self._shown.setdefault(running.video_id, (percent, now))
        moved = percent - shown >= _LINE_AT and now - at >= _MIN_INTERVAL
        due = moved or (percent > shown and now - at >= _LINE_EVERY)
        if due:
            self._shown[running.video_id] = (percent, now)
        return due

    def finish(self, result: RunResult) -> None:
        for line in summary(result, datetime.now(UTC)):
            self._out.print(line)


class Bars:
    """For a terminal: a bar per running download and one for the job. Messages scroll above them."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._held = ExitStack()
        self._progress = Progress(
            _Label(), BarColumn(bar_width=24), _Facts(), console=out, transient=True, refresh_per_second=8,
            redirect_stdout=False, redirect_stderr=sys.stderr.isatty(),
        )  # fmt: skip
        self._job: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._held.enter_context(self._progress)
        self._job = self._progress.add_task("starting", total=None, facts="")
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._held.close()

    def notify(self, text: str) -> None:
        self._out.print(Text(text, style="dim"))

    def event(self, envelope: Envelope) -> None:
        pass

    def update(self, state: JobState, messages: list[JobMessage]) -> None:
        for message in messages:
            self._out.print(message_line(message, datetime.now(UTC)))
        for video_id in set(self._tasks) - set(state.running):
            self._progress.remove_task(self._tasks.pop(video_id))
        for running in state.running.values():
            self._show_download(running)
        if self._job is not None:
            counts = state.job.counts if state.job else None
            listed = state.job is not None and state.job.listed
            self._progress.update(
                self._job,
                description=job_name(state.job),
                total=counts.total if counts and listed else None,
                completed=counts.total - counts.open if counts else 0,
                facts=job_line(state),
            )

    def _show_download(self, running: RunningDownload) -> None:
        if running.video_id not in self._tasks:
            label = video_name(running.video_id, running.title)
            self._tasks[running.video_id] = self._progress.add_task(label, total=None, facts=progress_text(running))
        progress = running.progress
        self._progress.update(
            self._tasks[running.video_id],
            description=video_name(running.video_id, running.title),
            total=progress.total if progress else None,
            completed=progress.current if progress else 0,
            facts=progress_text(running),
        )

    def finish(self, result: RunResult) -> None:
        for line in summary(result, datetime.now(UTC)):
            self._out.print(line)


def progress_text(running: RunningDownload) -> str:
    """Return the text to the right of a bar."""
    if running.archiving:
        return "archiving"
    progress = running.progress
    if progress is None:
        return "starting"
    shown = [f"{progress.percentage:3.0f} %"]
    if progress.speed_bps:
        shown.append(f"{size(progress.speed_bps)}/s")
    if progress.eta_seconds is not None:
        shown.append(f"{span(progress.eta_seconds)} left")
    return "  ".join(shown)


class _Label(ProgressColumn):
    """The description as text, without markup."""

    def render(self, task: Task) -> Text:
        label = Text(safe_text(task.description), no_wrap=True, overflow="ellipsis")
        label.truncate(_TITLE_WIDTH, overflow="ellipsis", pad=True)
        return label


class _Facts(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("facts", "")), style="cyan", no_wrap=True)


class JsonLines:
    """For programs: the events of the job as they arrive, and finally the result."""

    def __init__(self, notes: Console) -> None:
        self._notes = notes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        pass

    def notify(self, text: str) -> None:
        self._notes.print(Text(text))

    def event(self, envelope: Envelope) -> None:
        print_json(mask(envelope.model_dump(mode="json")))

    def update(self, state: JobState, messages: list[JobMessage]) -> None:
        pass

    def finish(self, result: RunResult) -> None:
        print_json(result.as_json())
