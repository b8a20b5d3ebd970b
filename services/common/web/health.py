"""GET /api/v1/health (SPEC: Health Check Implementation)."""

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import Any

from bus import Bus, UnreadableMessage
from services.common.events import DeadLettered
from services.common.infra.files import free_space
from services.common.models import ErrorCode, ErrorDetail, HealthCheck, HealthStatus
from services.common.status import ServiceStatus
from services.common.web.routing import Call, Reply, Route

PATH = "/api/v1/health"
DEAD_LETTER_MEMORY = 600.0  # seconds that a dead letter makes its service unhealthy
PATIENCE = 3.0  # seconds for the dependencies to answer


class DeadLetterWatch:
    """The dead letters of one service's consumers in the last ten minutes. Unreadable messages, which are the fault of
    their sender, are only counted."""

    def __init__(self, service: str) -> None:
        self._prefix = f"{service}-"
        self._seen: deque[tuple[float, str]] = deque(maxlen=100)
        self.unreadable = 0

    async def run(self, bus: Bus) -> None:
        while True:  # a tail ends when the bus opens a new connection
            await bus.online.wait()
            async with bus.tail(DeadLettered) as envelopes:
                async for envelope in envelopes:
                    with suppress(UnreadableMessage):  # other programs may publish on this subject
                        self.note(DeadLettered.read(envelope))

    def note(self, letter: DeadLettered) -> None:
        if not letter.consumer.startswith(self._prefix):
            return
        if letter.unreadable:
            self.unreadable += 1
        else:
            self._seen.append((time.monotonic(), f"dead letter: {letter.type}: {letter.error}"))

    def recent(self) -> list[str]:
        horizon = time.monotonic() - DEAD_LETTER_MEMORY
        return [text for at, text in self._seen if at > horizon]


class HealthReport:
    def __init__(self, service: ServiceStatus) -> None:
        self._service = service

    def route(self) -> Route:
        return Route(
            "GET",
            PATH,
            self.answer,
            "Health of this service",
            response=HealthCheck,
            failure=HealthCheck,
            quiet=True,
            limited=False,
            common=True,
        )

    async def answer(self, _call: Call) -> Reply:
        """Answer 200 when healthy, else 503, with the HealthCheck as data in both cases."""
        health, errors = await self._examine()
        if health.status is HealthStatus.HEALTHY:
            return Reply(health, 200)
        failed = [name for name, good in health.checks.items() if not good]
        error = ErrorDetail(
            code=ErrorCode.SERVICE_UNAVAILABLE,
            message=f"unhealthy: {', '.join(failed)}",
            details={"failed_checks": failed, "critical_errors": errors},
        )
        return Reply(health, 503, error=error)

    async def check(self) -> HealthCheck:
        return (await self._examine())[0]

    async def _examine(self) -> tuple[HealthCheck, list[str]]:
        """Return the health and the critical errors, each with its remedy."""
        service = self._service
        available, problem = await self._dependencies()
        errors = [*service.critical_errors(), *([problem] if problem else [])]
        checks = {
            "http_responsive": service.accepting,
            "dependencies_available": available,
            "no_critical_errors": not errors,
            "disk_space_available": await asyncio.to_thread(self._has_space),
        }
        rest = service.rest
        counted = {"requests_answered": rest.answered, "requests_in_hand": rest.in_hand} if rest else {}
        undeclared = {"undeclared_durables": found} if (found := dict(service.undeclared_durables)) else {}
        health = HealthCheck(
            service=service.name,
            status=HealthStatus.HEALTHY if all(checks.values()) else HealthStatus.UNHEALTHY,
            version=service.info().version,
            uptime_seconds=int(service.uptime),
            checks=checks,
            metrics={**counted, **service.metrics(), **undeclared, **self._breakers()},
        )
        return health, errors

    def _breakers(self) -> dict[str, Any]:
        states = self._service.breakers()
        return {"breakers": {name: state.as_json() for name, state in states.items()}} if states else {}

    async def _dependencies(self) -> tuple[bool, str | None]:
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.gather(self._service.dependencies_available(), self._service.bus_problem())
        except TimeoutError:
            return False, f"the message broker does not answer within {PATIENCE:g} s: see its log"

    def _has_space(self) -> bool:
        least = self._service.config.storage.min_free
        return all(free_space(path) >= least for path in self._service.disk_paths())
