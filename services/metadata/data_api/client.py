"""The Data API: each attempt is charged to the quota before it is made, and repeated as for any host."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from services.common.errors import HostUnavailable
from services.common.infra.resilience import RemoteHosts
from services.common.settings.retry_policy import BREAKER_OPEN, CallOutcome, RetryPolicy
from services.metadata.data_api.errors import ApiRefused, RefusalKind
from services.metadata.data_api.quota import cost_of
from services.metadata.data_api.quota_store import QuotaStore

if TYPE_CHECKING:
    from services.metadata.data_api.google_client import GoogleClient

FOR_PEOPLE = 6.0  # seconds for an answer to a person
GOOGLE = "https://youtube.googleapis.com"

Json = dict[str, Any]


class DataApi:
    """`endpoint` None is Google's."""

    def __init__(self, endpoint: str | None, ledger: QuotaStore, hosts: RemoteHosts) -> None:
        self._endpoint = endpoint
        self._ledger = ledger
        self._host = hosts[urlsplit(endpoint or GOOGLE).netloc]
        self._policy = hosts.policy
        self._building = asyncio.Lock()
        self._google: GoogleClient | None = None

    def renewed_by(self) -> datetime:
        """Return when to retry after the quota was used up."""
        return self._ledger.renewed_by()

    async def list(self, secret: str, resource: str, *, background: bool = True, **query: Any) -> Json:
        """Make one list call (`videos`, `playlistItems`, …). Each attempt is charged before it is made. A call that is
        not `background` may use the reserve and has a shorter timeout: a person waits, and there is another source.
        Raise ApiRefused."""
        policy = self._policy if background else replace(self._policy, read=min(self._policy.read, FOR_PEOPLE))

        async def attempt() -> Json:
            asked = datetime.now(UTC)
            await self._pay(secret, resource, background)
            try:
                return await self._ask(secret, resource, query, policy)
            except ApiRefused as refused:
                if refused.kind is RefusalKind.QUOTA:
                    await self._ledger.end_day(secret, asked)
                raise

        try:
            return await self._host.call(attempt, _outcome, repeatable=True)
        except HostUnavailable as error:
            wait = error.details["retry_after"]
            raise ApiRefused(RefusalKind.PASSING, BREAKER_OPEN, error.message, retry_after=wait) from error

    async def _pay(self, secret: str, resource: str, background: bool) -> None:
        if not await self._ledger.charge(secret, cost_of(resource), background=background):
            raise ApiRefused(RefusalKind.QUOTA, "quota_limit", "the Data API quota of today is used up")

    async def _ask(self, secret: str, resource: str, query: Json, policy: RetryPolicy) -> Json:
        google = await self.prepare()
        return await google.list(secret, resource, query, policy)

    async def prepare(self) -> "GoogleClient":
        """Build Google's client, which the first call does otherwise."""
        async with self._building:
            if self._google is None:
                self._google = await asyncio.to_thread(_build, self._endpoint)
        return self._google


def _outcome(error: BaseException) -> CallOutcome | None:
    return error.outcome() if isinstance(error, ApiRefused) else None


def _build(endpoint: str | None) -> "GoogleClient":
    """Takes 0.3 s, most of them to load Google's packages: only archives with a key need them."""
    from services.metadata.data_api.google_client import GoogleClient

    return GoogleClient(endpoint)
