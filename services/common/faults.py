"""Places where a test may kill this process: `YTARCHIVE_FAULT=storage.after_intent` dies there as by kill -9.

Tests prove with it that any moment is a safe one to die. Without the variable a point costs a dictionary look-up.
"""

import os
import signal

VARIABLE = "YTARCHIVE_FAULT"


def fault_point(name: str) -> None:
    """Die here if the environment names this point."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
