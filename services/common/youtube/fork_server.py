"""Start children by forking: a process that has yt-dlp imported forks them in milliseconds (docs/decisions/0029).

Linux only. Elsewhere, and where the server cannot be started, a child is a process of its own.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

import structlog

AVAILABLE = sys.platform == "linux"
_PACKET = 4096  # bytes
READY_WITHIN = 60.0  # seconds for a fork, the start of the server included
IDLE = 60.0  # seconds without a child until the server is ended
_LOST = -signal.SIGKILL  # the exit code of a child whose server has ended: its group was killed

_log = structlog.get_logger("services.youtube")


class ServerLost(Exception):
    """The fork server could not be started, or has ended."""


class ForkedProcess:
    """A forked child, with the interface of asyncio.subprocess.Process that is needed here."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._exit_code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def returncode(self) -> int | None:
        return self._exit_code.result() if self._exit_code.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._exit_code)

    def ended(self, exit_code: int) -> None:
        if not self._exit_code.done():
            self._exit_code.set_result(exit_code)


class ForkServer:
    """Forks the children of one process. The server is started when it is needed, and ended when it had no child for
    `idle` seconds. Several parts may share it: each calls `acquire` once and `release` at its end."""

    def __init__(self, idle: float = IDLE, ready_within: float = READY_WITHIN) -> None:
        self._idle = idle
        self._ready_within = ready_within
        self._users = 0
        self._running: _Running | None = None
        self._replaced: list[_Running] = []  # with another environment; each ends with its last child

    def acquire(self) -> "ForkServer":
        self._users += 1
        return self

    async def release(self) -> None:
        """End the server with its last user. Children that are left are killed."""
        self._users -= 1
        if self._users:
            return
        ending = [one for one in (self._running, *self._replaced) if one is not None]
        self._running, self._replaced = None, []
        await asyncio.gather(*(one.end() for one in ending))

    def start(self, environment: Mapping[str, str], ffmpeg: str) -> None:
        """Start the server, so that it is ready when the first child is needed. Call it from the main thread: it is
        killed when the calling thread ends. `ffmpeg`: what its children will use; empty: none."""
        running = self._running
        if running is not None and running.usable(environment, ffmpeg):
            return
        if running is not None:
            self._replaced = [one for one in (*self._replaced, running) if not one.lost]
        self._running = _Running(environment, ffmpeg, self._idle, self._ready_within)

    async def fork(
        self, environment: Mapping[str, str], ffmpeg: str, memory_limit: int, descriptors: Sequence[int]
    ) -> ForkedProcess:
        """Fork a child with these descriptors as stdin, stdout and stderr. Raise ServerLost."""
        self.start(environment, ffmpeg)
        assert self._running is not None  # noqa: S101 - for the type checker
        return await self._running.fork(memory_limit, descriptors)


SHARED = ForkServer()  # the services of one process


class _Running:
    """A server process, started with one environment."""

    def __init__(self, environment: Mapping[str, str], ffmpeg: str, idle: float, ready_within: float) -> None:
        self._ready_within = ready_within
        self._environment = dict(environment)
        self._ffmpeg = ffmpeg
        self._idle = idle
        self._loop = asyncio.get_running_loop()
        self._starting: deque[asyncio.Future[ForkedProcess]] = deque()
        self._children: dict[int, ForkedProcess] = {}
        self._retirement: asyncio.TimerHandle | None = None
        self.lost = False
        self._channel, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        with remote:
            self._process = subprocess.Popen(  # noqa: S603 - our own; asyncio would wait for its end
                [sys.executable, "-P", "-m", "services.common.youtube.child.fork_server", ffmpeg],
                stdin=remote.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self._environment,
                start_new_session=True,
            )
        self._loop.add_reader(self._channel, self._receive)
        self._retire_later()

    def usable(self, environment: Mapping[str, str], ffmpeg: str) -> bool:
        same = self._environment == environment and self._ffmpeg == ffmpeg
        return same and not self.lost and self._loop is asyncio.get_running_loop()

    async def fork(self, memory_limit: int, descriptors: Sequence[int]) -> ForkedProcess:
        started = self._loop.create_future()
        self._starting.append(started)
        self._keep()
        try:
            socket.send_fds(self._channel, [json.dumps({"memory_limit": memory_limit}).encode()], descriptors)
        except OSError as error:
            self._starting.remove(started)
            self._lose()
            raise ServerLost(str(error)) from error
        try:
            async with asyncio.timeout(self._ready_within):  # not wait_for: 3.11's can swallow a cancellation
                return await asyncio.shield(started)
        except TimeoutError as error:  # it is stopped, or hangs
            self._lose()
            await asyncio.gather(started, return_exceptions=True)
            raise ServerLost(f"no child within {self._ready_within:g} s") from error
        except asyncio.CancelledError:
            started.add_done_callback(_kill_unused)
            raise

    async def end(self) -> None:
        self._lose()
        await asyncio.to_thread(self._reap)

    def _reap(self) -> None:
        """End the process, which may be stopped, and wait for its end. It has no state, and its children are killed."""
        self._process.kill()
        self._process.wait()

    def _receive(self) -> None:
        try:
            data = self._channel.recv(_PACKET)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        message = json.loads(data)
        pid = message["pid"]
        if "exit_code" in message:
            self._children.pop(pid).ended(message["exit_code"])
            self._retire_later()
            return
        child = self._children[pid] = ForkedProcess(pid)
        self._starting.popleft().set_result(child)

    def _lose(self) -> None:
        """Close the socket, which ends the server and its children."""
        if self.lost:
            return
        self.lost = True
        self._keep()
        self._loop.remove_reader(self._channel)
        self._channel.close()
        for child in self._children.values():
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.ended(_LOST)
        self._children.clear()
        while self._starting:
            self._starting.popleft().set_exception(ServerLost("the fork server has ended"))
        self._loop.run_in_executor(None, self._reap)

    def _retire_later(self) -> None:
        if not self._children and not self._starting and not self.lost:
            self._keep()
            self._retirement = self._loop.call_later(self._idle, self._lose)

    def _keep(self) -> None:
        if self._retirement is not None:
            self._retirement.cancel()
            self._retirement = None


def _kill_unused(started: "asyncio.Future[ForkedProcess]") -> None:
    """Kill a child that nobody waits for any more."""
    if not started.cancelled() and started.exception() is None:
        with suppress(ProcessLookupError):
            os.killpg(started.result().pid, signal.SIGKILL)
