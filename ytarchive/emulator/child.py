"""An emulator in a process of its own, as the demo and the tests run it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ytarchive.emulator.client import EmulatorClient

GOODBYE = 10.0


class EmulatorDied(RuntimeError):  # it says what happened
    """The child ended before it was ready; its own message is on stderr."""


@contextlib.contextmanager
def emulator_process(cache_dir: Path | None = None, *, port: int = 0) -> Iterator[EmulatorClient]:
    """Start one, yield its client, and end it with the block; it also ends when this process does.

    `cache_dir` None is the user's cache directory. Raises EmulatorDied.
    """
    command = [sys.executable, "-m", "ytarchive.emulator", "--until-stdin-closes", "--port", str(port)]
    if cache_dir is not None:
        command += ["--cache-dir", str(cache_dir)]
    with subprocess.Popen(  # noqa: S603  # our own program
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a Ctrl-C in the terminal is for us: what runs may still need it for a moment
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
                child.wait(GOODBYE)
            except subprocess.TimeoutExpired:
                child.kill()
