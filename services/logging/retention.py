"""Old journals go (SPEC: Data Retention: logs, 30 days with daily rotation). Needs no running service. Blocks."""

from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path

from pydantic import BaseModel

from services.logging.reading import DayFile, day_files


class OldLog(BaseModel):
    name: str
    day: date
    bytes: int


class LogCleanup(BaseModel):
    """What was removed, or with `dry_run` would be."""

    dry_run: bool
    files: list[OldLog]
    bytes: int


def due(directory: Path, keep_days: int, today: date) -> list[DayFile]:
    """The files of both journals whose day is more than `keep_days` days ago (UTC), oldest first."""
    horizon = today - timedelta(days=keep_days)
    return [file for file in day_files(directory) if file.day < horizon]


def clean_up(directory: Path, keep_days: int, today: date, *, dry_run: bool = False) -> LogCleanup:
    """Remove what is due. Only files with a journal's name are touched."""
    files = due(directory, keep_days, today)
    told = [OldLog(name=file.path.name, day=file.day, bytes=file.size) for file in files]
    if not dry_run:
        _remove(files)
    return LogCleanup(dry_run=dry_run, files=told, bytes=sum(one.bytes for one in told))


def _remove(files: Iterable[DayFile]) -> None:
    for file in files:
        file.path.unlink(missing_ok=True)
