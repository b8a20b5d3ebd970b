"""What every part of the download service needs to know about its instance."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from bus import Bus
from services.common.settings.load import Config


@dataclass(frozen=True)
class WorkerContext:
    """`closing` is set when the service shuts down. `announce` sends a heartbeat with the current slots."""

    config: Config
    bus: Bus
    instance: str
    egress: str
    closing: asyncio.Event
    announce: Callable[[], Awaitable[None]]

    def partial_of(self, video_id: str) -> Path:
        """Return the directory of a partial download (SPEC: Temporary Files, `{video_id}.part`)."""
        return (self.config.storage.tmp_dir / f"{video_id}.part").absolute()
