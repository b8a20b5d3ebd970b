"""Where the parts of the logging service meet: journals, queries, handlers and routes."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.settings.load import Config
from services.common.web.routing import Route
from services.logging.entrypoints.api import ROUTES as _ROUTES
from services.logging.entrypoints.handlers import HANDLERS
from services.logging.queries import JournalQueries
from services.logging.recorder import Recorder
from services.logging.retention import LogRetention
from services.logging.subscribers import LogSubscribers

__all__ = ["HANDLERS", "ROUTES", "LoggingParts", "bootstrap"]

ROUTES: Sequence[Route] = _ROUTES


@dataclass(frozen=True)
class LoggingParts:
    """All objects of the logging service. Handlers and routes get theirs by type."""

    recorder: Recorder
    queries: JournalQueries
    subscribers: LogSubscribers
    retention: LogRetention

    def all(self) -> list[object]:
        return [self.recorder, self.queries, self.subscribers, self.retention]


def bootstrap(config: Config, disk_patience: float) -> LoggingParts:
    """Build the service. Nothing is opened before it is used."""
    directory = config.storage.logs_dir
    subscribers = LogSubscribers()
    return LoggingParts(
        recorder=Recorder(directory, subscribers, disk_patience),
        queries=JournalQueries(directory),
        subscribers=subscribers,
        retention=LogRetention(directory, config.retention.logs),
    )
