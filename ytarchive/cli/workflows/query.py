"""Run a query on services: on the running system, or on a temporary stack.

No job is started: a temporary stack leaves open jobs parked, and ends after the query.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from services.common.errors import ServiceUnavailable
from services.common.settings.load import Config
from ytarchive.cli.terminal.console import log_to_stderr, stderr
from ytarchive.cli.terminal.interruption import Interrupted, Interruption
from ytarchive.client.connect import reach, still_there
from ytarchive.client.endpoints import System

if TYPE_CHECKING:
    from ytarchive.stack import Stack

T = TypeVar("T")
Query = Callable[[System], Awaitable[T]]


def run_query(config: Config, query: Query[T], *, verbose: bool = False, extra_roots: Sequence[Path] = ()) -> T:
    """Return the result of `query`. Raise its errors, and KeyboardInterrupt after a clean stop.

    `extra_roots`: archive roots for a temporary stack.
    """
    log_to_stderr(config, "INFO" if verbose else "ERROR")
    return asyncio.run(_interruptible(config, query, extra_roots))


async def _interruptible(config: Config, query: Query[T], extra_roots: Sequence[Path]) -> T:
    with Interruption() as interruption:
        try:
            return await interruption.unless(_run(config, query, extra_roots))
        except Interrupted as interrupted:
            raise KeyboardInterrupt from interrupted


async def _run(config: Config, query: Query[T], extra_roots: Sequence[Path]) -> T:
    while True:
        async with AsyncExitStack() as resources:
            folders = resources.enter_context(_EmptyFolders([*config.storage.all_roots, *extra_roots]))
            system = await reach(
                config,
                resources,
                extra_roots=extra_roots,
                on_own_stack=folders.note_own_stack,
                notify=stderr().print,
            )
            try:
                return await query(system)
            except ServiceUnavailable:
                if await still_there(system, config):
                    raise  # else the stack ended just now: try the next one


class _EmptyFolders:
    """Removes the empty archive folders that a temporary stack created."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._absent = [folder for root in roots for folder in (root, *root.parents) if not folder.exists()]
        self._own = False

    def note_own_stack(self, _stack: "Stack") -> None:
        self._own = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for folder in self._absent if self._own else ():
            with suppress(OSError):
                folder.rmdir()
