"""API keys: those of jobs, and the configured one. They are never written to disk.

A job's key arrives by `credentials.offered`. Every metadata instance keeps it in memory until the process ends (a retry
of the job may come days later) or newer keys displace it; then the configured key is used (docs/decisions/0007).
"""

from dataclasses import dataclass, field

from cachetools import LRUCache

from services.common.settings.load import API_KEY_VARIABLE, Config

_REMEMBERED = 10_000  # jobs

OF_JOB = "the API key that came with this job"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`origin` names where the key was set, for error messages."""

    secret: str = field(repr=False)
    origin: str


class ApiKeys:
    def __init__(self, config: Config) -> None:
        self._configured = _configured(config)
        self._of_jobs: LRUCache[str, ApiKey] = LRUCache(_REMEMBERED)

    def offer(self, job_id: str, secret: str) -> bool:
        """Keep a job's key. Return False for a blank one."""
        secret = secret.strip()
        if not secret:
            return False
        self._of_jobs[job_id] = ApiKey(secret, OF_JOB)
        return True

    def of(self, job_id: str) -> ApiKey | None:
        """Return the job's own key, else the configured one, else None."""
        return self._of_jobs.get(job_id, self._configured)

    @property
    def configured(self) -> ApiKey | None:
        """The configured key, which lookups use."""
        return self._configured


def _configured(config: Config) -> ApiKey | None:
    """Return the configured key. The environment variable already overrides the file in `config`."""
    secret = config.youtube.api_key.get_secret_value().strip() if config.youtube.api_key else ""
    if not secret:
        return None
    origin = config.origins.get("youtube.api_key", "the configuration")
    if origin != API_KEY_VARIABLE and not origin.startswith("YTARCHIVE_"):
        origin = f"[youtube] api_key in {origin}"
    return ApiKey(secret, origin)
