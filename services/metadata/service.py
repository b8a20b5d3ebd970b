"""The metadata service: what a target lists."""

from typing import ClassVar

from bus import BusSettings, Handlers
from services.common.config import Config
from services.common.service import ServiceBase
from services.common.youtube.egress import egress_of
from services.common.youtube.settings import ChildSettings
from services.metadata.claims import Claims
from services.metadata.data_api import DataApi
from services.metadata.handlers import handlers
from services.metadata.keys import Keys
from services.metadata.ledger import Ledger
from services.metadata.lister import Lister, Way
from services.metadata.quota import Budget
from services.metadata.ways import Ways, data_api_egress
from services.metadata.ytdlp_source import Children, YtDlpSource

LISTINGS_AT_ONCE = 2  # children of yt-dlp


class MetadataService(ServiceBase):
    """Lists targets, with the Data API where there is a key, else with yt-dlp. Writes nothing: a listing that was cut
    off is asked for again by jobs, keys are in memory, and the quota ledger is the broker's."""

    name: ClassVar[str] = "metadata"
    handlers: ClassVar[Handlers] = handlers

    lister: Lister
    ledger: Ledger
    children: Children | None = None

    def __init__(self, config: Config, bus: BusSettings) -> None:
        super().__init__(config, bus)
        self.keys = Keys(config)

    async def initialize_resources(self) -> None:
        youtube = self.config.youtube
        self.children = Children(ChildSettings.of(self.config), LISTINGS_AT_ONCE)
        egress = egress_of(youtube.proxy)
        keyless = Way(YtDlpSource(self.children), self._claims(egress).ask, egress)
        self.ledger = Ledger(self.bus, Budget(youtube.quota_limit, youtube.quota_reserve))
        api = DataApi(youtube.api_endpoint, self.ledger)
        ways = Ways(self.keys, api, self._claims(data_api_egress()).ask, keyless)
        self.lister = Lister(ways.of, self.closing)

    def _claims(self, egress: str) -> Claims:
        return Claims(self.bus, self.instance, egress, self.closing)

    async def cleanup_resources(self) -> None:
        if self.children is not None:
            await self.children.close()
