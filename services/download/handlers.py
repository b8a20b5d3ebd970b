"""The events that download handles."""

from collections.abc import AsyncGenerator

from bus import Event, Handlers
from services.common.events import DownloadCancelRequested, DownloadRequested, VideoArchived
from services.download.slots import Slots
from services.download.worker import Worker

HANDLERS = Handlers("download")


def _slots(slots: Slots) -> int:
    return slots.count


async def _ready(worker: Worker) -> None:
    await worker.ready()


@HANDLERS.on(DownloadRequested, slots=_slots, ready=_ready)
def fetch(event: DownloadRequested, worker: Worker) -> AsyncGenerator[Event, None]:
    return worker.fetch(event)


@HANDLERS.on(VideoArchived, slots=4)
async def remove_archived(event: VideoArchived, worker: Worker) -> None:
    await worker.remove_archived(event)


@HANDLERS.subscribe(DownloadCancelRequested)
async def cancel(event: DownloadCancelRequested, worker: Worker) -> None:
    await worker.cancel(event)
