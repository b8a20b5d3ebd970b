"""An emulator in a child process, for the demo and the tests."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ytarchive.emulator.client import EmulatorClient

EXIT_TIMEOUT = 10.0


class EmulatorDied(RuntimeError):
    """The child ended before it was ready; its own message is on stderr."""


@contextlib.contextmanager
def emulator_process(cache_dir: Path | None = None, *, port: int = 0) -> Iterator[EmulatorClient]:
    """Run an emulator until the block ends, or this process. Yield its client.

    `cache_dir` None: the user's cache directory. Raise EmulatorDied.
    """
    command = [sys.executable, "-m", "ytarchive.emulator", "--until-stdin-closes", "--port", str(port)]
    if cache_dir is not None:
        command += ["--cache-dir", str(cache_dir)]
    with subprocess.Popen(  # noqa: S603  # our own program
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C must not end it: running downloads still use it
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
                child.wait(EXIT_TIMEOUT)
            except subprocess.TimeoutExpired:
                child.kill()
