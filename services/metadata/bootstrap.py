"""Put the metadata service together: API keys, quota and sources, the lister and the lookups on top of them."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta, tzinfo

from bus import Bus
from services.common.infra.resilience import RemoteHosts
from services.common.settings.load import Config
from services.common.youtube.egress import YOUTUBE, egress_of
from services.common.youtube.fork_server import SHARED
from services.common.youtube.settings import ChildSettings
from services.metadata.api import ROUTES as ROUTES
from services.metadata.claims import Claims
from services.metadata.data_api.client import DataApi
from services.metadata.data_api.keys import ApiKeys
from services.metadata.data_api.quota import Budget
from services.metadata.data_api.quota_store import QuotaStore
from services.metadata.handlers import handlers
from services.metadata.lister import ClaimedSource, Lister
from services.metadata.looks import Looks
from services.metadata.lookups import Lookups
from services.metadata.permits import PermittedSource
from services.metadata.quota_status import QuotaReport
from services.metadata.source_selection import SourceSelection, data_api_egress
from services.metadata.ytdlp_source import Children, YtDlpSource

HANDLERS = handlers

LISTINGS = 2  # yt-dlp children for listings
LOOKUPS = 2  # yt-dlp children beside those, so that a lookup does not wait for a list of 5,000; started when needed


@dataclass(frozen=True)
class Parts:
    keys: ApiKeys
    quota: QuotaStore
    report: QuotaReport
    lister: Lister
    lookups: Lookups
    looks: Looks

    def all(self) -> Sequence[object]:
        return (self.keys, self.quota, self.report, self.lister, self.lookups, self.looks)


def bootstrap(
    config: Config,
    bus: Bus,
    instance: str,
    closing: asyncio.Event,
    hosts: RemoteHosts,
    quota_zone: tzinfo,
    quota_late: timedelta,
    resources: AsyncExitStack,
) -> Parts:
    """Build all parts. `resources` closes what they open. A quota day ends at midnight in `quota_zone`; YouTube may end
    it up to `quota_late` later."""
    youtube = config.youtube
    settings = ChildSettings.of(config)

    server = SHARED.acquire()
    resources.push_async_callback(server.release)

    def yt_dlp(count: int) -> YtDlpSource:
        children = Children(settings, server, count)
        resources.push_async_callback(children.close)
        return YtDlpSource(children, hosts[YOUTUBE])

    keyless = Claims(bus, instance, egress_of(youtube.proxy, name=youtube.egress), closing)
    with_key = Claims(bus, instance, data_api_egress(youtube.egress), closing)
    keys = ApiKeys(config)
    quota = QuotaStore(bus, Budget(youtube.quota_limit, youtube.quota_reserve), quota_zone, quota_late)
    api = DataApi(youtube.api_endpoint, quota, hosts)
    listings = yt_dlp(LISTINGS)
    sources = SourceSelection(
        keys=keys,
        api=api,
        api_claim=with_key.ask,
        keyless=ClaimedSource(listings, keyless.ask, keyless.egress),
        api_egress=with_key.egress,
        keyless_fallback=youtube.keyless_fallback,
    )
    lookup_source = PermittedSource(yt_dlp(LOOKUPS), keyless, bus, resumable=False)
    lookups = Lookups(bus, keys, api, with_key, lookup_source, fallback=youtube.keyless_fallback)
    resources.push_async_callback(lookups.close)
    report = QuotaReport(keys, quota, keyless_fallback=youtube.keyless_fallback)
    looks = Looks(PermittedSource(listings, keyless, bus, resumable=False), closing)
    return Parts(keys, quota, report, Lister(sources.of, closing), lookups, looks)
