"""The consoles for stdout and stderr, and log records on stderr. Upstream text is never interpreted as markup."""

import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

import structlog
from rich.console import Console
from structlog.typing import EventDict, WrappedLogger

from ytarchive.text import safe_text

if TYPE_CHECKING:
    from services.common.settings.load import Config

_LONGEST_LINE = 2_000
_UNLIMITED_WIDTH = 1_000  # columns
_SHOWN_SEPARATELY = {
    "timestamp", "level", "event", "service", "logger_name", "logger", "version", "exception", "trace_id",
}  # fmt: skip


def stdout() -> Console:
    """Outside a terminal the width of tables is not limited."""
    console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _UNLIMITED_WIDTH
    return console


def stderr() -> Console:
    return Console(file=sys.stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)


def name_configuration(config: "Config") -> None:
    """Write the path of the configuration file to stderr."""
    stderr().print(f"Configuration: {config.source or 'no file; defaults and environment'}", style="dim")


def log_to_stderr(config: "Config", level: str, *, without: Collection[str] = ()) -> None:
    """Write log records of `level` and above to stderr, as plain lines without control characters.

    `without`: events that are shown in another way.
    """
    from services.common.infra import logs

    def drop_excluded(_logger: WrappedLogger, _method: str, record: EventDict) -> EventDict:
        if record.get("event") in without:
            raise structlog.DropEvent
        return record

    logs.setup(level=config.general.log_level, console=level)
    *processors, _renderer = structlog.get_config()["processors"]
    structlog.configure(processors=[*processors, drop_excluded, log_line])


def log_line(_logger: WrappedLogger, _method: str, record: EventDict) -> str:
    """Format a record as `warning  publish_waits (jobs) subject=job.queued`, followed by its traceback."""
    service = record.get("service") or record.get("logger") or record.get("logger_name") or ""
    facts = " ".join(f"{key}={safe_text(value)}" for key, value in record.items() if key not in _SHOWN_SEPARATELY)
    suffix = f" ({safe_text(service)})" if service else ""
    line = f"{record.get('level', ''):<8} {safe_text(record.get('event', ''))}{suffix} {facts}".rstrip()
    lines = [line[:_LONGEST_LINE]]
    lines += [safe_text(part, 500) for part in str(record.get("exception", "")).splitlines()]
    return "\n".join(lines)
