"""Daily JSONL files: one line per record, written whole, synced per batch, each message once.

A message may have several lines and may be delivered again. Each line contains its message's id, so the number of its
written lines is known: from memory, or after a restart from the end of the day's file. What a kill or a power cut left
behind the last sync, half a line or a hole of zeros, is cut off then: its messages are delivered again. From a hole on
it is kept beside the file, because a damaged disk makes holes too.
"""

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import structlog

from services.common.infra.files import try_flock, write_atomically
from services.common.infra.private_files import FILE_MODE

MAX_REMEMBERED = 10_000  # messages per day; ten times what the broker delivers before an acknowledgement
TAIL_BYTES = 16 * 1024**2  # read back when a file is opened
OPEN_DAYS = 3
_log = structlog.get_logger("services.logging")


@dataclass(frozen=True)
class JournalMessage:
    """The lines that one message of the bus adds to the file of its day."""

    id: str
    at: datetime
    records: tuple[Mapping[str, Any], ...]


class Journal:
    """The files `{prefix}{YYYY-MM-DD}.jsonl` of a directory, by UTC day of the message. All calls block;
    they may come from several threads."""

    def __init__(self, directory: Path, prefix: str = "") -> None:
        self._directory = directory
        self._prefix = prefix
        self._days: OrderedDict[date, _DayFile] = OrderedDict()
        self._lock = threading.Lock()

    def path(self, day: date) -> Path:
        return self._directory / f"{self._prefix}{day.isoformat()}.jsonl"

    def append(self, messages: Iterable[JournalMessage]) -> list[Mapping[str, Any]]:
        """Write and sync the records that are not written yet. Return them. After an OSError, call again."""
        with self._lock:
            return self._append(messages)

    def _append(self, messages: Iterable[JournalMessage]) -> list[Mapping[str, Any]]:
        touched: dict[date, _DayFile] = {}
        written: list[Mapping[str, Any]] = []
        for message in messages:
            day = message.at.astimezone(UTC).date()
            touched[day] = self._day(day)
            written += touched[day].add(message)
        for day_file in touched.values():
            day_file.sync()
        self._close_all_but(OPEN_DAYS)
        return written

    def close(self) -> None:
        with self._lock:
            self._close_all_but(0)

    def _day(self, day: date) -> "_DayFile":
        if day in self._days and self._days[day].is_replaced():
            self._days.pop(day).close()
        if day not in self._days:
            self._days[day] = _DayFile(self.path(day))
        self._days.move_to_end(day)
        return self._days[day]

    def _close_all_but(self, count: int) -> None:
        while len(self._days) > count:
            _, oldest = self._days.popitem(last=False)
            oldest.close()


class _DayFile:
    """One open file, locked, and the number of written lines per message id."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        try:
            _lock(self._file, path)
            self._written = _read_back(path, self._file)
        except BaseException:
            self._file.close()
            raise

    def is_replaced(self) -> bool:
        """Return whether the file was removed or moved: then new lines would not be found under its name."""
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return True

    def add(self, message: JournalMessage) -> Sequence[Mapping[str, Any]]:
        """Append the missing lines of a message as one write, so that a crash cuts off one line at most."""
        done = self._written.get(message.id, 0)
        missing = message.records[done:]
        if missing:
            lines = b"".join(_line(message.id, record) for record in missing)
            self._write_whole(lines)
        self._written[message.id] = len(message.records)
        self._written.move_to_end(message.id)
        while len(self._written) > MAX_REMEMBERED:
            self._written.popitem(last=False)
        return missing

    def _write_whole(self, data: bytes) -> None:
        before = os.fstat(self._file.fileno()).st_size
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:])
        except OSError:
            os.ftruncate(self._file.fileno(), before)  # remove what a full disk has accepted, for the next attempt
            raise

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _line(message_id: str, record: Mapping[str, Any]) -> bytes:
    return json.dumps({**record, "message_id": message_id}, ensure_ascii=False, default=str).encode() + b"\n"


def _lock(file: BinaryIO, path: Path) -> None:
    """Lock the file until it is closed. Raise OSError if another process writes it: what it is writing would be cut
    off."""
    try:
        free = try_flock(file.fileno())
    except OSError:
        return  # a file system without locks
    if not free:
        raise OSError(f"{path} is written by another logging service: stop one of the two")


def _keep_aside(path: Path, cut: bytes) -> None:
    """Store what is cut off beside the file. Raise OSError: then nothing is cut off."""
    beside = path.with_name(f"{path.name}.{uuid4().hex[:8]}.unreadable")
    write_atomically(beside, cut, mode=FILE_MODE)
    _log.warning(
        "journal_cut_off",
        path=str(path),
        kept=str(beside),
        error_message=f"{path} had a hole, of a power cut or of a damaged disk; what followed is in {beside}",
    )


def _read_back(path: Path, appending: BinaryIO) -> OrderedDict[str, int]:
    """Cut off what is no whole line, and count the lines of each message in the file's tail."""
    written: OrderedDict[str, int] = OrderedDict()
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        tail = file.read()
    hole = tail.find(b"\0")
    whole = tail[: hole if hole >= 0 else None]
    whole = whole[: whole.rfind(b"\n") + 1]
    if len(whole) < len(tail):
        if hole >= 0:  # of a power cut, or of a disk that is damaged: then whole lines may follow it
            _keep_aside(path, tail[len(whole) :])
        os.ftruncate(appending.fileno(), size - len(tail) + len(whole))
        tail = whole
    if size > TAIL_BYTES:
        tail = tail.partition(b"\n")[2]
    for line in tail.splitlines():
        message_id = _message_id(line)
        if message_id is not None:
            written[message_id] = written.get(message_id, 0) + 1
            written.move_to_end(message_id)
    return written


def _message_id(line: bytes) -> str | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None  # a line that a crash has cut off
    found = record.get("message_id") if isinstance(record, dict) else None
    return found if isinstance(found, str) else None
