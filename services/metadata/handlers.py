"""What metadata does on which event."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from bus import Event, Handlers
from services.common.events import JobQueued
from services.common.models import TargetKind
from services.metadata.lister import given

if TYPE_CHECKING:
    from services.metadata.service import MetadataService

handlers = Handlers("metadata")


# more slots than children: given videos need no child, and must not wait for those who do
@handlers.on(JobQueued, slots=16)
async def list_target(event: JobQueued, metadata: "MetadataService") -> AsyncGenerator[Event, None]:
    """List one target of a job, page by page."""
    listing = given(event) if event.target.kind is TargetKind.VIDEOS else metadata.lister.run(event)
    async with aclosing(listing) as facts:
        async for fact in facts:
            yield fact
