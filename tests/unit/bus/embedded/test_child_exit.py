"""The end of a child process is noticed at once, and waiting for it leaves no descriptor open."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.embedded.child_exit import ended_within


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


async def test_the_end_of_a_child_ends_the_waiting(child: "subprocess.Popen[bytes]") -> None:
    waiting = asyncio.create_task(ended_within(child, 60.0))
    await asyncio.sleep(0)
    child.kill()
    begun = time.monotonic()
    assert await waiting
    assert time.monotonic() - begun < 30.0
    assert await ended_within(child, 60.0)


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors of processes, and /proc, are of Linux")
async def test_a_child_that_runs_on_is_waited_for_and_no_descriptor_is_left(child: "subprocess.Popen[bytes]") -> None:
    await ended_within(child, 0.01)  # the event loop has opened what it needs
    before = descriptors()
    assert not await ended_within(child, 0.05)
    waiting = asyncio.create_task(ended_within(child, 60.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert descriptors() == before
    assert child.poll() is None
