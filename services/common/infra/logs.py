"""Structured logging (SPEC: Structured Logging): JSON records to the bus, readable lines to stderr, secrets masked.

    logs.setup(level="INFO", console="INFO")
    logger = structlog.get_logger().bind(service="jobs", version=__version__)

A record waits in a bounded queue until a `Shipper` publishes it as part of a `log.recorded` event; logging never blocks
and never fails. Records of the bus and of the logging service stay local, or each batch would cause the next one.
"""

import asyncio
import json
import logging
import sys
from collections import deque
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

import structlog
from structlog.typing import EventDict, WrappedLogger

from bus import Bus, BusError
from services.common.errors import code_of
from services.common.events import LogRecorded
from services.common.settings.masking import mask

BATCH = 100  # records
PERIOD = 0.25  # seconds
QUEUE = 10_000  # records; the oldest are dropped first
LONGEST = 16_000  # characters of one record, so that a batch fits into a message
_ALWAYS = ("timestamp", "level", "event", "service", "version", "trace_id")  # fields kept of a longer record

_LOCAL_NAMES = ("bus", "services.logging", "nats")
_LOCAL_SERVICES = frozenset({"bus", "logging"})
_waiting: deque[dict[str, Any]] = deque(maxlen=QUEUE)


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


def _forward_stdlib(*forward: logging.Handler) -> None:
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _Forward)]
    root.handlers += forward


class _Stderr:
    """Writes lines to sys.stderr, which may be replaced at run time. Carries the logger's name for `_is_local`."""

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
        if not _is_local(logger, record) and _number(str(record["level"])) >= threshold:
            _waiting.append(dict(record))
        return record

    return enqueue


def _is_local(logger: WrappedLogger, record: MutableMapping[str, Any]) -> bool:
    name = str(getattr(logger, "name", ""))
    named_local = any(name == local or name.startswith(f"{local}.") for local in _LOCAL_NAMES)
    return named_local or record.get("service") in _LOCAL_SERVICES


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

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def run(self) -> None:
        """Publish every 250 ms until cancelled."""
        while True:
            await asyncio.sleep(PERIOD)
            with suppress(BusError):  # the broker is unavailable: the records wait in the queue
                await self._ship()

    async def flush(self, patience: float = 2.0) -> None:
        """Publish the queue now. Records that cannot be published in time stay in the queue."""
        with suppress(BusError, TimeoutError):
            await asyncio.wait_for(self._ship(), patience)

    async def _ship(self) -> None:
        while _waiting:
            batch = [_waiting.popleft() for _ in range(min(BATCH, len(_waiting)))]
            sent = False
            try:
                await self._bus.publish(LogRecorded(records=tuple(batch)), trace_id=str(uuid4()))
                sent = True
            finally:
                if not sent:
                    _waiting.extendleft(reversed(batch))
