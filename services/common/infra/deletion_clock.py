"""The time by which a service deletes what is old. What it knows of the clock is kept in a file."""

from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import ValidationError

from services.common.domain.clock import KnownTime, believe, deletion_time
from services.common.infra.files import write_atomically
from services.common.infra.private_files import FILE_MODE

FILE = "clock.json"
_log = structlog.get_logger()


class DeletionClock:
    def __init__(self, folder: Path) -> None:
        """`folder`: where the file is kept."""
        self._path = folder / FILE

    def now(self) -> datetime:
        """Return the time; earlier than the machine's after an unlikely jump of its clock. Blocks."""
        now = datetime.now(UTC)
        before = self._read()
        known = believe(before, now)
        if known is not None and known != before:
            self._write(known)
        chosen = deletion_time(known, now)
        if chosen < now:
            _log.warning(
                "clock_jumped",
                now=now.isoformat(),
                believed=known.believed.isoformat() if known else None,
                remedy="nothing old is deleted for a day; set the clock of the machine if it is wrong",
            )
        return chosen

    def _read(self) -> KnownTime | None:
        try:
            return KnownTime.model_validate_json(self._path.read_bytes())
        except (FileNotFoundError, ValidationError):  # it is written again
            return None

    def _write(self, known: KnownTime) -> None:
        try:
            write_atomically(self._path, known.model_dump_json().encode(), mode=FILE_MODE)
        except OSError as error:  # a full disk, say: the next look writes it
            _log.warning("clock_not_noted", path=str(self._path), error_message=str(error))
