"""Hand a job's API key over to the metadata service: the only way of a key into the system (docs/decisions/0007)."""

import structlog

from bus import Bus, Envelope, NoAnswer
from services.common.domain.replies import CredentialsTaken
from services.common.events import CredentialsOffered, JobCreated
from services.common.settings.retry_policy import SPEC

TIMEOUT = SPEC.connect
_log = structlog.get_logger()


async def offer(bus: Bus, job_id: str, api_key: str, trace_id: str) -> bool:
    """Send a key to the metadata instances, before the job is created. Return False when none accepted it: the job is
    then listed with the configured key, or without one."""
    event = CredentialsOffered(job_id=job_id, api_key=api_key)
    try:
        return (await bus.request(event, CredentialsTaken, trace_id=trace_id, timeout=TIMEOUT)).accepted
    except NoAnswer as error:
        _log.warning("credentials_not_taken", job_id=job_id, trace_id=trace_id, error_message=str(error))
        return False


def api_key_in(envelope: Envelope) -> str | None:
    """Return the API key in the options of a job.created that another program published. The product's own clients hand
    it over beforehand."""
    if envelope.type != JobCreated.subject:
        return None
    options = envelope.data.get("options")
    key = options.get("api_key") if isinstance(options, dict) else None
    return key if isinstance(key, str) and key else None
