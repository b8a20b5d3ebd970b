"""What metadata does on which event."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from bus import Event, Handlers
from services.common.events import CredentialsOffered, JobQueued
from services.common.models import CredentialsTaken

if TYPE_CHECKING:
    from services.metadata.service import MetadataService

handlers = Handlers("metadata")


# more slots than children: given videos need no child, and must not wait for those who do
@handlers.on(JobQueued, slots=16)
async def list_target(event: JobQueued, metadata: "MetadataService") -> AsyncGenerator[Event, None]:
    """List one target of a job, page by page."""
    async with aclosing(metadata.lister.run(event)) as facts:
        async for fact in facts:
            yield fact


# every instance: who will list the job is not known yet, and nobody may write the key down for the others
@handlers.answer(CredentialsOffered, every_instance=True)
async def take_credentials(event: CredentialsOffered, metadata: "MetadataService") -> CredentialsTaken:
    """Keep a job's API key in memory."""
    return CredentialsTaken(accepted=metadata.keys.offer(event.job_id, event.api_key))
