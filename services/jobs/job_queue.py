"""The job queue: takes messages of the inbox, and the requests of users."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from bus import Bus, NotNow, UnreadableMessage
from bus.fault_injection import fault_point
from bus.message import Envelope, Event
from services.common import credentials
from services.common import events as e
from services.common.domain.jobs import Job
from services.common.errors import InvalidRequest, ServiceUnavailable
from services.common.settings.load import Config
from services.jobs.adapters import retention
from services.jobs.adapters.commits import CommitNotifier
from services.jobs.adapters.job_reader import JobReader
from services.jobs.adapters.registry import Registry
from services.jobs.adapters.store import Store
from services.jobs.adapters.unit_of_work import SqlRows
from services.jobs.dispatcher import Dispatcher
from services.jobs.domain import commands, state_machine
from services.jobs.domain.accounting import Out
from services.jobs.domain.rhythm import Pace
from services.jobs.domain.state_machine import Rejected, Verdict
from services.jobs.job_validator import JobValidator
from services.jobs.rest_models import Cleanup
from services.jobs.subscribers import Subscribers

_VALIDATION_TIMEOUT = 2.0  # seconds that the inbox waits for the validation of a job
_REQUEST_TIMEOUT = 20.0  # seconds that a REST request waits for it
_RETRY_AFTER = 5.0  # seconds until the message comes again
_TYPES = {kind.subject: kind for kind in e.catalogue()}
_COMMANDS = (
    e.JobCancelRequested, e.JobPauseRequested, e.JobResumeRequested, e.JobRetryRequested, e.JobPriorityRequested,
)  # fmt: skip
_NOTES = (e.MetadataArchived,)  # nothing can be dispatched after these, unless they change a job
_DOWNLOAD_ENDS = (e.DownloadCompleted, e.DownloadFailed, e.DownloadDeferred, e.DownloadCancelled, e.VideoArchived)


class JobQueue:
    def __init__(
        self,
        config: Config,
        bus: Bus,
        store: Store,
        reader: JobReader,
        validator: JobValidator,
        registry: Registry,
        dispatcher: Dispatcher,
        subscribers: Subscribers,
        notifier: CommitNotifier,
        pace: Pace,
    ) -> None:
        self._bus = bus
        self._store = store
        self._reader = reader
        self._validator = validator
        self._registry = registry
        self._dispatcher = dispatcher
        self._subscribers = subscribers
        self._notifier = notifier
        self._delayed: set[str] = set()  # jobs whose validation takes long: their commands wait for them
        self._retention = config.retention
        self._recheck_after = timedelta(days=config.recheck.interval_days)
        self._pace = pace

    # --- the inbox

    async def take(self, envelopes: Sequence[Envelope]) -> None:
        """Apply the messages that are new, in order, as one transaction.

        Raises UnreadableMessage, and NotNow while a new job is being validated: the transaction waits for no file
        system.
        """
        events = [await self._read(envelope) for envelope in envelopes]
        for event in events:
            if isinstance(event, _COMMANDS) and event.job_id in self._delayed:
                raise NotNow(f"job {event.job_id} is not created yet", delay=_RETRY_AFTER)
        new = {
            envelope.id: event
            for envelope, event in zip(envelopes, events, strict=True)
            if isinstance(event, e.JobCreated) and await self._is_new(envelope.id, event.job_id)
        }
        verdicts = await asyncio.gather(*(self._validated(event) for event in new.values()))
        await self._apply(envelopes, events, dict(zip(new, verdicts, strict=True)))

    async def _read(self, envelope: Envelope) -> Event:
        """Read the event. An API key does not stay in the stream, not even that of an invalid job."""
        try:
            return _TYPES[envelope.type].read(envelope)
        except UnreadableMessage:
            if credentials.api_key_in(envelope):
                await self._bus.erase(envelope)
            raise

    async def _is_new(self, message_id: str, job_id: str) -> bool:
        return await self._reader.find(job_id) is None and not await self._store.applied(message_id)

    async def _validated(self, event: e.JobCreated) -> Verdict:
        timeout = 0.0 if self._validator.running(event.job_id) else _VALIDATION_TIMEOUT
        verdict = await self._validator.verdict(event, timeout)
        if verdict is None:
            self._delayed.add(event.job_id)
            raise NotNow(f"job {event.job_id} is still being validated: its file system is slow", delay=_RETRY_AFTER)
        return verdict

    async def _apply(
        self, envelopes: Sequence[Envelope], events: Sequence[Event], verdicts: Mapping[str, Verdict]
    ) -> None:
        keys = [(envelope, key) for envelope in envelopes if (key := credentials.api_key_in(envelope))]
        for envelope, key in keys:
            await self.hand_over(str(envelope.data.get("job_id")), key, envelope.trace_id)
        for event in events:
            self._update_memory(event)
            if isinstance(event, e.JobCreated):
                self._delayed.discard(event.job_id)
        by_id = {envelope.id: event for envelope, event in zip(envelopes, events, strict=True)}
        step = partial(_step, events=by_id, verdicts=verdicts, recheck_after=self._recheck_after, pace=self._pace)
        commit = await self._store.apply(envelopes, step)
        for envelope, _key in keys:
            await self._bus.erase(envelope)
        for envelope in envelopes:
            fault_point(f"jobs.committed.{envelope.type}")
        self._notifier.notify(commit)
        for envelope in envelopes:
            event = by_id[envelope.id]
            unparks = isinstance(event, e.JobCreated | e.JobResumeRequested | e.JobRetryRequested)
            if unparks and envelope.id in commit.applied:  # not a copy from an earlier run
                self._dispatcher.unpark(str(envelope.data.get("job_id")))
        if commit.jobs or commit.outbox or not all(isinstance(event, _NOTES) for event in events):
            self._dispatcher.wake()

    def _update_memory(self, event: Event) -> None:
        """Update what is not in jobs.db: the live instances and the running downloads."""
        match event:
            case e.ServiceRegistered():
                self._registry.seen(event.service)
            case e.FollowLooked():
                self._dispatcher.looked(event.follow_id, event.requests)
            case e.ServiceStopped():
                self._registry.stopped(event.instance)
            case _ if isinstance(event, _DOWNLOAD_ENDS):
                self._subscribers.ended(event.video_id, str(event.dispatch_id))

    # --- requests of users

    async def hand_over(self, job_id: str, api_key: str, trace_id: str) -> None:
        """Send the API key of a new job to metadata, before the job is created. It is not stored here."""
        if await self._reader.find(job_id) is None:
            await credentials.offer(self._bus, job_id, api_key, trace_id)

    async def submit(self, event: e.JobCreated, trace_id: str) -> Job:
        """Validate, publish and store a job. Raises InvalidRequest, and ServiceUnavailable when output_dir cannot be
        checked in time."""
        verdict = await self._validator.verdict(event, _REQUEST_TIMEOUT)
        if verdict is None:
            raise ServiceUnavailable(
                f"output_dir {event.options.chosen_output_dir!r} was not checked within {_REQUEST_TIMEOUT:g} s: its"
                " file system does not answer. Try again when it does.",
                retry_after=round(_RETRY_AFTER),
            )
        if isinstance(verdict, Rejected):
            raise InvalidRequest(verdict.error.message, **(verdict.error.details or {}))
        envelope = await self._bus.publish(event, trace_id=trace_id)
        # the copy in the stream is ignored: its id is in the inbox then
        await self._apply([envelope], [event], {envelope.id: verdict})
        return await self._reader.get(event.job_id)

    async def command(self, event: commands.Command) -> Job:
        """Publish and apply a command. Raises InvalidRequest or NotFound when it would have no effect."""
        trace_id = await self._store.read(lambda rows, _sql: commands.check(rows, event).trace_id)
        await self.take([await self._bus.publish(event, trace_id=trace_id)])
        return await self._reader.get(event.job_id)

    async def remove(self, job_id: str) -> bool:
        """Remove an ended job. Return False when there is none of this id."""
        return await retention.remove(self._store, job_id, self._notifier)

    async def clean_up(self, *, dry_run: bool) -> Cleanup:
        """Remove the jobs that are kept no longer, or report them."""
        now = datetime.now(UTC)
        if dry_run:
            return retention.report(await retention.due(self._store, self._retention, now), dry_run=True)
        return await retention.upkeep(self._store, self._retention, now, self._notifier)


def _step(
    rows: SqlRows,
    envelope: Envelope,
    now: datetime,
    *,
    events: Mapping[str, Event],
    verdicts: Mapping[str, Verdict],
    recheck_after: timedelta,
    pace: Pace,
) -> list[Out]:
    return state_machine.apply(
        rows,
        events[envelope.id],
        envelope.trace_id,
        now,
        verdict=verdicts.get(envelope.id),
        recheck_after=recheck_after,
        pace=pace,
    )
