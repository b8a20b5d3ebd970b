"""A short memory: what was found out a moment ago need not be asked again."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Found = TypeVar("Found")


class Recent(Generic[Found]):
    """At most `most` findings by name, each for `kept` seconds. `clock` counts seconds."""

    def __init__(self, most: int, kept: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._kept = kept
        self._clock = clock
        self._found: OrderedDict[str, tuple[float, Found]] = OrderedDict()

    def get(self, name: str) -> Found | None:
        at, found = self._found.get(name, (0.0, None))
        return found if found is not None and self._clock() - at < self._kept else None

    def put(self, name: str, found: Found) -> None:
        self._found[name] = (self._clock(), found)
        self._found.move_to_end(name)
        while len(self._found) > self._most:
            self._found.popitem(last=False)
