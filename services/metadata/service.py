"""The metadata service: what a target lists."""

from typing import ClassVar

from bus import Handlers
from services.common.service import ServiceBase
from services.common.youtube.egress import egress_of
from services.common.youtube.settings import ChildSettings
from services.metadata.claims import Claims
from services.metadata.handlers import handlers
from services.metadata.lister import Lister
from services.metadata.ytdlp_source import Children, YtDlpSource

LISTINGS_AT_ONCE = 2  # children of yt-dlp


class MetadataService(ServiceBase):
    """Lists targets with yt-dlp. Keeps nothing: a listing that was cut off is asked for again by jobs."""

    name: ClassVar[str] = "metadata"
    handlers: ClassVar[Handlers] = handlers

    lister: Lister
    children: Children | None = None

    async def initialize_resources(self) -> None:
        self.children = Children(ChildSettings.of(self.config), LISTINGS_AT_ONCE)
        egress = egress_of(self.config.youtube.proxy)
        claims = Claims(self.bus, self.instance, egress, self.closing)
        self.lister = Lister(YtDlpSource(self.children), claims.ask, egress, self.closing)

    async def cleanup_resources(self) -> None:
        if self.children is not None:
            await self.children.close()
