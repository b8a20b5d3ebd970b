"""Whether a starting server makes headway: a large store takes minutes to load, a damaged one may never load.

A child that waits for the disk is not stalled.
"""

import contextlib
import os
import time
from pathlib import Path

_CPU, _READ = 0.5, 1024**2  # seconds and bytes that count as headway; an idle server uses little


class Headway:
    """Watches a child: its log, and on Linux its CPU time and what it reads."""

    def __init__(self, pid: int, log: Path) -> None:
        self._pid = pid
        self._log = log
        self._waits_for_disk = False
        self._before = self._state()
        self._last = time.monotonic()

    def stalled_for(self) -> float:
        """Return the seconds since the last headway, as far as it was looked for."""
        now = self._state()
        steps = (1, _CPU, _READ)
        grown = (after - before >= step for before, after, step in zip(self._before, now, steps, strict=True))
        if self._waits_for_disk or any(grown):
            self._before, self._last = now, time.monotonic()
        return time.monotonic() - self._last

    def _state(self) -> tuple[float, float, float]:
        """Return the size of the log, the CPU seconds and the bytes read."""
        size = cpu = read = 0.0
        with contextlib.suppress(OSError):
            size = self._log.stat().st_size
        with contextlib.suppress(OSError, ValueError, IndexError):  # another system, or the child has ended
            place = Path("/proc") / str(self._pid)
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            self._waits_for_disk = fields[0] == "D"  # or it is the disk that stands still
            cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime, proc(5)
            read = float((place / "io").read_text().split()[1])  # rchar
        return size, cpu, read
