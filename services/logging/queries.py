"""Queries for the journals: the newest records that match, and the story of a trace. They need no running service.

Blocks of a file without the required texts are skipped unparsed. The bytes that a query may read are limited; an answer
that did not cover everything has `complete` false.
"""

import heapq
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from services.common.web.paging import Page, PageQuery
from services.logging.reading import (
    EVENTS,
    LOGS,
    JournalFile,
    LineCounts,
    journal_files,
    parse_record,
    read_backwards,
    read_forwards,
)

MAX_BYTES = 2 * 1024**3  # read per query
PATIENCE = 10.0  # seconds per query: counting all matches means parsing them
_LEVELS = ("debug", "info", "warning", "error", "critical")
_LEVEL_BYTES = tuple(f'"level": "{level}"'.encode() for level in _LEVELS)
_REORDER_WINDOW = 2_000  # records by which a line may be out of order: services ship theirs in batches

SERVICES = ("jobs", "metadata", "download", "storage", "logging", "stack", "cli", "web")


def _aware(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError("no such time in UTC") from error


def _lower(level: Any) -> Any:
    return level.lower() if isinstance(level, str) else level


When = Annotated[datetime, AfterValidator(_aware)]  # UTC if without a time zone
Service = Literal["jobs", "metadata", "download", "storage", "logging", "stack", "cli", "web"]
Level = Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lower)]


class LogFilter(BaseModel):
    """Which records match. `level`: minimum level; `search`: a text anywhere in the record, ignoring case."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    service: Service | None = None
    level: Level | None = None
    trace_id: str | None = Field(default=None, min_length=1, max_length=128)
    since: When | None = Field(default=None, alias="from")
    until: When | None = Field(default=None, alias="to")
    search: str | None = Field(default=None, min_length=1, max_length=200)

    def matches(self, record: Mapping[str, Any]) -> bool:
        if self.service is not None and record.get("service") != self.service:
            return False
        if self.level is not None and _severity(record.get("level")) < _LEVELS.index(self.level):
            return False
        if self.trace_id is not None and record.get("trace_id") != self.trace_id:
            return False
        if self.search is not None and self.search.casefold() not in json.dumps(record, ensure_ascii=False).casefold():
            return False
        return self._in_time(record)

    def _in_time(self, record: Mapping[str, Any]) -> bool:
        if self.since is None and self.until is None:
            return True
        at = time_of(record)
        return at is not None and (self.since is None or self.since <= at) and (self.until is None or at <= self.until)

    def needles(self) -> list[bytes]:
        """Return the bytes that every matching line contains."""
        named = [json.dumps(text, ensure_ascii=False).encode() for text in (self.service, self.trace_id) if text]
        return [needle.strip(b'"') for needle in named]

    def may_match(self, line: bytes) -> bool:
        """Return False for lines that cannot match, before they are parsed. The journals are written by json.dumps."""
        if self.level is not None and not any(level in line for level in _LEVEL_BYTES[_LEVELS.index(self.level) :]):
            return False
        plain = self.search is not None and self.search.isascii() and self.search.isprintable()
        if not plain or self.search is None or {'"', "\\"} & set(self.search):
            return True
        return self.search.lower().encode() in line.lower()

    @property
    def anything(self) -> bool:
        """Whether every record matches."""
        return self.model_dump(include=set(LogFilter.model_fields), exclude_none=True) == {}

    def covers(self, day: date) -> bool:
        """Return whether the file of `day` can contain matching records. A record is in the file of the day it was
        shipped: possibly the day after it was made."""
        return (self.since is None or day >= self.since.date()) and (
            self.until is None or (day - self.until.date()).days <= 1
        )


class LogQuery(PageQuery, LogFilter):
    """The query of GET /logs."""

    @property
    def filter(self) -> LogFilter:
        """The query without the page."""
        return LogFilter.model_validate(self.model_dump(include=set(LogFilter.model_fields)))


class LogPage(Page):
    """Records as they were written, newest first. `complete` false: older files were not read, and `total` counts the
    others."""

    logs: list[dict[str, Any]]
    complete: bool = True


class TracePage(Page):
    """The events and records of one trace in the order of time. An event has `event: event_seen`, `subject`,
    `caused_by` (the id of the message that caused it) and `message_id` (its own)."""

    trace_id: str
    entries: list[dict[str, Any]]
    complete: bool = True


class JournalQueries:
    """Queries for the journals of one directory."""

    def __init__(self, directory: Path, most_bytes: int = MAX_BYTES, patience: float = PATIENCE) -> None:
        self._directory = directory
        self._most_bytes = most_bytes
        self._patience = patience
        self._counts = LineCounts()

    def logs(self, wanted: LogFilter, limit: int, offset: int) -> LogPage:
        """Return matching records, newest first."""
        files = [file for file in journal_files(self._directory, LOGS) if wanted.covers(file.day)]
        files, complete = self._affordable(list(reversed(files)))
        needles = wanted.needles()
        deadline = time.monotonic() + self._patience
        found: list[dict[str, Any]] = []
        total = 0
        for file in files:
            before = total
            for record in self._fitting(file, wanted, needles):
                if offset <= total < offset + limit:
                    found.append(record)
                total += 1
                if wanted.anything and len(found) == limit:  # the rest is only counted
                    total = before + self._counts.count(file.path)
                    break
                if time.monotonic() > deadline:
                    return LogPage(logs=found, total=total, limit=limit, offset=offset, complete=False)
        return LogPage(logs=found, total=total, limit=limit, offset=offset, complete=complete)

    @staticmethod
    def _fitting(file: JournalFile, wanted: LogFilter, needles: Sequence[bytes]) -> Iterator[dict[str, Any]]:
        for line in read_backwards(file.path, needles):
            record = parse_record(line) if wanted.may_match(line) else None
            if record is not None and wanted.matches(record):
                yield record

    def trace(self, trace_id: str, limit: int, offset: int) -> TracePage:
        """Return the events and records of a trace, oldest first."""
        newest, complete = self._affordable(journal_files(self._directory)[::-1])
        files = newest[::-1]
        needle = json.dumps(trace_id, ensure_ascii=False).strip('"').encode()
        journals = [
            _sorted_records(_trace_records([file for file in files if file.prefix == prefix], trace_id, needle))
            for prefix in (LOGS, EVENTS)
        ]
        found: list[dict[str, Any]] = []
        total = 0
        for record in heapq.merge(*journals, key=_sort_key):
            if offset <= total < offset + limit:
                found.append(record)
            total += 1
        return TracePage(trace_id=trace_id, entries=found, total=total, limit=limit, offset=offset, complete=complete)

    def size(self) -> int:
        """Return the bytes of all journals."""
        return sum(file.size for file in journal_files(self._directory))

    def _affordable(self, files: Sequence[JournalFile]) -> tuple[list[JournalFile], bool]:
        """Return the first files within the limit of bytes, at least one, and whether these are all."""
        left = self._most_bytes
        for number, file in enumerate(files):
            left -= file.size
            if left < 0 and number > 0:
                return list(files[:number]), False
        return list(files), True


def time_of(record: Mapping[str, Any]) -> datetime | None:
    try:
        return _aware(datetime.fromisoformat(str(record.get("timestamp"))))
    except ValueError:
        return None


def _severity(level: object) -> int:
    return _LEVELS.index(level) if level in _LEVELS else -1


def _trace_records(files: Sequence[JournalFile], trace_id: str, needle: bytes) -> Iterator[dict[str, Any]]:
    for file in files:
        for line in read_forwards(file.path, [needle]):
            record = parse_record(line)
            if record is not None and record.get("trace_id") == trace_id:
                yield record


_Sorting = tuple[float, str]


def _sort_key(record: Mapping[str, Any]) -> _Sorting:
    at = time_of(record)
    return (at.timestamp() if at else 0.0, str(record.get("message_id")))


def _sorted_records(records: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Sort a nearly sorted sequence with bounded memory."""
    held: list[tuple[_Sorting, int, dict[str, Any]]] = []
    for number, record in enumerate(records):
        heapq.heappush(held, (_sort_key(record), number, record))
        if len(held) > _REORDER_WINDOW:
            yield heapq.heappop(held)[2]
    while held:
        yield heapq.heappop(held)[2]
