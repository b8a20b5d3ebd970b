"""Daily JSONL files: one line per record, appended whole, synced per batch, each message once.

A message may make several lines and may come again (delivery is at least once). Each line carries its message's id,
so how many of its lines are written is known, from memory or, after a restart, from the end of the day's file.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO

MAX_REMEMBERED = 50_000  # messages per day; many more than the broker sends again after a crash (DESIGN §3)
TAIL_BYTES = 32 * 1024**2  # bytes read back of a file when it is opened
OPEN_DAYS = 3


@dataclass(frozen=True)
class JournalMessage:
    """What one message of the bus adds to the file of its day."""

    id: str
    at: datetime
    records: tuple[Mapping[str, Any], ...]


class Journal:
    """The files `{prefix}{YYYY-MM-DD}.jsonl` of a directory, by UTC day of the message. All calls block."""

    def __init__(self, directory: Path, prefix: str = "") -> None:
        self._directory = directory
        self._prefix = prefix
        self._days: OrderedDict[date, _DayFile] = OrderedDict()

    def path(self, day: date) -> Path:
        return self._directory / f"{self._prefix}{day.isoformat()}.jsonl"

    def append(self, messages: Iterable[JournalMessage]) -> list[Mapping[str, Any]]:
        """Write what is not written yet and sync it. Returns that, a record per line. OSError: call again, later."""
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
    """One open file and what is known of its messages: id -> lines written."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._written = _read_back(path, self._file)

    def is_replaced(self) -> bool:
        """Somebody removed or moved the file: what is written to it now is not found under its name."""
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return True

    def add(self, message: JournalMessage) -> Sequence[Mapping[str, Any]]:
        """Append the lines of a message that are missing; as one write, so that a crash tears one line at most."""
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
            os.ftruncate(self._file.fileno(), before)  # a full disk took a part: the next try starts clean
            raise

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _line(message_id: str, record: Mapping[str, Any]) -> bytes:
    return json.dumps({**record, "message_id": message_id}, ensure_ascii=False, default=str).encode() + b"\n"


def _read_back(path: Path, appending: BinaryIO) -> OrderedDict[str, int]:
    """End a torn last line, and count the lines of each message in the file's tail."""
    written: OrderedDict[str, int] = OrderedDict()
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        tail = file.read()
    if tail and not tail.endswith(b"\n"):
        appending.write(b"\n")
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
        return None  # the torn line of an earlier crash
    found = record.get("message_id") if isinstance(record, dict) else None
    return found if isinstance(found, str) else None
