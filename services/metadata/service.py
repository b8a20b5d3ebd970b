"""The metadata service: lists targets for jobs and looks up metadata for people."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta, tzinfo
from typing import Any, ClassVar

from bus import BusSettings, Handlers
from services.common.infra.resilience import RemoteHosts
from services.common.service import ServiceBase
from services.common.settings.load import Config
from services.common.settings.retry_policy import BreakerState
from services.common.web.routing import Route
from services.common.youtube.settings import ChildSettings
from services.metadata.bootstrap import HANDLERS, ROUTES, Parts, bootstrap
from services.metadata.data_api.quota import LATE, PACIFIC
from services.metadata.data_api.quota_store import BUCKET

QUOTA_EVERY = 30.0  # seconds between two reads of the quota for health


class MetadataService(ServiceBase):
    """Start-up, shut-down and health. The service stores nothing: jobs requests an interrupted listing again, API keys
    are kept in memory, and the quota is counted in the broker."""

    name: ClassVar[str] = "metadata"
    handlers: ClassVar[Handlers] = HANDLERS
    routes: Sequence[Route] = ROUTES
    buckets: ClassVar[tuple[str, ...]] = (BUCKET,)

    parts: Parts

    def __init__(
        self,
        config: Config,
        bus: BusSettings,
        *,
        quota_zone: tzinfo = PACIFIC,
        quota_late: timedelta = LATE,
        hosts: RemoteHosts | None = None,
    ) -> None:
        """`quota_zone`: where a quota day ends at midnight; `quota_late`: how much later YouTube may end it; `hosts`:
        retry and circuit breakers of calls to YouTube and the Data API."""
        super().__init__(config, bus)
        self.hosts = hosts or RemoteHosts()
        self._quota_zone, self._quota_late = quota_zone, quota_late
        self._resources = AsyncExitStack()
        self._quota: dict[str, Any] | None = None

    @classmethod
    def check_settings(cls, config: Config) -> None:
        ChildSettings.of(config)

    async def initialize_resources(self) -> Sequence[object]:
        self.parts = bootstrap(
            self.config,
            self.bus,
            self.instance,
            self.closing,
            self.hosts,
            self._quota_zone,
            self._quota_late,
            self._resources,
        )
        return self.parts.all()

    async def after_start(self) -> None:
        if self.parts.keys.configured is not None:
            self.spawn(self._watch_quota, "watch of the quota")

    def metrics(self) -> dict[str, Any]:
        """`quota`: that of the configured key, at most 30 s old; None without a key."""
        return {"quota": self._quota}

    def breakers(self) -> Mapping[str, BreakerState]:
        return self.hosts.states()

    async def _watch_quota(self) -> None:
        while True:
            self._quota = await self.parts.report.of_configured_key()
            await asyncio.sleep(QUOTA_EVERY)

    async def cleanup_resources(self) -> None:
        await self._resources.aclose()
