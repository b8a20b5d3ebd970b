"""What jobs does on which event. Everything that changes a job goes through one inbox, in the stream's order."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bus.handlers import Handlers
from bus.message import Envelope
from services.common import events as e
from services.common.models import ClaimAnswer, PartialsOwned
from services.jobs.domain import state_machine

if TYPE_CHECKING:
    from services.jobs.service import JobsService

handlers = Handlers("jobs")


@handlers.inbox(
    e.JobCreated,
    *state_machine.HANDLED,
    e.SourceBlocked,
    e.SourceCleared,
    e.ServiceRegistered,
    e.ServiceStopped,
)
async def take(envelopes: Sequence[Envelope], jobs: "JobsService") -> None:
    await jobs.take(envelopes)


@handlers.answer(e.DownloadClaim)
async def claim(event: e.DownloadClaim, jobs: "JobsService") -> ClaimAnswer:
    return await jobs.dispatcher.claim(event)


@handlers.answer(e.PartialsLeft)
async def whose(event: e.PartialsLeft, jobs: "JobsService") -> PartialsOwned:
    return PartialsOwned(video_ids=tuple(await jobs.store.wanted(event.video_ids)))


@handlers.subscribe(e.ServiceHeartbeat)
async def heartbeat(event: e.ServiceHeartbeat, jobs: "JobsService") -> None:
    jobs.heard(event.service)


@handlers.subscribe(e.DownloadProgress)
async def progress(event: e.DownloadProgress, jobs: "JobsService") -> None:
    jobs.live.progressed(event)
