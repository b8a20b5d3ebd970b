"""Wait for the end of a child process."""

import asyncio
import os
import subprocess
import sys
import time

_TOLD = sys.platform == "linux"  # by a descriptor of the process
_POLL = 0.25  # seconds, elsewhere


async def ended_within(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Wait up to `seconds` for the end of a child. Return whether it has ended."""
    if process.poll() is not None:
        return True
    if _TOLD:
        await _until_readable(os.pidfd_open(process.pid), seconds)
        return process.poll() is not None
    deadline = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL)
    return True


async def _until_readable(descriptor: int, seconds: float) -> None:
    """Wait until a descriptor can be read, at most so long, and close it. That of a process can when it has ended."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(descriptor, readable.set)
        try:
            async with asyncio.timeout(seconds):
                await readable.wait()
        except TimeoutError:
            return
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)
