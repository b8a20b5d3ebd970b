"""What happens after catalogue.db was found damaged: it is reported, and rebuilt from the archive."""

import asyncio
from pathlib import Path

import structlog

from services.common.errors import StateDamaged

_log = structlog.get_logger()


class CatalogueDamage:
    """`reason`: why the catalogue is being rebuilt; None when it is complete. `found` is set until that begins."""

    def __init__(self, path: Path) -> None:
        """To be called on the event loop."""
        self._path = path
        self._loop = asyncio.get_running_loop()
        self.found = asyncio.Event()
        self.reason: str | None = None

    def note(self, reason: str) -> None:
        """Report that the file was set aside and an empty one took its place. May be called on any thread."""
        self.reason = f"{self._path} was damaged ({reason}): it is being rebuilt"
        _log.error(
            "catalogue_damaged",
            path=str(self._path),
            error_code=StateDamaged.code,
            error_message=reason,
            set_aside=f"{self._path}.unreadable",
            lost="results of verifications, and pages of playlists that are being listed",
            remedy="none needed: it is rebuilt from the archive and the work plans",
        )
        self._loop.call_soon_threadsafe(self.found.set)
