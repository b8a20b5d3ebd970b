"""Removal of old journals (SPEC: Data Retention: logs, 30 days with daily rotation)."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import structlog
from pydantic import BaseModel

from services.common.infra.deletion_clock import DeletionClock
from services.logging.reading import JournalFile, journal_files

_AFTER_MIDNIGHT = time(0, 5)

_log = structlog.get_logger("services.logging")


class OldLog(BaseModel):
    name: str
    day: date
    bytes: int


class LogCleanup(BaseModel):
    """The files that were removed, or with `dry_run` would be; `bytes` is their total size."""

    dry_run: bool
    files: list[OldLog]
    bytes: int


def expired(directory: Path, keep_days: int, today: date) -> list[JournalFile]:
    """Return the files of both journals whose day is more than `keep_days` days ago (UTC), oldest first."""
    horizon = today - timedelta(days=keep_days)
    return [file for file in journal_files(directory) if file.day < horizon]


def clean_up(directory: Path, keep_days: int, today: date, *, dry_run: bool = False) -> LogCleanup:
    """Remove the files that are due. Files that are not named like a journal stay. Blocks."""
    files = expired(directory, keep_days, today)
    removed = [OldLog(name=file.path.name, day=file.day, bytes=file.size) for file in files]
    if not dry_run:
        _remove(files)
    return LogCleanup(dry_run=dry_run, files=removed, bytes=sum(one.bytes for one in removed))


class LogRetention:
    def __init__(self, directory: Path, keep_days: int) -> None:
        self._directory = directory
        self._keep_days = keep_days

    async def clean_up(self, *, dry_run: bool = False, now: datetime | None = None) -> LogCleanup:
        today = (now or datetime.now(UTC)).date()
        return await asyncio.to_thread(clean_up, self._directory, self._keep_days, today, dry_run=dry_run)

    async def run(self) -> None:
        """Background task: clean up at once, and shortly after the start of each day (UTC)."""
        clock = DeletionClock(self._directory)
        while True:
            now = datetime.now(UTC)
            removed = await self.clean_up(now=await asyncio.to_thread(clock.now))
            if removed.files:
                _log.info("old_logs_removed", files=[file.name for file in removed.files], bytes=removed.bytes)
            tomorrow = datetime.combine(now.date() + timedelta(days=1), _AFTER_MIDNIGHT, tzinfo=UTC)
            await asyncio.sleep((tomorrow - now).total_seconds())


def _remove(files: Iterable[JournalFile]) -> None:
    for file in files:
        file.path.unlink(missing_ok=True)
