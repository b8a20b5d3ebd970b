"""Dead letters: messages that no handler could process. The broker of a running system keeps them for 14 days."""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

from bus.dead_letter_store import DeadLetterStore, StoredDeadLetter
from services.common.errors import InvalidRequest, NotFound
from services.common.events import DeadLettered
from services.common.settings.load import Config
from ytarchive.client.connect import connected
from ytarchive.client.endpoints import require_system

DeadLetter = StoredDeadLetter[DeadLettered]


class DeadLettersClient:
    def __init__(self, store: DeadLetterStore[DeadLettered]) -> None:
        self._store = store

    @classmethod
    @asynccontextmanager
    async def open(cls, config: Config) -> AsyncIterator[Self]:
        """Raise ServiceUnavailable when nothing runs."""
        async with connected(await require_system(config)) as bus:
            yield cls(DeadLetterStore(bus, DeadLettered))

    async def newest(self, limit: int) -> tuple[list[DeadLetter], int]:
        """Return the newest dead letters, newest first, and the number of all."""
        newest: deque[DeadLetter] = deque(maxlen=limit)
        total = 0
        async for letter in self._store.letters():
            newest.append(letter)
            total += 1
        return list(reversed(newest)), total

    async def find(self, number: int) -> DeadLetter:
        """Raises NotFound."""
        letter = await self._store.find(number)
        if letter is None:
            raise NotFound(f"There is no dead letter {number}. `ytarchive events dead list` shows all.")
        return letter

    async def replayable(self, letter: DeadLetter) -> bool:
        """Return whether the whole message is still in the stream."""
        return await self._store.message(letter) is not None

    async def select(self, numbers: Sequence[int], *, every: bool) -> list[DeadLetter]:
        """Return the dead letters of these numbers, or all. Raise NotFound when one of them does not exist."""
        if bool(numbers) is every:
            raise InvalidRequest("Give the numbers of dead letters, or --all.")
        if every:
            return [letter async for letter in self._store.letters()]
        return [await self.find(number) for number in dict.fromkeys(numbers)]

    async def replay(self, letters: Sequence[DeadLetter]) -> None:
        """Publish the messages again and remove the dead letters."""
        for letter in letters:
            await self._store.replay(letter)
            await self._store.drop(letter)

    async def drop(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            await self._store.drop(letter)
