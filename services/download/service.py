"""The download service: yt-dlp children in slots, one dispatch each."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from bus import BusSettings, Handlers
from services.common.domain.registry import ServiceInfo
from services.common.errors import ServiceUnavailable
from services.common.events import VideoArchived
from services.common.service import ServiceBase
from services.common.settings.load import Config
from services.common.settings.retry_policy import BreakerState
from services.common.web.routing import Route
from services.common.youtube.settings import ChildSettings
from services.common.youtube.tools import find_ffmpeg
from services.common.youtube.ytdlp.installations import Installations
from services.download.bootstrap import HANDLERS, ROUTES, Parts, bootstrap


class DownloadService(ServiceBase):
    """Start-up, shut-down, health and background tasks; `parts` do the work."""

    name: ClassVar[str] = "download"
    handlers: ClassVar[Handlers] = HANDLERS
    routes: Sequence[Route] = ROUTES

    parts: Parts

    def __init__(self, config: Config, bus: BusSettings) -> None:
        super().__init__(config, bus)
        self._resources = AsyncExitStack()

    @classmethod
    def check_settings(cls, config: Config) -> None:
        ChildSettings.of(config)

    async def initialize_resources(self) -> Sequence[object]:
        """Raises ServiceUnavailable without ffmpeg: nothing could be merged."""
        self.parts = bootstrap(self.config, self.bus, self.instance, self.closing, self.announce, self._resources)
        if await asyncio.to_thread(find_ffmpeg, self.config.download.ffmpeg) is None:
            raise ServiceUnavailable(
                "imageio-ffmpeg has no ffmpeg for this platform: install one, or name it in [download] ffmpeg."
            )
        return self.parts.all()

    async def after_start(self) -> None:
        await asyncio.to_thread(self._report_ytdlp)
        self.spawn(self.parts.worker.sweep_partials, "sweep of partials")

    def _report_ytdlp(self) -> None:
        """Log which yt-dlp is in use, and why another one is not."""
        found = Installations.of(self.config.storage).in_use()
        origin = str(found.folder) if found.folder else "installed with ytarchive"
        self.logger.info("ytdlp_in_use", ytdlp=found.version, origin=origin)
        if found.problem is not None:
            self.logger.warning("ytdlp_update_not_used", error_message=found.problem)

    async def cleanup_resources(self) -> None:
        await self._resources.aclose()

    def disk_paths(self) -> Sequence[Path]:
        return (self.config.storage.tmp_dir,)

    async def settled(self) -> bool:
        """Partials of archived videos are removed. Downloads of other jobs do not count: their partials are kept."""
        return await self.bus.caught_up(self.handlers, {VideoArchived})

    # --- health

    def info(self) -> ServiceInfo:
        update = {
            "slots": 0 if self.closing.is_set() else self.parts.slots.count,
            "free_slots": self.parts.worker.free_slots,
            "egress": self.parts.context.egress,
        }
        return super().info().model_copy(update=update)

    def metrics(self) -> dict[str, Any]:
        breaker = self.parts.breaker
        blocked_until = breaker.until if breaker.blocked(datetime.now(UTC)) else None
        return {
            "slots": self.parts.slots.count,
            "free_slots": self.parts.worker.free_slots,
            "egress": self.parts.context.egress,
            "blocked_until": blocked_until.isoformat() if blocked_until else None,
            **self.parts.tasks.numbers(),
            "formats_asked": self.parts.offers.asked,
        }

    def breakers(self) -> Mapping[str, BreakerState]:
        return {self.parts.context.egress: self.parts.breaker.state(datetime.now(UTC))}
