"""GET /api/v1/metrics: Prometheus metrics of one service."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from services.common.models import HealthCheck, HealthStatus
from services.common.settings.retry_policy import BreakerState
from services.common.status import ServiceStatus
from services.common.web.health import HealthReport
from services.common.web.routing import Call, Observed, Route

PATH = "/api/v1/metrics"
_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
)  # arbitrary methods must not create labels
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds


class Metrics:
    """The metrics of one service, in a registry of their own: several services share a process."""

    def __init__(self, service: ServiceStatus, health: HealthReport) -> None:
        self._service = service
        self._health = health
        self.registry = CollectorRegistry(auto_describe=False)
        labels = ["service", "route", "method"]
        self._requests = Counter(
            "ytarchive_http_requests", "Requests answered.", [*labels, "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "ytarchive_http_request_duration_seconds",
            "Time until the answer was ready, without streams.",
            labels,
            buckets=_BUCKETS,
            registry=self.registry,
        )

    def route(self) -> Route:
        return Route(
            "GET",
            PATH,
            self.answer,
            "Prometheus metrics",
            response=str,
            media_type="text/plain",
            quiet=True,
            common=True,
        )

    def observe(self, request: Observed) -> None:
        method = request.method if request.method in _METHODS else "other"
        path = request.route.path if request.route is not None else "none"
        self._requests.labels(self._service.name, path, method, str(request.status)).inc()
        if request.route is not None and not request.route.streams:
            self._seconds.labels(self._service.name, path, method).observe(request.seconds)

    async def answer(self, _call: Call) -> web.Response:
        """Answer with requests by route, durations, health, and the service's own metrics."""
        now = _Now(self._service, await self._health.check())
        own = CollectorRegistry(auto_describe=False)
        own.register(now)
        text = generate_latest(self.registry) + generate_latest(own)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


class _Now(Collector):
    """Metrics that are read at scrape time."""

    def __init__(self, service: ServiceStatus, health: HealthCheck) -> None:
        self._service = service
        self._health = health

    def collect(self) -> Iterable[Metric]:
        service, name = self._service, self._service.name
        build = InfoMetricFamily("ytarchive_build", "Build information.", labels=["service"])
        build.add_metric([name], {"version": self._health.version, "instance": service.instance})
        yield build
        numbers = {
            "up": ("1 if the service is healthy.", self._health.status is HealthStatus.HEALTHY),
            "uptime_seconds": ("Since the start of the service.", service.uptime),
            "bus_connected": ("1 if the broker is connected.", service.bus_connected),
            "http_requests_in_hand": (
                "Requests in progress.",
                service.rest.in_hand if service.rest else 0,
            ),
            "background_task_failures": ("Since the start of the service.", service.background_failures),
            "dead_letters": (
                "Dead letters of this service's consumers in the last ten minutes.",
                len(service.dead_letters.recent()),
            ),
            "dead_letters_unreadable": ("Unreadable messages.", service.dead_letters.unreadable),
        }
        for key, (text, value) in numbers.items():
            gauge = GaugeMetricFamily(f"ytarchive_{key}", text, labels=["service"])
            gauge.add_metric([name], float(value))
            yield gauge
        checks = GaugeMetricFamily("ytarchive_health_check", "1 if the check passed.", labels=["service", "check"])
        for check, good in self._health.checks.items():
            checks.add_metric([name, check], float(good))
        yield checks
        yield from breaker_numbers(name, service.breakers())
        yield from own_numbers(name, service.metrics())
        if service.undeclared_durables:
            text = "Open messages of durables that no service reads."
            undeclared = GaugeMetricFamily("ytarchive_undeclared_durables", text, labels=["service", "durable"])
            for durable, messages in service.undeclared_durables.items():
                undeclared.add_metric([name, durable], float(messages))
            yield undeclared


def breaker_numbers(service: str, states: Mapping[str, BreakerState]) -> Iterator[Metric]:
    labels = ["service", "host"]
    state = GaugeMetricFamily("ytarchive_breaker_state", "0 closed, 1 half-open, 2 open.", labels=labels)
    failures = GaugeMetricFamily("ytarchive_breaker_failures", "Consecutive failures.", labels=labels)
    retries = CounterMetricFamily("ytarchive_retries", "Repeated calls.", labels=labels)
    for host, known in states.items():
        state.add_metric([service, host], known.number)
        failures.add_metric([service, host], known.failures)
        retries.add_metric([service, host], known.retries)
    if states:
        yield from (state, failures, retries)


def own_numbers(service: str, values: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield `ytarchive_{service}_{name}` for each number, and one with the label `key` for a map of numbers."""
    for name, value in values.items():
        full = re.sub(r"\W", "_", f"ytarchive_{service}_{name}", flags=re.ASCII)
        help_text = f"{name.replace('_', ' ')}."
        if isinstance(value, int | float):
            yield GaugeMetricFamily(full, help_text, value=float(value))
        elif isinstance(value, Mapping):
            gauge = GaugeMetricFamily(full, help_text, labels=["key"])
            for key, part in value.items():
                if isinstance(part, int | float):
                    gauge.add_metric([str(key)], float(part))
            if gauge.samples:
                yield gauge
