"""The two consoles and what services log in this process. Nothing from upstream is ever read as markup."""

import sys
from typing import TYPE_CHECKING

import structlog
from rich.console import Console
from structlog.typing import EventDict, WrappedLogger

from ytarchive.cli.text import safe_text

if TYPE_CHECKING:
    from services.common.config import Config

_LONGEST_LINE = 2_000
_LEADING = ("timestamp", "level", "event", "service", "logger_name", "logger", "version", "exception", "trace_id")


def stdout() -> Console:
    return Console(file=sys.stdout, markup=False, highlight=False, emoji=False, soft_wrap=True)


def stderr() -> Console:
    return Console(file=sys.stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)


def log_to_stderr(config: "Config", level: str) -> None:
    """Records of `level` and up as plain lines on stderr; titles in them cannot touch the terminal."""
    from services.common import logs

    logs.setup(level=config.general.log_level, console=level)
    *before, _their_renderer = structlog.get_config()["processors"]
    structlog.configure(processors=[*before, log_line])


def log_line(_logger: WrappedLogger, _method: str, record: EventDict) -> str:
    """`warning  publish_waits (jobs) subject=job.queued`, and a traceback below where there is one."""
    who = record.get("service") or record.get("logger") or record.get("logger_name") or ""
    facts = " ".join(f"{key}={safe_text(value)}" for key, value in record.items() if key not in _LEADING)
    named = f" ({safe_text(who)})" if who else ""
    line = f"{record.get('level', ''):<8} {safe_text(record.get('event', ''))}{named} {facts}".rstrip()
    lines = [line[:_LONGEST_LINE]]
    lines += [safe_text(part, 500) for part in str(record.get("exception", "")).splitlines()]
    return "\n".join(lines)
