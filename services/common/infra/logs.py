"""Structured logging (SPEC: Structured Logging): JSON records to the bus, readable lines to stderr, secrets masked.

    logs.setup(level="INFO", console="INFO")
    logger = structlog.get_logger().bind(service="jobs", version=__version__)

A record waits in a bounded queue until a `Shipper` publishes it as part of a `log.recorded` event; logging never blocks
and never fails. No batch may cause the next one: the logging service writes its own records itself (`OWN`), and
what the bus reports of a batch on its way stays on stderr.
"""

import asyncio
import json
import logging
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import structlog
from structlog.typing import EventDict, WrappedLogger

from bus import BusError
from services.common.errors import code_of
from services.common.names import SERVICES
from services.common.settings.masking import mask

if TYPE_CHECKING:
    from bus import Bus

VERSION = version("ytarchive")
BATCH = 100  # records
PERIOD = 0.25  # seconds
QUEUE = 10_000  # records; the oldest are dropped first
OWN_QUEUE = 1_000  # records of the logging service
LONGEST = 16_000  # characters of one record, so that a batch fits into a message
_ALWAYS = ("timestamp", "level", "event", "service", "version", "trace_id")  # fields kept of a longer record

_LOGGING = "logging"  # the service that writes its own records


class RecordQueue:
    """A bounded queue of records, filled by any thread: the oldest are dropped first."""

    def __init__(self, most: int) -> None:
        self._records: deque[dict[str, Any]] = deque(maxlen=most)
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def put(self, record: dict[str, Any]) -> None:
        self._records.append(record)
        for loop, waiting in tuple(self._waiting):
            with suppress(RuntimeError):  # that loop was closed
                loop.call_soon_threadsafe(_wake, waiting)

    def take(self) -> list[dict[str, Any]]:
        """Remove and return the oldest records, up to a batch."""
        return [self._records.popleft() for _ in range(min(BATCH, len(self._records)))]

    def put_back(self, records: Sequence[dict[str, Any]]) -> None:
        self._records.extendleft(reversed(records))

    def clear(self) -> None:
        self._records.clear()

    async def filled(self) -> None:
        """Return when there is a record."""
        loop = asyncio.get_running_loop()
        waiting = loop, loop.create_future()
        self._waiting.append(waiting)
        try:
            if not self._records:  # looked at after it was noted that somebody waits: none is missed
                await waiting[1]
        finally:
            self._waiting.remove(waiting)


def _wake(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


_waiting = RecordQueue(QUEUE)
OWN = RecordQueue(OWN_QUEUE)  # records of the logging service, which it takes itself
_publishing: ContextVar[bool] = ContextVar("publishing_log_records", default=False)


def setup(*, level: str = "INFO", console: str | None = "INFO") -> None:
    """Configure structlog and stdlib logging for this process; may be called again.

    `level`: the minimum level of records. `console`: the minimum level of lines on stderr, None for no lines.
    """
    threshold = _number(level)
    on_console = _number(console) if console else logging.CRITICAL + 1
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
            _with_error_fields,
            structlog.processors.format_exc_info,
            _plain_and_masked,
            _enqueue(threshold),
            _only_from(on_console),
            _escape_control_characters,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(min(threshold, on_console)),
        logger_factory=_Stderr,
        cache_logger_on_first_use=False,
    )
    _forward_stdlib(_Forward(logging.WARNING))


def tear_down() -> None:
    """Undo setup() and drop the queue."""
    structlog.reset_defaults()
    _forward_stdlib()
    _waiting.clear()
    OWN.clear()


def _forward_stdlib(*forward: logging.Handler) -> None:
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _Forward)]
    root.handlers += forward


class _Stderr:
    """Writes lines to sys.stderr, which may be replaced at run time. Carries the logger's name for `_enqueue`."""

    def __init__(self, name: str = "", *_more: Any) -> None:
        self.name = name

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):  # stderr was closed: that must not stop a service
            sys.stderr.write(line + "\n")

    debug = info = warning = error = critical = exception = msg


class _Forward(logging.Handler):
    """Turns warnings of libraries into structlog records."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


def _with_error_fields(_logger: WrappedLogger, _method: str, record: EventDict) -> EventDict:
    """Add `error_code` and `error_message` to errors (SPEC), also to those of modules without error codes (the bus)."""
    if _number(str(record["level"])) >= logging.ERROR:
        error = _exception(record.get("exc_info"))
        record.setdefault("error_code", code_of(error))
        record.setdefault("error_message", str(error) if error else record.get("error", record["event"]))
    return record


def _exception(exc_info: Any) -> BaseException | None:
    """Return the exception of `exc_info`: itself, the one in a tuple, or the one being handled for True."""
    match exc_info:
        case BaseException():
            return exc_info
        case (_, BaseException() as error, _):
            return error
        case True:
            return sys.exception()
        case _:
            return None


def _plain_and_masked(_logger: WrappedLogger, _method: str, record: EventDict) -> EventDict:
    """Reduce a record to JSON that can be encoded as UTF-8, mask secrets, limit its length."""
    text = json.dumps(record, default=str, skipkeys=True, ensure_ascii=False)
    plain = mask(json.loads(text.encode("utf-8", "replace")))
    if len(text) <= LONGEST:
        return dict(plain)
    return {key: plain[key] for key in _ALWAYS if key in plain} | {"cut": _text(plain)[:LONGEST]}


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _enqueue(threshold: int) -> Callable[[WrappedLogger, str, EventDict], EventDict]:
    def enqueue(logger: WrappedLogger, _method: str, record: EventDict) -> EventDict:
        if _number(str(record["level"])) >= threshold:
            name = str(getattr(logger, "name", ""))
            named = {**record, "service": record.get("service") or _service_of(name), "version": VERSION}
            if named["service"] == _LOGGING:
                OWN.put(named)
            elif not _is_local(name, named):
                _waiting.put(named)
        return record

    return enqueue


def _service_of(name: str) -> str:
    """Return the service of a record outside of every service, by the name of its logger."""
    area, _, service = name.partition(".")
    if area == "services" and service in SERVICES:
        return service
    return "stack" if area == "bus" else "cli"


def _is_local(name: str, record: Mapping[str, Any]) -> bool:
    """Return whether the record may be the effect of a batch of log records: then it is not published."""
    from services.common.events import LogRecorded  # not at the head: a short command needs no events

    area = name.partition(".")[0]
    if _publishing.get() or area == "nats":
        return True
    texts = (str(value) for value in record.values())
    return area == "bus" and any(LogRecorded.subject in text or text.startswith("logging-") for text in texts)


def _only_from(threshold: int) -> Callable[[WrappedLogger, str, EventDict], EventDict]:
    def only_from(_logger: WrappedLogger, _method: str, record: EventDict) -> EventDict:
        if _number(str(record["level"])) < threshold:
            raise structlog.DropEvent
        return record

    return only_from


def _escape_control_characters(_logger: WrappedLogger, _method: str, record: EventDict) -> EventDict:
    """Escape control characters, terminal escape codes and bidi marks, which a video title may contain."""
    return {key: _escaped(value) if isinstance(value, str) else value for key, value in record.items()}


def _escaped(text: str) -> str:
    return "".join(one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode() for one in text)


class Shipper:
    """Publishes queued records. Several in one process share the queue; each record is published once."""

    def __init__(self, bus: "Bus") -> None:
        self._bus = bus

    async def run(self) -> None:
        """Publish what a quarter of a second brings, until cancelled."""
        while True:
            await _waiting.filled()
            await asyncio.sleep(PERIOD)
            with suppress(BusError):  # the broker is unavailable: the records wait in the queue
                await self._ship()

    async def flush(self, patience: float = 2.0) -> None:
        """Publish the queue now. Records that cannot be published in time stay in the queue."""
        with suppress(BusError, TimeoutError):
            await asyncio.wait_for(self._ship(), patience)

    async def _ship(self) -> None:
        from services.common.events import LogRecorded

        while batch := _waiting.take():
            sent = False
            publishing = _publishing.set(True)
            try:
                await self._bus.publish(LogRecorded(records=tuple(batch)), trace_id=str(uuid4()))
                sent = True
            finally:
                _publishing.reset(publishing)
                if not sent:
                    _waiting.put_back(batch)
