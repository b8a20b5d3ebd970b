"""Limits of REST connections: their number, and the time that a client may take to send a request."""

import asyncio
import errno
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

_log = structlog.get_logger()
_MOST_CONNECTIONS = 512
_SHARE = 10  # of the file descriptors: five services may share a process with databases, children and the broker
_REPORT_EVERY = 60.0  # seconds
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True)
class Limits:
    """`connections` of one service; `head`, `body`: seconds until the first headers and a body are complete; `idle`:
    seconds until a connection without a request is closed (longer than those of usual reverse proxies)."""

    connections: int
    head: float = 10.0
    body: float = 60.0
    idle: float = 75.0

    @classmethod
    def of_process(cls) -> "Limits":
        soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        share = _MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else soft // _SHARE
        return cls(max(8, min(share, _MOST_CONNECTIONS)))


def report_exhaustion_once(loop: asyncio.AbstractEventLoop) -> None:
    """Log that no connection can be accepted once a minute and without a traceback: asyncio logs it 128 times at a
    time. Other errors of the loop go on to the handler that was set before."""
    earlier = loop.get_exception_handler()
    if not isinstance(earlier, _ExhaustionReport):
        loop.set_exception_handler(_ExhaustionReport(earlier))


class _ExhaustionReport:
    def __init__(self, earlier: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None) -> None:
        self._earlier = earlier
        self._reported_at = float("-inf")

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _EXHAUSTED:
            if time.monotonic() - self._reported_at > _REPORT_EVERY:
                self._reported_at = time.monotonic()
                _log.error(
                    "connections_not_accepted",
                    error_message=f"{error.strerror}: REST requests wait. Raise the limit of open files (`ulimit -n`).",
                )
        elif self._earlier is not None:
            self._earlier(loop, context)
        else:
            loop.default_exception_handler(context)
