"""Run a yt-dlp child process: start it, send it operations, watch it, and kill its process group."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import structlog
from pydantic import ValidationError

from bus.tasks import cancel_and_wait
from services.common.settings.masking import mask_text
from services.common.youtube.error_facts import ErrorFacts
from services.common.youtube.fork_server import AVAILABLE, ForkServer, ServerLost
from services.common.youtube.settings import ChildSettings

HANG_AFTER = 30.0  # seconds without a line; a working child sends one every second
IDLE = 60.0  # seconds without an operation until a child is ended
KILL_AFTER = 1.0  # seconds between SIGTERM and SIGKILL
_LINE_LIMIT = 16 * 1024**2  # bytes; asyncio holds up to twice as many
_STDERR_KEPT, _STDERR_LINES = 16 * 1024, 5  # bytes, and lines that are shown
_LONGEST_LINE = 500  # characters of those

_log = structlog.get_logger("services.youtube")

OnMessage = Callable[[dict[str, Any]], Awaitable[None]]


class ChildFailed(Exception):
    """The operation failed; the child continues to serve."""

    def __init__(self, facts: ErrorFacts) -> None:
        super().__init__(facts.message)
        self.facts = facts


class ChildCrashed(Exception):
    """The child ended, hung or sent invalid data. It is dead; start() starts a new one."""


class ChildProcess(Protocol):
    """A process of its own, or a forked one."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    async def wait(self) -> int: ...


class YtDlpChild:
    """A child process that serves one operation at a time.

    It is started when it is needed, by forking where there is a `server`, and ended after `idle` seconds without an
    operation. A `run` that is cancelled, or whose `on_message` raises, kills it, because its state is unknown then.
    """

    def __init__(
        self,
        settings: ChildSettings,
        server: ForkServer | None = None,
        *,
        hang_after: float = HANG_AFTER,
        idle: float = IDLE,
    ) -> None:
        self.idle = idle
        self._settings = settings
        self._server = server if AVAILABLE else None
        self._hang_after = hang_after
        self._process: ChildProcess | None = None
        self._answers: asyncio.StreamReader | None = None
        self._orders: asyncio.StreamWriter | None = None
        self._errors: asyncio.StreamWriter | None = None  # to close; nothing is written
        self._ytdlp: Path | None = None  # the folder that the process imports yt-dlp from
        self._stderr = b""
        self._tasks: list[asyncio.Task[None]] = []  # of the running process
        self._busy = asyncio.Lock()
        self._used = 0.0  # when the last operation ended, by the clock of the loop

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """The id of the process and of its group; None without a process."""
        return self._process.pid if self._process is not None and self.alive else None

    async def start(self) -> None:
        """Start the process unless it runs; one that has another yt-dlp than the one in use now is replaced. Call it
        from the main thread: the child is killed when the calling thread ends (Linux)."""
        ytdlp = await asyncio.to_thread(self._settings.ytdlp_folder)
        if self.alive and ytdlp == self._ytdlp:
            return
        await self.kill()
        self._ytdlp = ytdlp
        self._stderr = b""
        self._used = asyncio.get_running_loop().time()
        ours, theirs = socket.socketpair()
        our_errors, their_errors = socket.socketpair()
        with theirs, their_errors:
            try:
                self._process = await self._new_process(theirs, their_errors)
            except BaseException:
                ours.close()
                our_errors.close()
                raise
        self._answers, self._orders = await asyncio.open_connection(sock=ours, limit=_LINE_LIMIT)
        errors, self._errors = await asyncio.open_connection(sock=our_errors)
        self._tasks = [
            asyncio.create_task(self._drain(errors), name="yt-dlp stderr"),
            asyncio.create_task(self._end_when_idle(), name="yt-dlp idle"),
        ]

    async def _new_process(self, channel: socket.socket, errors: socket.socket) -> ChildProcess:
        memory_limit = self._settings.memory_limit
        environment = self._settings.environment_with(self._ytdlp)
        if self._server is not None:
            try:
                descriptors = (channel.fileno(), channel.fileno(), errors.fileno())
                return await self._server.fork(environment, self._settings.ffmpeg, memory_limit, descriptors)
            except ServerLost as error:
                _log.warning("fork_server_lost", error_message=str(error))
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # do not import from the current directory
            "-m",
            "services.common.youtube.child",
            str(memory_limit),
            stdin=channel.fileno(),
            stdout=channel.fileno(),
            stderr=errors.fileno(),
            env=environment,
            start_new_session=True,
        )

    async def run(self, op: str, request: dict[str, Any], *, on_message: OnMessage) -> None:
        """Run one operation; start the process if necessary. Raise ChildFailed, ChildCrashed."""
        async with self._busy:
            try:
                await self._run(op, request, on_message)
            finally:
                self._used = asyncio.get_running_loop().time()

    async def _run(self, op: str, request: dict[str, Any], on_message: OnMessage) -> None:
        await self.start()
        finished = False
        try:
            await self._write({"op": op, "request": request, "options": self._settings.options})
            try:
                await self._receive(on_message)
            except ChildFailed as failed:
                finished = not failed.facts.out_of_memory  # then the child can do nothing reliably any more
                raise
            finished = True
        finally:
            if not finished:
                await asyncio.shield(self.kill())

    async def _receive(self, on_message: OnMessage) -> None:
        """Pass the messages on until the operation has ended. Raise ChildFailed, ChildCrashed."""
        loop = asyncio.get_running_loop()
        since = loop.time()
        while (answer := await self._read()).get("done") is None:
            if "error" in answer:
                raise ChildFailed(_facts(answer["error"]))
            if "message" in answer:
                await on_message(answer["message"])
                since = loop.time()
            elif loop.time() - since > self._settings.patience:
                raise ChildCrashed(f"the child hung: no message in {self._settings.patience:g} s")

    async def kill(self) -> None:
        """End the process and its descendants within 2 s: SIGTERM, then SIGKILL to the group."""
        process = self._process
        if process is None:
            return
        for number, patience in ((signal.SIGTERM, KILL_AFTER), (signal.SIGKILL, KILL_AFTER)):
            _signal_group(process.pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await process.wait()
                    break
        _signal_group(process.pid, signal.SIGKILL)  # an ffmpeg that outlived the child
        ending, self._tasks = [task for task in self._tasks if task is not asyncio.current_task()], []
        await cancel_and_wait(ending)
        streams, self._orders, self._errors = (self._orders, self._errors), None, None
        self._process = self._answers = None
        for stream in filter(None, streams):
            stream.close()
            with contextlib.suppress(OSError):
                await stream.wait_closed()

    def stderr_tail(self) -> str:
        """Return the last lines that the child wrote to stderr, with secrets masked."""
        lines = self._stderr.decode(errors="replace").splitlines()[-_STDERR_LINES:]
        return mask_text(" | ".join(line.strip()[-_LONGEST_LINE:] for line in lines))

    async def _write(self, operation: dict[str, Any]) -> None:
        if self._orders is None:
            raise ChildCrashed("the child has ended")
        try:
            self._orders.write(json.dumps(operation).encode() + b"\n")
            await self._orders.drain()
        except ConnectionError as error:
            raise ChildCrashed(await self._describe_end()) from error

    async def _read(self) -> dict[str, Any]:
        if self._answers is None:
            raise ChildCrashed("the child has ended")
        try:
            async with asyncio.timeout(self._hang_after):
                line = await self._answers.readline()
            answer = json.loads(line) if line else None
            if line and not (isinstance(answer, dict) and isinstance(answer.get("message", {}), dict)):
                raise ValueError("not a message")
        except TimeoutError as error:
            raise ChildCrashed(f"the child hung: no line in {self._hang_after:g} s") from error
        except ConnectionError:
            answer = None
        except (ValueError, RecursionError) as error:  # not JSON, or a line beyond the limit
            raise ChildCrashed(f"the child sent invalid data: {error}") from error
        if not isinstance(answer, dict):
            raise ChildCrashed(await self._describe_end())
        return answer

    async def _describe_end(self) -> str:
        """Describe how the child ended, with its last lines on stderr."""
        code: int | None = None
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KILL_AFTER):
                    code = await self._process.wait()
        tail = self.stderr_tail()
        how = f"ended with {code}"
        if code == -signal.SIGKILL:
            how = "was killed, as Linux does when memory runs out"
        return f"the child {how}{': ' + tail if tail else ''}"

    async def _drain(self, errors: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await errors.read(_STDERR_KEPT):
                self._stderr = (self._stderr + chunk)[-_STDERR_KEPT:]

    async def _end_when_idle(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.0, self._used + self.idle - loop.time()))
            async with self._busy:
                if loop.time() - self._used >= self.idle:
                    await self.kill()
                    return


def _facts(error: Any) -> ErrorFacts:
    try:
        return ErrorFacts.model_validate(error)
    except ValidationError as invalid:
        raise ChildCrashed(f"the child sent invalid data: {invalid}") from invalid


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, for a group of zombies
        os.killpg(pid, number)
