"""Is a new job one that can be done? Looked at once, before anything is kept of it."""

from services.common.errors import InvalidRequest
from services.common.events import JobCreated
from services.common.job_validation import accept
from services.common.models import ErrorDetail
from services.common.settings.load import Config
from services.jobs.domain.state_machine import Accepted


def examine(event: JobCreated, config: Config) -> Accepted | ErrorDetail:
    try:
        targets, root = accept(event.targets, event.options, config)
    except InvalidRequest as error:
        return error.detail()
    return Accepted(tuple(targets), str(root))
