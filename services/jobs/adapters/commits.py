"""What a committed transaction changed, and who is notified of it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Commit:
    """`jobs` are the ids of the jobs that changed, `applied` the ids of the messages that were new. `outbox`: events
    were queued."""

    jobs: frozenset[str]
    outbox: bool
    applied: frozenset[str] = frozenset()


class CommitObserver(Protocol):
    def committed(self, commit: Commit) -> None:
        """Must not block."""


class CommitNotifier:
    def __init__(self, *observers: CommitObserver) -> None:
        self._observers = list(observers)

    def add(self, *observers: CommitObserver) -> None:
        self._observers += observers

    def notify(self, commit: Commit) -> None:
        for observer in self._observers:
            observer.committed(commit)
