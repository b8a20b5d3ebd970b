"""Fault points: places where a test can kill this process with SIGKILL, to prove that any moment is safe.

`YTARCHIVE_FAULT=bus.handled.job.queued` kills at that point, `name:3` the third time; `@/path` reads the setting from
that file at each point, while the file exists. The points of the bus:

    bus.taken.SUBJECT        a message was received, not handled
    bus.published.SUBJECT    the stream has stored an event; the sender has not recorded it
    bus.answered.SUBJECT     a request was answered; the requester has not acted on it
    bus.handled.SUBJECT      a message was handled completely; it is not acknowledged

Services have further points: `jobs.committed.SUBJECT` (applied, its events not published), `jobs.publishing.SUBJECT`,
`jobs.claimed` (bound to a worker without its knowledge), `storage.*` (the steps of a take-in), `backup.*` and
`restore.*`. Without the variable a point costs one look-up in the environment.
"""

import os
import signal
from collections import Counter
from pathlib import Path

VARIABLE = "YTARCHIVE_FAULT"
_passed: Counter[str] = Counter()


def fault_point(name: str) -> None:
    """Kill the process if this point is set, at the requested pass."""
    setting = os.environ.get(VARIABLE)
    if setting is None:
        return
    if setting.startswith("@"):
        path = Path(setting[1:])
        setting = path.read_text() if path.exists() else ""
    point, _, times = setting.partition(":")
    if point == name:
        _passed[setting] += 1
        if _passed[setting] >= int(times or 1):
            os.kill(os.getpid(), signal.SIGKILL)
