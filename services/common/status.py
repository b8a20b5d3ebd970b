"""What health, metrics and the documentation page need to know about the service that they describe."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import structlog

from services.common.domain.registry import ServiceInfo
from services.common.settings.load import Config
from services.common.settings.retry_policy import BreakerState


class DeadLetterCounts(Protocol):
    """Dead letters of this service's consumers. `unreadable` counts messages that were not ours to read."""

    unreadable: int

    def recent(self) -> list[str]: ...


class RequestCounts(Protocol):
    """The REST requests of this service, streams not counted."""

    in_hand: int
    answered: int


class ServiceStatus(Protocol):
    """The state of one service instance, as it reports it. `ServiceBase` implements it."""

    name: ClassVar[str]
    version: ClassVar[str]
    instance: str
    config: Config
    accepting: bool
    closing: asyncio.Event
    logger: structlog.typing.FilteringBoundLogger
    background_failures: int

    @property
    def uptime(self) -> float: ...

    @property
    def bus_connected(self) -> bool: ...

    @property
    def dead_letters(self) -> DeadLetterCounts: ...

    @property
    def rest(self) -> RequestCounts | None: ...

    def info(self) -> ServiceInfo: ...

    def metrics(self) -> dict[str, Any]: ...

    def breakers(self) -> Mapping[str, BreakerState]: ...

    def critical_errors(self) -> list[str]: ...

    @property
    def undeclared_durables(self) -> Mapping[str, int]: ...

    async def bus_problem(self, *, new_work: bool = True) -> str | None: ...

    def disk_paths(self) -> Sequence[Path]: ...

    async def dependencies_available(self) -> bool: ...
