"""Validates new jobs before anything of them is stored."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from services.common.errors import InvalidRequest
from services.common.events import JobCreated
from services.common.job_validation import accept
from services.common.models import JobOptions
from services.common.settings.load import Config
from services.common.targets import ParsedTargets
from services.jobs.domain.state_machine import Accepted, Rejected, Verdict

_RESULT_KEPT = 60.0  # seconds: the message may be handled again, or come back from the stream


def validate(event: JobCreated, config: Config) -> Verdict:
    """Parse the targets and check the options of a job. It reads the file system: use a thread."""
    targets = ParsedTargets.parse(event.targets)
    try:
        _refuse_unknown_options(event)
        grouped, root = accept(targets, event.options, config)
    except InvalidRequest as error:
        return Rejected(error.detail(), targets.digest())
    return Accepted(tuple(grouped), str(root), targets.digest())


def _refuse_unknown_options(event: JobCreated) -> None:
    if event.unknown_options:
        known = ", ".join(JobOptions.model_fields)
        raise InvalidRequest(f"options.{event.unknown_options[0][:100]} is not known; the options are {known}")


class JobValidator:
    """Validates each job once, in a thread of its own: a file system that does not answer delays no other job.

    The threads are daemons, so that a hanging one does not keep the process from ending.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._results: dict[str, tuple[JobCreated, asyncio.Future[Verdict]]] = {}  # by job_id

    def running(self, job_id: str) -> bool:
        """Return whether the validation of this job has begun and not ended."""
        return job_id in self._results and not self._results[job_id][1].done()

    async def verdict(self, event: JobCreated, within: float) -> Verdict | None:
        """Return the verdict, or None when it is not known within `within` seconds. The validation then goes on, and a
        later call gets its result."""
        known, result = self._results.get(event.job_id, (None, None))
        if result is None or known != event:
            result = self._start(event)
        await asyncio.wait({result}, timeout=within)
        return result.result() if result.done() else None

    def _start(self, event: JobCreated) -> "asyncio.Future[Verdict]":
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Verdict] = loop.create_future()

        def run() -> None:
            try:
                verdict = validate(event, self._config)
            except Exception as error:  # noqa: BLE001 - raised by verdict()
                _call(loop, self._finish, result, error)
            else:
                _call(loop, self._finish, result, verdict)

        self._results[event.job_id] = (event, result)
        result.add_done_callback(lambda _result: loop.call_later(_RESULT_KEPT, self._forget, event.job_id, result))
        threading.Thread(target=run, name=f"validate {event.job_id}", daemon=True).start()
        return result

    @staticmethod
    def _finish(result: "asyncio.Future[Verdict]", outcome: Verdict | Exception) -> None:
        if isinstance(outcome, Exception):
            result.set_exception(outcome)
        else:
            result.set_result(outcome)

    def _forget(self, job_id: str, result: "asyncio.Future[Verdict]") -> None:
        if job_id in self._results and self._results[job_id][1] is result:
            del self._results[job_id]


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: object) -> None:
    with suppress(RuntimeError):  # the loop was closed meanwhile
        loop.call_soon_threadsafe(function, *args)
