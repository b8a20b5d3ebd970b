"""Places where a test may kill this process as by kill -9: `YTARCHIVE_FAULT=bus.handled.job.queued` dies there.

`name:3` dies the third time; `@/path` reads the wish from that file, each time, for as long as there is one. Tests
prove with it that any moment is a safe one to die. The bus's own points are

    bus.taken.SUBJECT        a message is in hand, nothing was done about it
    bus.published.SUBJECT    the stream has stored what we sent; we have not taken note of that
    bus.answered.SUBJECT     our request was answered; we have not acted on it
    bus.handled.SUBJECT      all that a message causes is done and published; it is not acknowledged

and each service has its own where it keeps something. Without the variable a point costs a look at the environment.
"""

import os
import signal
from collections import Counter
from pathlib import Path

VARIABLE = "YTARCHIVE_FAULT"
_passed: Counter[str] = Counter()


def fault_point(name: str) -> None:
    """Die here if this point is wished for, and it is the time that was named."""
    wish = os.environ.get(VARIABLE)
    if wish is None:
        return
    if wish.startswith("@"):
        path = Path(wish[1:])
        wish = path.read_text() if path.exists() else ""
    point, _, times = wish.partition(":")
    if point == name:
        _passed[wish] += 1
        if _passed[wish] >= int(times or 1):
            os.kill(os.getpid(), signal.SIGKILL)
