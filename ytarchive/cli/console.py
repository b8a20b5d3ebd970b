"""The two consoles and what services log in this process. Nothing from upstream is ever read as markup."""

import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

import structlog
from rich.console import Console
from structlog.typing import EventDict, WrappedLogger

from ytarchive.cli.render.text import safe_text

if TYPE_CHECKING:
    from services.common.settings.load import Config

_LONGEST_LINE = 2_000
_WIDE = 1_000  # columns
_LEADING = ("timestamp", "level", "event", "service", "logger_name", "logger", "version", "exception", "trace_id")


def stdout() -> Console:
    """Where it is no terminal, tables may be as wide as they like."""
    console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDE
    return console


def stderr() -> Console:
    return Console(file=sys.stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)


def log_to_stderr(config: "Config", level: str, *, without: Collection[str] = ()) -> None:
    """Records of `level` and up as plain lines on stderr; titles in them cannot touch the terminal.

    `without` names events that the user is told of in another way.
    """
    from services.common.infra import logs

    def leave_out(_logger: WrappedLogger, _method: str, record: EventDict) -> EventDict:
        if record.get("event") in without:
            raise structlog.DropEvent
        return record

    logs.setup(level=config.general.log_level, console=level)
    *before, _their_renderer = structlog.get_config()["processors"]
    structlog.configure(processors=[*before, leave_out, log_line])


def log_line(_logger: WrappedLogger, _method: str, record: EventDict) -> str:
    """`warning  publish_waits (jobs) subject=job.queued`, and a traceback below where there is one."""
    who = record.get("service") or record.get("logger") or record.get("logger_name") or ""
    facts = " ".join(f"{key}={safe_text(value)}" for key, value in record.items() if key not in _LEADING)
    named = f" ({safe_text(who)})" if who else ""
    line = f"{record.get('level', ''):<8} {safe_text(record.get('event', ''))}{named} {facts}".rstrip()
    lines = [line[:_LONGEST_LINE]]
    lines += [safe_text(part, 500) for part in str(record.get("exception", "")).splitlines()]
    return "\n".join(lines)
