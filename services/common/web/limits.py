"""Limits of REST: the number of connections, the time that a client may take to send a request, the rate of requests
of each client, and the rate of wrong tokens."""

import asyncio
import errno
import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from cachetools import LRUCache, TTLCache

from services.common.errors import TooManyRequests

_log = structlog.get_logger()
_MOST_CONNECTIONS = 512
_SHARE = 10  # of the file descriptors: five services may share a process with databases, children and the broker
_REPORT_EVERY = 60.0  # seconds
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_CLIENTS_KEPT = 4096
_BURST = 10.0  # seconds of requests that may come at once
WRONG_TOKENS_PER_MINUTE, WRONG_TOKENS_AT_ONCE = 10, 20
_ACCEPTED_KEPT = 86_400.0  # seconds


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


class RateLimit:
    """A token bucket per key: `at_once` requests, and `per_second` on average. Of many keys the last ones are kept."""

    def __init__(self, per_second: float, at_once: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / per_second
        self._slack = (at_once - 1) * self._interval
        self._clock = clock
        self._full: LRUCache[str, float] = LRUCache(_CLIENTS_KEPT)  # when the bucket is full again

    def wait(self, key: str) -> float:
        """Return the seconds until a request is within the limit, 0 if it is now."""
        now = self._clock()
        return max(0.0, self._full.get(key, now) - self._slack - now)

    def count(self, key: str) -> None:
        now = self._clock()
        self._full[key] = max(self._full.get(key, now), now) + self._interval


class RequestRates:
    """Rate limits of one service. What is refused is logged once a minute per address."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`per_second` 0: only wrong tokens are limited."""
        burst = max(1, math.ceil(per_second * _BURST))
        self._requests = RateLimit(per_second, burst, clock) if per_second else None
        self._wrong = RateLimit(WRONG_TOKENS_PER_MINUTE / 60, WRONG_TOKENS_AT_ONCE, clock)
        self._accepted: TTLCache[tuple[str, str], bool] = TTLCache(_CLIENTS_KEPT, _ACCEPTED_KEPT, clock)
        self._reported: TTLCache[tuple[str, str], bool] = TTLCache(_CLIENTS_KEPT, _REPORT_EVERY, clock)

    def count_request(self, client: str, address: str) -> None:
        """Raise TooManyRequests for a request beyond the limit of its client; it is not counted."""
        if self._requests is None:
            return
        if wait := self._requests.wait(client):
            self._report("requests_refused", address, "too many requests")
            raise _too_many("This client sends too many requests", wait)
        self._requests.count(client)

    def check_token(self, address: str, digest: str) -> None:
        """Raise TooManyRequests when too many wrong tokens came from an address: then no token is examined, except
        those that were valid within the last day, because clients behind a reverse proxy share an address."""
        wait = self._wrong.wait(address)
        if wait and (address, digest) not in self._accepted:
            self._report("tokens_refused", address, "too many wrong tokens")
            raise _too_many("Too many wrong tokens or passwords came from this address", wait)

    def note_token(self, address: str, digest: str, *, valid: bool) -> None:
        if valid:
            self._accepted[address, digest] = True
        else:
            self._wrong.count(address)
            self._report("token_refused", address, "the token is not valid, or was revoked")

    def _report(self, event: str, address: str, reason: str) -> None:
        if (event, address) not in self._reported:
            self._reported[event, address] = True
            _log.warning(event, client=address, reason=reason)


def _too_many(what: str, wait: float) -> TooManyRequests:
    seconds = max(1, math.ceil(wait))
    return TooManyRequests(f"{what}. Try again in {seconds} s.", retry_after=seconds, reason=TooManyRequests.reason)


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
