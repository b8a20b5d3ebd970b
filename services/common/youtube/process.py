"""Run a yt-dlp child process: start it, send it operations, watch it, and kill its process group."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.common.settings.masking import mask_text
from services.common.youtube.error_facts import ErrorFacts
from services.common.youtube.settings import ChildSettings

HANG_AFTER = 30.0  # seconds without a line; a working child sends one every second
KILL_AFTER = 1.0  # seconds between SIGTERM and SIGKILL
_LINE_LIMIT = 16 * 1024**2  # bytes; asyncio holds up to twice as many
_STDERR_KEPT, _STDERR_LINES = 16 * 1024, 5  # bytes, and lines that are shown
_LONGEST_LINE = 500  # characters of those

OnMessage = Callable[[dict[str, Any]], Awaitable[None]]


class ChildFailed(Exception):
    """The operation failed; the child continues to serve."""

    def __init__(self, facts: ErrorFacts) -> None:
        super().__init__(facts.message)
        self.facts = facts


class ChildCrashed(Exception):
    """The child ended, hung or sent invalid data. It is dead; start() starts a new one."""


class YtDlpChild:
    """A child process that serves one operation at a time.

    A `run` that is cancelled, or whose `on_message` raises, kills the child, because its state is unknown then.
    """

    def __init__(self, settings: ChildSettings, *, hang_after: float = HANG_AFTER) -> None:
        self._settings = settings
        self._hang_after = hang_after
        self._process: asyncio.subprocess.Process | None = None
        self._ytdlp: Path | None = None  # the folder that the process imports yt-dlp from
        self._stderr = b""
        self._draining: asyncio.Task[None] | None = None

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
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # do not import from the current directory
            "-m",
            "services.common.youtube.child",
            str(self._settings.memory_limit),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._settings.environment_with(ytdlp),
            start_new_session=True,
            limit=_LINE_LIMIT,
        )
        self._draining = asyncio.create_task(self._drain(self._process), name="yt-dlp stderr")

    async def run(self, op: str, request: dict[str, Any], *, on_message: OnMessage) -> None:
        """Run one operation; start the process if necessary. Raise ChildFailed, ChildCrashed."""
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
        if process.stdin is not None:
            process.stdin.close()
        if self._draining is not None:
            self._draining.cancel()
            await asyncio.gather(self._draining, return_exceptions=True)
        self._process = self._draining = None

    def stderr_tail(self) -> str:
        """Return the last lines that the child wrote to stderr, with secrets masked."""
        lines = self._stderr.decode(errors="replace").splitlines()[-_STDERR_LINES:]
        return mask_text(" | ".join(line.strip()[-_LONGEST_LINE:] for line in lines))

    async def _write(self, operation: dict[str, Any]) -> None:
        stdin = self._process.stdin if self._process else None
        if stdin is None:
            raise ChildCrashed("the child has ended")
        try:
            stdin.write(json.dumps(operation).encode() + b"\n")
            await stdin.drain()
        except ConnectionError as error:
            raise ChildCrashed(await self._describe_end()) from error

    async def _read(self) -> dict[str, Any]:
        stdout = self._process.stdout if self._process else None
        if stdout is None:
            raise ChildCrashed("the child has ended")
        try:
            async with asyncio.timeout(self._hang_after):
                line = await stdout.readline()
            answer = json.loads(line) if line else None
            if line and not (isinstance(answer, dict) and isinstance(answer.get("message", {}), dict)):
                raise ValueError("not a message")
        except TimeoutError as error:
            raise ChildCrashed(f"the child hung: no line in {self._hang_after:g} s") from error
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

    async def _drain(self, process: asyncio.subprocess.Process) -> None:
        while process.stderr is not None and (chunk := await process.stderr.read(_STDERR_KEPT)):
            self._stderr = (self._stderr + chunk)[-_STDERR_KEPT:]


def _facts(error: Any) -> ErrorFacts:
    try:
        return ErrorFacts.model_validate(error)
    except ValidationError as invalid:
        raise ChildCrashed(f"the child sent invalid data: {invalid}") from invalid


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, for a group of zombies
        os.killpg(pid, number)
