"""Which bytes of the partial files are on the disk for certain: `.synced` in the work directory of a fetch.

After a power cut a file has its length, but what was written last and not synced may read as zeros. Only what was
synced is resumed after another boot of the machine; within one boot all of it is, because the page cache survives a
killed process.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ValidationError

from services.common.infra.files import sync_file, write_atomically

SYNC_EVERY = 64 * 1024**2  # bytes of one file: what a power cut costs at most
_RECORD = ".synced"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class _Synced(BaseModel):
    """`lengths`: bytes on the disk, by file name. `boot` is empty where it is unknown; then only they count."""

    boot: str = ""
    lengths: dict[str, int] = {}


class SyncedLengths:
    """The synced lengths of one work directory, whose lock the caller holds."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._found = _read(directory / _RECORD)

    def drop_unsynced(self, files: Iterable[Path]) -> None:
        """Truncate files of an earlier boot to what was synced, and remove those of which nothing was. Call it before
        anything is resumed."""
        boot = _boot()
        if not boot or self._found.boot != boot:
            for path in sorted(files):
                self._drop(path)
        self._found = _Synced(boot=boot, lengths=self._found.lengths)

    def _drop(self, path: Path) -> None:
        length = self._found.lengths.get(path.name, 0)
        fragments = path.with_name(path.name.removesuffix(".part") + ".ytdl")  # yt-dlp's list of what is complete
        if length == 0 or length > path.stat().st_size or fragments.exists():
            path.unlink()
        else:
            os.truncate(path, length)

    def clip(self, files: Iterable[Path]) -> None:
        """Record the current files and no others: what follows writes behind their ends, or new files."""
        claimed = any(_read(self._directory / _RECORD).lengths.values())
        lengths = {path.name: min(self._found.lengths.get(path.name, 0), path.stat().st_size) for path in files}
        self._found = _Synced(boot=self._found.boot, lengths=lengths)
        # A record of nothing need not survive a power cut: without one, nothing counts as synced.
        self._write(durable=claimed or any(lengths.values()))

    def note(self, path: Path, written: int) -> None:
        """Sync a growing file for every SYNC_EVERY bytes. `written`: its length now; a file that was begun anew is
        shorter than before."""
        before = self._found.lengths.get(path.name, 0)
        if written < before or written - before >= SYNC_EVERY:
            self.sync(path)

    def finished(self, path: Path) -> None:
        """Sync a complete stream, unless it is so small that a power cut may cost it."""
        if path.stat().st_size >= SYNC_EVERY:
            self.sync(path)

    def sync(self, path: Path) -> None:
        """Sync a file and record its length."""
        try:
            self._found.lengths[path.name] = sync_file(path)
        except FileNotFoundError:  # renamed meanwhile: it is synced under its new name
            return
        self._write()

    def _write(self, *, durable: bool = True) -> None:
        write_atomically(self._directory / _RECORD, self._found.model_dump_json(), durable=durable)


def _read(record: Path) -> _Synced:
    try:
        return _Synced.model_validate_json(record.read_bytes())
    except (OSError, ValidationError):  # missing, or damaged by the power cut itself
        return _Synced()


def _boot() -> str:
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""
