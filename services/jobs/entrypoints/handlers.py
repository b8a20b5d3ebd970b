"""The events that jobs handles. Everything that changes a job passes one inbox, in the order of the stream."""

from collections.abc import Sequence

from bus.errors import NotNow
from bus.handlers import Handlers
from bus.message import Envelope
from services.common import events as e
from services.common.domain.replies import ClaimAnswer, PartialsOwned
from services.common.errors import StateDamaged
from services.jobs.adapters.job_reader import JobReader
from services.jobs.adapters.registry import Registry
from services.jobs.dispatcher import Dispatcher
from services.jobs.domain import state_machine
from services.jobs.job_queue import JobQueue
from services.jobs.subscribers import Subscribers

HANDLERS = Handlers("jobs")
_DAMAGED_DELAY = 10.0  # seconds until a message that found jobs.db damaged is delivered again


@HANDLERS.inbox(
    e.JobCreated,
    *state_machine.HANDLED,
    e.SourceBlocked,
    e.SourceCleared,
    e.ServiceRegistered,
    e.ServiceStopped,
)
async def take(envelopes: Sequence[Envelope], queue: JobQueue) -> None:
    try:
        await queue.take(envelopes)
    except StateDamaged as error:  # the next start restores jobs.db: until then no message becomes a dead letter
        raise NotNow(error.message, _DAMAGED_DELAY) from error


@HANDLERS.answer(e.DownloadClaim)
async def claim(event: e.DownloadClaim, dispatcher: Dispatcher) -> ClaimAnswer:
    return await dispatcher.claim(event)


@HANDLERS.answer(e.PartialsLeft)
async def owned_partials(event: e.PartialsLeft, reader: JobReader) -> PartialsOwned:
    return PartialsOwned(video_ids=tuple(await reader.awaited_videos(event.video_ids)))


@HANDLERS.subscribe(e.ServiceHeartbeat)
async def heartbeat(event: e.ServiceHeartbeat, registry: Registry, dispatcher: Dispatcher) -> None:
    dispatcher.heartbeat(changed=registry.seen(event.service))


@HANDLERS.subscribe(e.DownloadProgress)
async def progress(event: e.DownloadProgress, subscribers: Subscribers) -> None:
    subscribers.progressed(event)
