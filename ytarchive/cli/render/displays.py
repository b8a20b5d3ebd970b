"""Three ways to show a download: bars on a terminal, plain lines elsewhere, JSON lines for programs."""

import json
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.text import Text

from bus.message import Envelope
from services.common.settings.masking import mask
from ytarchive.cli.render import messages
from ytarchive.cli.render.text import safe_text, size, span
from ytarchive.cli.running.job_state import Notice, Picture, Running
from ytarchive.cli.running.result import Result

_LINE_EVERY = 10.0  # seconds
_LINE_AT = 25.0  # percent
_LINE_GAP = 1.0  # seconds
_TITLE_WIDTH = 40


class Display(Protocol):
    """Entered for the time of following; `finish` comes after that."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None: ...

    def say(self, text: str) -> None:
        """Something about the run itself; `text` is ours."""

    def heard(self, envelope: Envelope) -> None:
        """An event of the job, as it came."""

    def show(self, picture: Picture, notices: list[Notice]) -> None:
        """How things stand now, and what is new."""

    def finish(self, result: Result) -> None:
        """The last words."""


class Lines:
    """For logs and pipes: a line per video that ended, now and then one per download, one for the job."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._shown: dict[str, tuple[float, float]] = {}  # download -> percent and time of its last line
        self._job_line = ""
        self._job_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        pass

    def say(self, text: str) -> None:
        self._out.print(Text(text))

    def heard(self, envelope: Envelope) -> None:
        pass

    def show(self, picture: Picture, notices: list[Notice]) -> None:
        for notice in notices:
            self._out.print(messages.told(notice, datetime.now(UTC)))
        now = time.monotonic()
        for running in picture.running.values():
            if self._due(running, now):
                self._out.print(messages.progress_line(running))
        for video_id in set(self._shown) - set(picture.running):
            del self._shown[video_id]
        line = messages.job_line(picture) if picture.job else ""
        if line and now - self._job_at >= _LINE_EVERY and line != self._job_line:
            self._job_line, self._job_at = line, now
            self._out.print(Text(f"{messages.job_name(picture.job)}: {line}"))

    def _due(self, running: Running, now: float) -> bool:
        """After a quarter more or ten seconds; never twice within one second, so that small files pass in silence."""
        percent = running.progress.percentage if running.progress else 0.0
        shown, at = self._shown.setdefault(running.video_id, (percent, now))
        moved = percent - shown >= _LINE_AT and now - at >= _LINE_GAP
        due = moved or (percent > shown and now - at >= _LINE_EVERY)
        if due:
            self._shown[running.video_id] = (percent, now)
        return due

    def finish(self, result: Result) -> None:
        for line in messages.summary(result, datetime.now(UTC)):
            self._out.print(line)


class Bars:
    """For a terminal: one bar per running download, one for the job; what ended scrolls by above them."""

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

    def say(self, text: str) -> None:
        self._out.print(Text(text, style="dim"))

    def heard(self, envelope: Envelope) -> None:
        pass

    def show(self, picture: Picture, notices: list[Notice]) -> None:
        for notice in notices:
            self._out.print(messages.told(notice, datetime.now(UTC)))
        for video_id in set(self._tasks) - set(picture.running):
            self._progress.remove_task(self._tasks.pop(video_id))
        for running in picture.running.values():
            self._show_download(running)
        if self._job is not None:
            counts = picture.job.counts if picture.job else None
            listed = picture.job is not None and picture.job.listed
            self._progress.update(
                self._job,
                description=messages.job_name(picture.job),
                total=counts.total if counts and listed else None,
                completed=counts.total - counts.open if counts else 0,
                facts=messages.job_line(picture),
            )

    def _show_download(self, running: Running) -> None:
        if running.video_id not in self._tasks:
            label = messages.name(running.video_id, running.title)
            self._tasks[running.video_id] = self._progress.add_task(label, total=None, facts=facts(running))
        progress = running.progress
        self._progress.update(
            self._tasks[running.video_id],
            description=messages.name(running.video_id, running.title),
            total=progress.total if progress else None,
            completed=progress.current if progress else 0,
            facts=facts(running),
        )

    def finish(self, result: Result) -> None:
        for line in messages.summary(result, datetime.now(UTC)):
            self._out.print(line)


def facts(running: Running) -> str:
    """What stands right of a bar."""
    if running.storing:
        return "into the archive"
    progress = running.progress
    if progress is None:
        return "begins"
    shown = [f"{progress.percentage:3.0f} %"]
    if progress.speed_bps:
        shown.append(f"{size(progress.speed_bps)}/s")
    if progress.eta_seconds is not None:
        shown.append(f"{span(progress.eta_seconds)} left")
    return "  ".join(shown)


class _Label(ProgressColumn):
    """The description as text, never as markup."""

    def render(self, task: Task) -> Text:
        label = Text(safe_text(task.description), no_wrap=True, overflow="ellipsis")
        label.truncate(_TITLE_WIDTH, overflow="ellipsis", pad=True)
        return label


class _Facts(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("facts", "")), style="cyan", no_wrap=True)


class JsonLines:
    """For programs: the events of the job as they come, at last the result. ASCII, so no escape code gets through."""

    def __init__(self, notes: Console) -> None:
        self._notes = notes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        pass

    def say(self, text: str) -> None:
        self._notes.print(Text(text))

    def heard(self, envelope: Envelope) -> None:
        print_json(mask(envelope.model_dump(mode="json")))

    def show(self, picture: Picture, notices: list[Notice]) -> None:
        pass

    def finish(self, result: Result) -> None:
        print_json(result.as_json())


def print_json(value: Any, *, indent: int | None = None) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=True, indent=indent) + "\n")
    sys.stdout.flush()
