"""The tasks of this worker, running and recently ended, for REST and metrics. A task is a dispatch and has its id."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel

from bus import Event
from services.common.domain.failures import UNKNOWN, Failure
from services.common.errors import NotFound
from services.common.events import (
    DownloadCancelled,
    DownloadCompleted,
    DownloadDeferred,
    DownloadFailed,
    DownloadRequested,
)
from services.common.models import Progress
from services.common.youtube.messages import Downloading
from services.download.progress import progress_of

KEPT = 200  # ended tasks


class TaskState(StrEnum):
    WAITING = "waiting"  # for a slot, or for the pause between two downloads
    CLAIMING = "claiming"  # jobs is asked whether the dispatch is still current
    EXTRACTING = "extracting"
    DOWNLOADING = "downloading"
    FINISHING = "finishing"  # streams are merged, files are hashed
    ENDED = "ended"


class TaskOutcome(StrEnum):
    COMPLETED = "completed"  # all bytes are downloaded; storage archives them
    FAILED = "failed"
    DEFERRED = "deferred"  # given back to jobs with no attempt spent
    CANCELLED = "cancelled"


_OUTCOMES: dict[type[Event], TaskOutcome] = {
    DownloadCompleted: TaskOutcome.COMPLETED,
    DownloadFailed: TaskOutcome.FAILED,
    DownloadDeferred: TaskOutcome.DEFERRED,
    DownloadCancelled: TaskOutcome.CANCELLED,
}
_MESSAGES = {
    TaskState.WAITING: "waiting for a slot",
    TaskState.CLAIMING: "asking jobs whether it is still wanted",
    TaskState.EXTRACTING: "asking YouTube what there is",
    TaskState.DOWNLOADING: "downloading",
    TaskState.FINISHING: "merging and checking the files",
}


class TaskProgress(Progress):
    """SPEC's Progress of one task; `current` and `total` in bytes, 0 while unknown."""

    task_id: str
    video_id: str
    state: TaskState
    outcome: TaskOutcome | None = None
    failure: Failure | None = None


class Task(BaseModel):
    """A dispatch of one video. `job_id` is the first job that waits for it; `reason` is why it was deferred, and
    `retry_after` when it can be retried."""

    task_id: str
    video_id: str
    title: str | None
    job_id: str
    trace_id: str
    state: TaskState
    progress: Progress
    started_at: AwareDatetime
    finished_at: AwareDatetime | None
    outcome: TaskOutcome | None
    failure: Failure | None
    reason: str | None
    retry_after: AwareDatetime | None


class TaskRecord:
    """The state of a task. `over` is set when all its events are published."""

    def __init__(self, request: DownloadRequested, trace_id: str) -> None:
        self.request = request
        self.trace_id = trace_id
        self.state = TaskState.WAITING
        self.bytes: Downloading | None = None
        self.title: str | None = None
        self.outcome: TaskOutcome | None = None
        self.failed_with: Failure | None = None  # also of a deferred task
        self.over = asyncio.Event()
        self._held = 0  # bytes of earlier attempts
        self._started_at = datetime.now(UTC)
        self._finished_at: datetime | None = None
        self._failure: Failure | None = None
        self._reason: str | None = None
        self._retry_after: datetime | None = None

    @property
    def task_id(self) -> str:
        return self.request.dispatch_id

    @property
    def decided(self) -> bool:
        """Whether the outcome is known, even if it is not published yet."""
        return self.outcome is not None

    @property
    def gained(self) -> int:
        """Bytes downloaded in this attempt."""
        return self.bytes.downloaded - self._held if self.bytes else 0

    def arrived(self, bytes_: Downloading) -> None:
        if self.bytes is None:
            self._held = bytes_.downloaded
        self.bytes = bytes_
        self.state = TaskState.DOWNLOADING

    def note(self, event: Event) -> None:
        """Record an event of this task before it is published: the last one decides the outcome."""
        self.outcome = _OUTCOMES.get(type(event), self.outcome)
        if isinstance(event, DownloadFailed | DownloadDeferred):
            self.failed_with = event.failure
        if isinstance(event, DownloadFailed):
            self._failure = event.failure
        if isinstance(event, DownloadDeferred):
            self._reason, self._retry_after = event.reason, event.retry_after

    def end(self) -> None:
        self.state = TaskState.ENDED
        self._finished_at = datetime.now(UTC)
        self.over.set()

    @property
    def progress(self) -> Progress:
        completed = self.outcome is TaskOutcome.COMPLETED
        bare = progress_of(self.bytes or Downloading(downloaded=0), finished=completed)
        moving = self.state is TaskState.DOWNLOADING
        update = {"message": self._message(), "speed_bps": bare.speed_bps if moving else None}
        return bare.model_copy(update=update | {"eta_seconds": bare.eta_seconds if moving else None})

    def _message(self) -> str:
        if self.outcome is None:
            return _MESSAGES.get(self.state, "not started: no job waits for it any more")
        if self._failure is not None:
            return f"failed: {self._failure.message}"
        return f"{self.outcome}: {self._reason}" if self._reason else self.outcome.value

    def view(self) -> Task:
        return Task(
            task_id=self.task_id,
            video_id=self.request.video_id,
            title=self.title,
            job_id=self.request.job_id,
            trace_id=self.trace_id,
            state=self.state,
            progress=self.progress,
            started_at=self._started_at,
            finished_at=self._finished_at,
            outcome=self.outcome,
            failure=self._failure,
            reason=self._reason,
            retry_after=self._retry_after,
        )

    def progress_view(self) -> TaskProgress:
        return TaskProgress(
            **self.progress.model_dump(),
            task_id=self.task_id,
            video_id=self.request.video_id,
            state=self.state,
            outcome=self.outcome,
            failure=self._failure,
        )


class UnknownFailures:
    """Counts the failures that no rule recognizes, by their words: those of the first MOST texts, and the others
    together."""

    MOST = 20
    LONGEST = 80

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def note(self, failure: Failure) -> None:
        if failure.reason != UNKNOWN:
            return
        words = failure.words[: self.LONGEST]
        full = len(self._counts) >= self.MOST and words not in self._counts
        self._counts["other" if full else words] += 1

    def numbers(self) -> dict[str, int]:
        return dict(self._counts)


class Tasks:
    """The running tasks and the last ones that ended. A task that jobs did not want any more leaves no trace."""

    def __init__(self) -> None:
        self._running: dict[str, TaskRecord] = {}
        self._ended: OrderedDict[str, TaskRecord] = OrderedDict()
        self._outcomes: Counter[TaskOutcome] = Counter()
        self._bytes = 0
        self._unknown = UnknownFailures()

    def begin(self, request: DownloadRequested, trace_id: str) -> TaskRecord:
        record = self._running[request.dispatch_id] = TaskRecord(request, trace_id)
        self._ended.pop(request.dispatch_id, None)
        return record

    def end(self, record: TaskRecord) -> None:
        record.end()
        self._running.pop(record.task_id, None)
        self._bytes += record.gained
        if record.failed_with is not None:
            self._unknown.note(record.failed_with)
        if record.outcome is None:
            return
        self._outcomes[record.outcome] += 1
        self._ended[record.task_id] = record
        while len(self._ended) > KEPT:
            self._ended.popitem(last=False)

    def find(self, task_id: str) -> TaskRecord | None:
        return self._running.get(task_id) or self._ended.get(task_id)

    def get(self, task_id: str) -> TaskRecord:
        """Raises NotFound."""
        record = self.find(task_id)
        if record is None:
            message = f"This worker has no task {task_id}: GET /api/v1/download/tasks lists its tasks."
            raise NotFound(message, task_id=task_id)
        return record

    def all(self) -> Sequence[TaskRecord]:
        """Return the running tasks in the order of their start, then the ended ones, the last first."""
        return [*self._running.values(), *reversed(self._ended.values())]

    def numbers(self) -> dict[str, object]:
        """Return the metrics. `tasks_ended` and `bytes_downloaded` count from the start of the service."""
        states = Counter(record.state for record in self._running.values())
        gained = sum(record.gained for record in self._running.values())
        return {
            "tasks": {state.value: states[state] for state in TaskState if state is not TaskState.ENDED},
            "tasks_ended": {outcome.value: self._outcomes[outcome] for outcome in TaskOutcome},
            "bytes_downloaded": self._bytes + gained,
            "unknown_failures": self._unknown.numbers(),
        }
