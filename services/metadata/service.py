"""The metadata service: what a target lists, and what people look up."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta, tzinfo
from functools import partial
from typing import Any, ClassVar

from bus import BusSettings, Handlers
from services.common.infra.resilience import RemoteHosts
from services.common.service import ServiceBase
from services.common.settings.load import Config
from services.common.settings.retry_policy import BreakerState
from services.common.web.routing import Route
from services.common.youtube.egress import YOUTUBE, egress_of
from services.common.youtube.settings import ChildSettings
from services.metadata import api
from services.metadata.claims import Claims
from services.metadata.data_api.client import DataApi
from services.metadata.data_api.keys import Keys
from services.metadata.data_api.quota import LATE, PACIFIC, Budget, fingerprint
from services.metadata.data_api.quota_store import Ledger
from services.metadata.handlers import handlers
from services.metadata.lister import Lister, Way
from services.metadata.lookups import LookUps
from services.metadata.permits import Leave
from services.metadata.source_selection import Ways, data_api_egress
from services.metadata.ytdlp_source import Children, YtDlpSource

LISTINGS_AT_ONCE = 2  # children of yt-dlp
LOOK_UPS_AT_ONCE = 2  # children beside those, so that nobody waits for a list of 5,000; started when they are needed
QUOTA_EVERY = 30.0  # seconds between two looks at the ledger, for health


class MetadataService(ServiceBase):
    """Lists targets, with the Data API where there is a key, else with yt-dlp. Writes nothing: a listing that was cut
    off is asked for again by jobs, keys are in memory, and the quota ledger is the broker's.

    `quota_zone` is where a day of the quota ends at midnight, `quota_late` how much later YouTube may think so, `hosts`
    how it calls YouTube and the Data API.
    """

    name: ClassVar[str] = "metadata"
    handlers: ClassVar[Handlers] = handlers

    lister: Lister
    ledger: Ledger
    look_ups: LookUps | None = None

    def __init__(
        self,
        config: Config,
        bus: BusSettings,
        *,
        quota_zone: tzinfo = PACIFIC,
        quota_late: timedelta = LATE,
        hosts: RemoteHosts | None = None,
    ) -> None:
        super().__init__(config, bus)
        self.hosts = hosts or RemoteHosts()
        self.keys = Keys(config)
        self._quota_zone, self._quota_late = quota_zone, quota_late
        self._children: list[Children] = []
        self._quota: dict[str, Any] | None = None

    async def initialize_resources(self) -> None:
        youtube = self.config.youtube
        keyless, with_api = egress_of(youtube.proxy, name=youtube.egress), data_api_egress(youtube.egress)
        budget = Budget(youtube.quota_limit, youtube.quota_reserve)
        self.ledger = Ledger(self.bus, budget, self._quota_zone, self._quota_late)
        data_api = DataApi(youtube.api_endpoint, self.ledger, self.hosts)
        ways = Ways(
            keys=self.keys,
            api=data_api,
            api_claim=self._claims(with_api).ask,
            keyless=Way(self._yt_dlp(LISTINGS_AT_ONCE), self._claims(keyless).ask, keyless),
            api_egress=with_api,
            keyless_fallback=youtube.keyless_fallback,
        )
        self.lister = Lister(ways.of, self.closing)
        looking = self._yt_dlp(LOOK_UPS_AT_ONCE)
        self.look_ups = LookUps(
            self.bus,
            self.keys,
            data_api,
            self._claims(with_api),
            Leave(looking, self._claims(keyless), self.bus, reads_on=True),
            fallback=youtube.keyless_fallback,
        )

    async def after_start(self) -> None:
        if self.keys.configured is not None:
            self.spawn(partial(self._watch_quota, self.keys.configured.secret), "watch of the quota")

    def routes(self) -> Sequence[Route]:
        return api.routes(self)

    def metrics(self) -> dict[str, Any]:
        """`quota` is that of the configured key, at most half a minute old; None without one."""
        return {"quota": self._quota}

    def breakers(self) -> Mapping[str, BreakerState]:
        return self.hosts.states()

    def _claims(self, egress: str) -> Claims:
        return Claims(self.bus, self.instance, egress, self.closing)

    def _yt_dlp(self, children: int) -> YtDlpSource:
        self._children.append(Children(ChildSettings.of(self.config), children))
        return YtDlpSource(self._children[-1], self.hosts[YOUTUBE])

    async def _watch_quota(self, secret: str) -> None:
        while True:
            day = await self.ledger.today(secret)
            told = api.key_quota(fingerprint(secret), day, self.ledger.budget, configured=True)
            self._quota = {**told.model_dump(), "limit": self.ledger.budget.limit}
            await asyncio.sleep(QUOTA_EVERY)

    async def cleanup_resources(self) -> None:
        if self.look_ups is not None:
            await self.look_ups.close()
        await asyncio.gather(*(children.close() for children in self._children))
