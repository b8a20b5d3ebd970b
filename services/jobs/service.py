"""The jobs service: jobs.db, the scheduler and the registry under one roof."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from bus import BusError, BusSettings, MessageTooLarge
from bus.fault_injection import fault_point
from bus.handlers import Handlers
from bus.message import Envelope, UnreadableMessage, event_types
from services.common import credentials
from services.common import events as e
from services.common.errors import InvalidRequest, NotFound
from services.common.models import ErrorDetail, Job, ServiceInfo
from services.common.service import ServiceBase
from services.common.settings.load import Config
from services.common.web.routing import Route
from services.jobs.adapters import queries, removal, retention
from services.jobs.adapters.registry import Registry
from services.jobs.adapters.store import Change, Pending, Store
from services.jobs.adapters.unit_of_work import SqlRows
from services.jobs.dispatcher import Dispatcher
from services.jobs.domain import commands, state_machine
from services.jobs.domain.accounting import Out
from services.jobs.domain.dead_letters import unsendable
from services.jobs.domain.scheduler import Block
from services.jobs.entrypoints import api
from services.jobs.entrypoints.handlers import handlers
from services.jobs.intake import examine
from services.jobs.secrets import api_key
from services.jobs.subscribers import Live

_PROGRESS_EVERY = 0.5  # seconds between two job.progress of one job
_BUS_AWAY = 0.5  # seconds until the outbox is tried again
_AT_ONCE = 16  # publishes under way; the stream acks them one by one
_TYPES = {kind.subject: kind for kind in event_types()}
_UNPARKS = {e.JobCreated.subject, e.JobResumeRequested.subject, e.JobRetryRequested.subject}
Wish = e.JobCancelRequested | e.JobPauseRequested | e.JobResumeRequested | e.JobRetryRequested | e.JobPriorityRequested
_RUN_ENDS = {
    kind.subject
    for kind in (e.DownloadCompleted, e.DownloadFailed, e.DownloadDeferred, e.DownloadCancelled, e.VideoArchived)
}


class JobsService(ServiceBase):
    """`park_open` leaves jobs of earlier runs alone until they are created again or resumed (the one-shot)."""

    name: ClassVar[str] = "jobs"
    handlers: ClassVar[Handlers] = handlers

    def __init__(self, config: Config, bus: BusSettings, *, park_open: bool = False) -> None:
        super().__init__(config, bus)
        self._park_open = park_open
        self._outbox = asyncio.Event()
        self._changed: set[str] = set()
        self._store: Store | None = None
        self._recheck_after = timedelta(days=config.recheck.interval_days)
        self.live = Live()

    async def initialize_resources(self) -> None:
        storage = self.config.storage
        self._store = await asyncio.to_thread(Store, storage.jobs_dir / "jobs.db", f"jobs/{self.instance}")
        self.registry = Registry(storage.registry_dir / "services.json")
        parked: set[str] = set()
        if self._park_open:
            parked = set(await self.store.read(lambda _rows, sql: queries.open_jobs(sql)))
        self.dispatcher = Dispatcher(self.store, self.registry, parked, self.noted)
        await self._meet_broker()
        self.bus.on_store_lost.append(self._meet_broker)

    async def _meet_broker(self) -> None:
        """The store of the broker may be another one than that of before, also of before this start."""
        if await self.store.met_another(str(self.bus.store_created)):
            self.logger.warning("broker_store_is_new", remedy="what was unanswered is asked again")
            self.dispatcher.store_lost()

    async def after_start(self) -> None:
        self.registry.heard(self.info())
        self.spawn(self.dispatcher.run, "dispatcher", essential=True)
        self.spawn(self._publish_outbox, "outbox", essential=True)
        self.spawn(self._publish_progress, "progress")
        self.spawn(partial(retention.daily, self.store, self.config.retention, self.noted), "retention")

    async def cleanup_resources(self) -> None:
        if self._store is not None:
            self._store.close()

    @property
    def store(self) -> Store:
        if self._store is None:
            raise RuntimeError("jobs.db is not open yet")
        return self._store

    async def settled(self) -> bool:
        return not await self.store.pending(limit=1)

    def routes(self) -> Sequence[Route]:
        return api.routes(self)

    def disk_paths(self) -> Sequence[Path]:
        return [self.config.storage.jobs_dir]

    def metrics(self) -> dict[str, Any]:
        return {"services": len(self.registry.everyone()), "parked_jobs": len(self.dispatcher.parked)}

    # --- messages in

    async def take(self, envelopes: Sequence[Envelope]) -> None:
        """Apply what is new of these, in order, as one transaction; the outbox follows."""
        secrets = [(envelope, key) for envelope in envelopes if (key := api_key(envelope))]
        for envelope, key in secrets:
            await self._expect_readable(envelope)
            await self.hand_over(str(envelope.data.get("job_id")), key, envelope.trace_id)
        for envelope in envelopes:
            self._note(envelope)
        change = await self.store.apply(envelopes, self._apply)
        for envelope, _key in secrets:
            await self.bus.erase(envelope)
        for envelope in envelopes:
            fault_point(f"jobs.committed.{envelope.type}")
        self.noted(change)
        for envelope in envelopes:
            if envelope.type in _UNPARKS and envelope.id in change.applied:  # not the copy of an earlier run
                self.dispatcher.parked.discard(str(envelope.data.get("job_id")))
        self.dispatcher.wake()

    def _apply(self, rows: SqlRows, envelope: Envelope, now: datetime) -> list[Out]:
        event = _TYPES[envelope.type].read(envelope)
        match event:
            case e.JobCreated():
                if rows.job(event.job_id) is None:
                    removal.make_way(rows.sql, event.job_id)
                    return state_machine.create(rows, event, envelope.trace_id, examine(event, self.config), now)
            case e.SourceBlocked():
                queries.save_block(rows.sql, event.egress, Block(event.until, event.reason))
            case e.SourceCleared():
                queries.save_block(rows.sql, event.egress, None)
            case e.ServiceRegistered() | e.ServiceStopped():
                pass  # the registry has it
            case e.DeadLettered() if out := state_machine.refuse(rows, event, envelope.trace_id, now):
                return out
            case _:
                return state_machine.step(rows, event, now, recheck_after=self._recheck_after)
        return []

    def _note(self, envelope: Envelope) -> None:
        """What is kept in memory only: who is alive, and which downloads run."""
        if envelope.type == e.ServiceRegistered.subject:
            self.heard(e.ServiceRegistered.read(envelope).service)
        elif envelope.type == e.ServiceStopped.subject:
            self.registry.stopped(e.ServiceStopped.read(envelope).instance)
        elif envelope.type in _RUN_ENDS:
            self.live.ended(str(envelope.data.get("video_id")), str(envelope.data.get("dispatch_id")))

    def heard(self, info: ServiceInfo) -> None:
        self.registry.heard(info)
        self.dispatcher.wake()

    async def _expect_readable(self, envelope: Envelope) -> None:
        """Raises UnreadableMessage for a job that cannot be; its key does not stay in the stream either."""
        try:
            e.JobCreated.read(envelope)
        except UnreadableMessage:
            await self.bus.erase(envelope)
            raise

    async def hand_over(self, job_id: str, api_key: str, trace_id: str) -> None:
        """Give a new job's API key to metadata, before it is told of the job. Nothing of it is kept here."""
        if await self.store.job(job_id) is None:
            await credentials.offer(self.bus, job_id, api_key, trace_id)

    async def submit(self, event: e.JobCreated, trace_id: str) -> Job:
        """A job from REST: looked at first, then published, and kept before this returns. Raises InvalidRequest."""
        verdict = await asyncio.to_thread(examine, event, self.config)
        if isinstance(verdict, ErrorDetail):
            raise InvalidRequest(verdict.message, **(verdict.details or {}))
        envelope = await self.bus.publish(event, trace_id=trace_id)
        await self.take([envelope])  # the copy that the stream brings finds its id in the inbox
        job = await self.store.job(event.job_id)
        assert job is not None  # noqa: S101 - it was just committed
        return job

    async def wish(self, event: Wish) -> Job:
        """A change of mind from REST: published, and applied before this returns. Raises InvalidRequest, NotFound."""
        job = await self.store.job(event.job_id)
        if job is None:
            raise NotFound(f"There is no job {event.job_id}: GET /api/v1/jobs lists them.", job_id=event.job_id)
        if job.status.ended is not isinstance(event, e.JobRetryRequested):
            state = f"has ended as {job.status}" if job.status.ended else "is still open"
            raise InvalidRequest(f"Job {job.job_id} {state}: {event.subject} does nothing for it.", status=job.status)
        await self.store.read(lambda rows, _sql: _expect_an_effect(rows, event))
        await self.take([await self.bus.publish(event, trace_id=job.trace_id)])
        return await self.store.job(event.job_id) or job

    async def remove(self, job_id: str) -> bool:
        """Remove an ended job. False when there is none of this id."""
        change = await removal.remove(self.store, job_id)
        if change is not None:
            self.noted(change)
        return change is not None

    async def clean_up(self, *, dry_run: bool) -> retention.Cleanup:
        now = datetime.now(UTC)
        if dry_run:
            return retention.report(await retention.due(self.store, self.config.retention, now), dry_run=True)
        return await retention.upkeep(self.store, self.config.retention, now, self.noted)

    # --- facts out

    def noted(self, change: Change) -> None:
        """After a transaction: publish what it queued, tell who watches."""
        if change.outbox:
            self._outbox.set()
        if change.jobs:
            self._changed |= change.jobs
            self.live.changed(change.jobs)

    async def _publish_outbox(self) -> None:
        """What a transaction queued goes out in its order; while the broker is away it stays in the table."""
        self._outbox.set()  # for what an earlier run left
        while True:
            await self._outbox.wait()
            self._outbox.clear()
            try:
                while pending := await self.store.pending():
                    for start in range(0, len(pending), _AT_ONCE):
                        group = pending[start : start + _AT_ONCE]
                        async with asyncio.TaskGroup() as tasks:
                            for row in group:
                                fault_point(f"jobs.publishing.{row.kind.subject}")
                                tasks.create_task(self._send(row))
                        await self.store.published(group)
            except* BusError:
                self._outbox.set()
                await asyncio.sleep(_BUS_AWAY)

    async def _send(self, row: Pending) -> None:
        """What no broker takes must not hold up the rest: it counts as a message that nobody could handle."""
        try:
            await self.bus.send(row.envelope, row.kind)
        except MessageTooLarge as error:
            self.logger.error("event_too_large", subject=row.kind.subject, error_message=str(error))
            letter = unsendable(row.envelope, str(error))
            self.noted(await self.store.change(lambda rows, _sql, now: state_machine.step(rows, letter, now)))

    async def _publish_progress(self) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_EVERY)
            changed, self._changed = self._changed, set()
            for job_id in changed:
                job = await self.store.job(job_id)
                if job is None or job.status.ended:  # its end is told by an event of the outbox: this would overtake it
                    continue
                if self.bus.connected:
                    with suppress(MessageTooLarge):  # REST tells of it all the same
                        await self.bus.publish(e.JobProgress(job_id=job_id, job=job), trace_id=job.trace_id)


def _expect_an_effect(rows: SqlRows, wish: Wish) -> None:
    """Raises InvalidRequest, NotFound for a wish that would do nothing."""
    job = rows.job(wish.job_id)
    match wish:
        case e.JobRetryRequested() if job is not None and not commands.has_gaps(job):
            what = "has no gaps" if job.listings else "was rejected, and nothing of it was begun"
            raise InvalidRequest(f"Job {wish.job_id} {what}: there is nothing to try again.")
        case e.JobCancelRequested(video_id=str(video_id)):
            item = rows.item(wish.job_id, video_id)
            if item is None:
                raise NotFound(f"Job {wish.job_id} has no video {video_id}.", job_id=wish.job_id, video_id=video_id)
            if not item.status.open:
                raise InvalidRequest(f"{video_id} has ended ({item.status}): there is nothing to cancel.")
