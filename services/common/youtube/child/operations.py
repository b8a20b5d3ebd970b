"""Serve operations in a child process. The docstring of services.common.youtube describes the protocol.

It ends with its parent: by the death signal (Linux), and when its stdin closes. It kills its whole process group, so
that no ffmpeg is left running. Its memory is limited, and so is that of each process that it starts.
"""

import ctypes
import importlib
import json
import os
import queue
import resource
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

from services.common.youtube.child import session
from services.common.youtube.error_facts import facts_of

ALIVE_INTERVAL = 1.0  # seconds
OPERATIONS = {
    "fetch": "services.common.youtube.child.fetch",
    "list": "services.common.youtube.child.listing",
    "look": "services.common.youtube.child.look",
    "offer": "services.common.youtube.child.offer",
    "try": "services.common.youtube.child.trial",
}
_PR_SET_PDEATHSIG = 1
_KILL_FIRST = 500  # of 1000: when memory runs out, Linux kills a child rather than a service or the broker


def serve(memory_limit: int) -> NoReturn:
    """Serve operations from stdin, one at a time, until it is closed. `memory_limit`: bytes of this process."""
    _limit_memory(memory_limit)
    channel = _Channel(_protect_stdout())
    signal.signal(signal.SIGTERM, lambda _number, _frame: _end_group())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    die_with_parent()
    orders: queue.Queue[dict[str, Any]] = queue.Queue()
    working = threading.Event()
    threading.Thread(target=_read, args=(orders, working), daemon=True).start()
    threading.Thread(target=_send_alive, args=(channel, working), daemon=True).start()
    while True:
        answer = _answer(orders.get(), channel)
        working.clear()  # before the answer: the next operation may follow at once
        channel.send(answer)


def _answer(order: dict[str, Any], channel: "_Channel") -> dict[str, Any]:
    session.take_warnings()
    session.set_stage("extraction")
    try:
        operation = importlib.import_module(OPERATIONS[order["op"]])
        operation.run(order["request"], order["options"], lambda message: channel.send({"message": message}))
    except Exception as error:  # noqa: BLE001  # the boundary of the child: every error is reported to the parent
        return {"error": facts_of(error, session.take_warnings(), session.stage()).model_dump(mode="json")}
    finally:
        with suppress(OSError):  # a full disk, say: they are only newer than the user's
            session.keep_cookies()
    return {"done": True}


class _Channel:
    """Writes messages to the original stdout, one per line, from two threads."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        line = json.dumps(message, ensure_ascii=True, separators=(",", ":"))
        with self._lock:
            try:
                self._out.write(line + "\n")
                self._out.flush()
            except BrokenPipeError:
                _end_group()


def _protect_stdout() -> TextIO:
    """Reserve the original stdout for messages; redirect all other output to stderr."""
    real = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(real, "w", encoding="ascii")


def _read(orders: "queue.Queue[dict[str, Any]]", working: threading.Event) -> None:
    for line in sys.stdin:
        working.set()
        orders.put(json.loads(line))
    _end_group()


def _send_alive(channel: _Channel, working: threading.Event) -> None:
    while working.wait():
        channel.send({"alive": True})
        time.sleep(ALIVE_INTERVAL)


def _limit_memory(limit: int) -> None:
    """Limit the data of this process and of each that it starts; not the address space: V8 reserves 17 GB of it."""
    if sys.platform != "linux":
        return
    _soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    least = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (least, hard))
    with suppress(OSError):  # no /proc, or one that is read-only
        Path("/proc/self/oom_score_adj").write_text(str(_KILL_FIRST))


def die_with_parent() -> None:
    """End the process group when the parent ends, by a signal of Linux."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the signal was requested
            _end_group()


def _end_group() -> None:
    """Kill the process group at once: partial files are kept and resumed by Range."""
    os.killpg(os.getpgrp(), signal.SIGKILL)
