"""Repeat an operation for as long as the disk is full: what was downloaded or received must not be lost meanwhile."""

import errno
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import structlog

from services.common.errors import StorageFull

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})

_log = structlog.get_logger()
T = TypeVar("T")


def is_disk_full(error: Exception) -> bool:
    return isinstance(error, StorageFull) or (isinstance(error, OSError) and error.errno in NO_SPACE)


def report_waiting(error: Exception, where: Path | None = None) -> None:
    """`where`: a path on the disk, for errors that name none."""
    path = getattr(error, "filename", None) or where
    _log.warning(
        "waiting_for_space",
        **({"path": str(path)} if path else {}),
        error_message=str(error),
        remedy="free some space on this disk: the work goes on by itself",
    )


async def retry_while_full(
    work: Callable[[], Awaitable[T]],
    pause: Callable[[], Awaitable[None]],
    *,
    report: Callable[[Exception], None] = report_waiting,
    retry_on: Callable[[Exception], bool] = is_disk_full,
) -> T:
    """Return the result of `work`, without a limit of attempts. `pause` is awaited after each attempt that failed with
    an error that `retry_on` accepts; any other error is raised. `report` logs a failed attempt.
    """
    while True:
        try:
            return await work()
        except Exception as error:
            if not retry_on(error):
                raise
            report(error)
        await pause()
