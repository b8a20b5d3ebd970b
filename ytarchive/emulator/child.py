"""Run the emulator as a child process, for the demo and the tests."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ytarchive.emulator.client import EmulatorClient

STOP_TIMEOUT = 10.0


class EmulatorDied(RuntimeError):  # named for the event, not `...Error`
    """The emulator process ended before it was ready. Its error message is on stderr."""


@contextlib.contextmanager
def emulator_process(cache_dir: Path | None = None, *, port: int = 0) -> Iterator[EmulatorClient]:
    """Start an emulator process, yield a client for it, and stop the process when the block is left.

    The process also stops when this process ends. With `cache_dir` None the user's cache directory is used.
    Raise EmulatorDied when the process ends before it is ready.
    """
    command = [sys.executable, "-m", "ytarchive.emulator", "--until-stdin-closes", "--port", str(port)]
    if cache_dir is not None:
        command += ["--cache-dir", str(cache_dir)]
    with subprocess.Popen(  # noqa: S603  # our own program
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C must not stop the emulator before its clients have stopped
    ) as child:
        assert child.stdin is not None and child.stdout is not None  # noqa: S101  # for the type checker
        try:
            ready = child.stdout.readline()
            if not ready:
                raise EmulatorDied(f"the emulator ended with status {child.wait()}")
            yield EmulatorClient(json.loads(ready)["proxy"])
        finally:
            child.stdin.close()
            try:
                child.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                child.kill()
