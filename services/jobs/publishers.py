"""The background tasks that publish: the outbox of jobs.db, and the progress of jobs."""

import asyncio
from contextlib import suppress

import structlog

from bus import Bus, BusError, MessageTooLarge
from bus.fault_injection import fault_point
from services.common.events import JobProgress
from services.jobs.adapters.commits import Commit, CommitNotifier
from services.jobs.adapters.job_reader import JobReader
from services.jobs.adapters.store import OutboxRow, Store
from services.jobs.domain import state_machine
from services.jobs.domain.dead_letters import unsendable

_PROGRESS_EVERY = 0.5  # seconds between two job.progress of one job
_RETRY_AFTER = 0.5  # seconds, while the broker is unavailable
_BATCH = 500  # events in one read
_CONCURRENT = 16  # publishes at the same time; the stream acknowledges them one by one

_log = structlog.get_logger("services.jobs", service="jobs")


class OutboxPublisher:
    """Publishes the queued events in order. While the broker is unavailable they stay in the table."""

    def __init__(self, store: Store, bus: Bus, notifier: CommitNotifier) -> None:
        self._store = store
        self._bus = bus
        self._notifier = notifier
        self._queued = asyncio.Event()

    def committed(self, commit: Commit) -> None:
        if commit.outbox:
            self._queued.set()

    async def empty(self) -> bool:
        return not await self._store.pending(limit=1)

    async def run(self) -> None:
        """Never returns."""
        self._queued.set()  # for the events of an earlier run
        while True:
            await self._queued.wait()
            self._queued.clear()
            try:
                await self._publish_pending()
            except* BusError:
                self._queued.set()
                await asyncio.sleep(_RETRY_AFTER)

    async def _publish_pending(self) -> None:
        while pending := await self._store.pending(_BATCH):
            for start in range(0, len(pending), _CONCURRENT):
                group = pending[start : start + _CONCURRENT]
                async with asyncio.TaskGroup() as tasks:
                    for row in group:
                        fault_point(f"jobs.publishing.{row.kind.subject}")
                        tasks.create_task(self._send(row))
                self._store.published(group[-1])
            if len(pending) < _BATCH:
                return  # those that were queued meanwhile have set the event

    async def _send(self, row: OutboxRow) -> None:
        """Publish one event. One that is too large for the broker becomes a dead letter, and delays no other."""
        try:
            await self._bus.send(row.envelope, row.kind)
        except MessageTooLarge as error:
            _log.error("event_too_large", subject=row.kind.subject, error_message=str(error))
            letter = unsendable(row.envelope, str(error))
            commit = await self._store.change(lambda rows, _sql, now: state_machine.step(rows, letter, now))
            self._notifier.notify(commit)


class ProgressPublisher:
    """Publishes the state of the jobs that changed, each at most every half second."""

    def __init__(self, reader: JobReader, bus: Bus) -> None:
        self._reader = reader
        self._bus = bus
        self._changed: set[str] = set()
        self._any_changed = asyncio.Event()

    def committed(self, commit: Commit) -> None:
        self._changed |= commit.jobs
        if self._changed:
            self._any_changed.set()

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self._any_changed.wait()
            self._any_changed.clear()
            changed, self._changed = self._changed, set()
            for job_id in changed:
                job = await self._reader.find(job_id)
                if job is None or job.status.ended:  # the outbox publishes its end, which this would overtake
                    continue
                if self._bus.connected:
                    with suppress(MessageTooLarge):  # REST shows it all the same
                        await self._bus.publish(JobProgress(job_id=job_id, job=job), trace_id=job.trace_id)
            await asyncio.sleep(_PROGRESS_EVERY)
