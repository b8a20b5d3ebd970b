"""Memory use of long-running processes, and the cost of Python's garbage collection."""

import gc
from contextlib import suppress

_M_ARENA_MAX = -8  # malloc.h of glibc
_WHILE_LOADING = 50_000, 20, 50  # allocations, collections of the first and of the second generation
_USUAL = gc.get_threshold()


def share_one_heap() -> None:
    """Make later threads share one heap, if the C library is glibc.

    By default each thread has its own heap, which keeps freed memory: 12 of the 36 MB that a listing of 5,000 videos
    adds. Because of Python's global lock, threads do not compete for the shared heap.
    """
    import ctypes  # most commands do not need it

    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def collect_rarely() -> None:
    """Look for garbage rarely from now on. Loading modules makes hardly any, and looking for it costs a tenth of the
    time of a start."""
    gc.set_threshold(*_WHILE_LOADING)


def end_without_collecting() -> None:
    """Leave all that exists out of the collections at the end of the interpreter, which take a tenth of a second: the
    memory is returned anyway."""
    gc.freeze()


def collect_as_usual() -> None:
    """After `collect_rarely`: what is loaded now stays, and is left out of all later collections."""
    if gc.get_threshold() == _WHILE_LOADING:
        gc.freeze()
        gc.set_threshold(*_USUAL)
