"""A question that needs running services: it is asked of the stack that runs, or of one that runs just for it.

Nothing is ordered: a stack of our own leaves open jobs parked, and ends with the answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from services.common.errors import ServiceUnavailable
from services.common.settings.load import Config
from ytarchive.cli.console import log_to_stderr
from ytarchive.cli.running.interruption import Interrupted, Interruption
from ytarchive.client.connect import reach, still_there
from ytarchive.client.endpoints import System
from ytarchive.stack import Stack

T = TypeVar("T")
Ask = Callable[[System], Awaitable[T]]


def answer(config: Config, ask: Ask[T], *, verbose: bool = False, extra_roots: Sequence[Path] = ()) -> T:
    """What `ask` gives. `extra_roots` are archive roots for a stack of our own. Raises what `ask` raises, and
    KeyboardInterrupt after a clean stop."""
    log_to_stderr(config, "INFO" if verbose else "ERROR")
    return asyncio.run(_interruptible(config, ask, extra_roots))


async def _interruptible(config: Config, ask: Ask[T], extra_roots: Sequence[Path]) -> T:
    with Interruption() as interruption:
        try:
            return await interruption.unless(_answer(config, ask, extra_roots))
        except Interrupted as interrupted:
            raise KeyboardInterrupt from interrupted


async def _answer(config: Config, ask: Ask[T], extra_roots: Sequence[Path]) -> T:
    while True:
        async with AsyncExitStack() as held:
            clearing = held.enter_context(_Clearing([*config.storage.all_roots, *extra_roots]))
            system = await reach(config, held, extra_roots=extra_roots, became=clearing.begin)
            try:
                return await ask(system)
            except ServiceUnavailable:
                if await still_there(system, config):
                    raise  # else it ended just now: ask another one


class _Clearing:
    """A stack makes the folders of its roots. One of our own that only answered leaves behind none that is empty."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._absent = [folder for root in roots for folder in (root, *root.parents) if not folder.exists()]
        self._own = False

    def begin(self, _stack: Stack) -> None:
        self._own = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for folder in self._absent if self._own else ():
            with suppress(OSError):
                folder.rmdir()
