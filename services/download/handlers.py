"""What the download service does on which event."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from bus import Event, Handlers
from services.common.events import DownloadCancelRequested, DownloadRequested, VideoArchived

if TYPE_CHECKING:
    from services.download.service import DownloadService

handlers = Handlers("download")


def _slots(service: "DownloadService") -> int:
    return service.slots.count


async def _ready(service: "DownloadService") -> None:
    await service.ready()


@handlers.on(DownloadRequested, slots=_slots, ready=_ready)
async def fetch(event: DownloadRequested, service: "DownloadService") -> AsyncGenerator[Event, None]:
    async with aclosing(service.fetch(event)) as facts:
        async for fact in facts:
            yield fact


@handlers.on(VideoArchived, slots=4)
async def clear_away(event: VideoArchived, service: "DownloadService") -> None:
    await service.clear_away(event)


@handlers.subscribe(DownloadCancelRequested)
async def cancel(event: DownloadCancelRequested, service: "DownloadService") -> None:
    await service.cancel(event)
