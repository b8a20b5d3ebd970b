"""The API keys at hand: those that jobs brought along, then the configured one. Nothing here is ever written.

A job's key comes by `credentials.offered`. It is kept in the memory of every metadata worker until the process ends
(a retry of the job may come days later) or newer ones push it out; after that, and after a restart, the next in line
counts (DESIGN, deviations).
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from services.common.settings.load import API_KEY_VARIABLE, Config

_REMEMBERED = 10_000  # jobs

OF_JOB = "the API key that came with this job"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`origin` says in words who set it, so that an error can say where to mend it."""

    secret: str = field(repr=False)
    origin: str


class Keys:
    def __init__(self, config: Config) -> None:
        self._configured = _configured(config)
        self._of_jobs: OrderedDict[str, ApiKey] = OrderedDict()

    def offer(self, job_id: str, secret: str) -> bool:
        """Keep a job's key. False for one that is blank."""
        secret = secret.strip()
        if not secret:
            return False
        self._of_jobs[job_id] = ApiKey(secret, OF_JOB)
        self._of_jobs.move_to_end(job_id)
        while len(self._of_jobs) > _REMEMBERED:
            self._of_jobs.popitem(last=False)
        return True

    def of(self, job_id: str) -> ApiKey | None:
        """The job's own, else the configured one, else None: the listing then needs no key."""
        return self._of_jobs.get(job_id, self._configured)

    @property
    def configured(self) -> ApiKey | None:
        """The one that is nobody's in particular: that of look-ups."""
        return self._configured


def _configured(config: Config) -> ApiKey | None:
    """The variable has been put before the file when the configuration was read."""
    secret = config.youtube.api_key.get_secret_value().strip() if config.youtube.api_key else ""
    if not secret:
        return None
    origin = config.origins.get("youtube.api_key", "the configuration")
    if origin != API_KEY_VARIABLE and not origin.startswith("YTARCHIVE_"):
        origin = f"[youtube] api_key in {origin}"
    return ApiKey(secret, origin)
