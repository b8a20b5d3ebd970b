"""The events that the metadata service handles."""

from collections.abc import AsyncGenerator

from bus import Event, Handlers, handling
from services.common.domain.replies import CredentialsTaken
from services.common.events import CredentialsOffered, FollowLookDue, JobQueued
from services.metadata.data_api.keys import ApiKeys
from services.metadata.lister import Lister
from services.metadata.looks import Looks

handlers = Handlers("metadata")


# More slots than children: a target that names its videos needs no child and must not wait for those that do.
@handlers.on(JobQueued, slots=16)
def list_target(event: JobQueued, lister: Lister) -> AsyncGenerator[Event, None]:
    return lister.run(event)


@handlers.on(FollowLookDue, slots=2)
def look(event: FollowLookDue, looks: Looks) -> AsyncGenerator[Event, None]:
    return looks.look(event, handling().trace_id)


# Every instance: which of them will list the job is not decided yet, and the key must not be stored for the others.
@handlers.answer(CredentialsOffered, every_instance=True)
async def take_credentials(event: CredentialsOffered, keys: ApiKeys) -> CredentialsTaken:
    """Keep a job's API key in memory."""
    return CredentialsTaken(accepted=keys.offer(event.job_id, event.api_key))
