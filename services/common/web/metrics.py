"""GET /api/v1/metrics: the numbers of one service for Prometheus. It waits for a broker no longer than health does."""

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
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})  # a stranger invents no label
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds


class Metrics:
    """A registry per service: several of them live in one process."""

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
            "Until the answer was ready; streams are not measured.",
            labels,
            buckets=_BUCKETS,
            registry=self.registry,
        )

    def route(self) -> Route:
        return Route(
            "GET",
            PATH,
            self.answer,
            "Numbers for Prometheus",
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
        """Requests by route, durations, health, and what the service counts itself."""
        now = _Now(self._service, await self._health.check())
        own = CollectorRegistry(auto_describe=False)
        own.register(now)
        text = generate_latest(self.registry) + generate_latest(own)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


class _Now(Collector):
    """What is asked at the moment of the scrape, and not counted along the way."""

    def __init__(self, service: ServiceStatus, health: HealthCheck) -> None:
        self._service = service
        self._health = health

    def collect(self) -> Iterable[Metric]:
        service, name = self._service, self._service.name
        build = InfoMetricFamily("ytarchive_build", "What runs here.", labels=["service"])
        build.add_metric([name], {"version": self._health.version, "instance": service.instance})
        yield build
        numbers = {
            "up": ("Whether health says healthy.", self._health.status is HealthStatus.HEALTHY),
            "uptime_seconds": ("Since the start.", service.uptime),
            "bus_connected": ("Whether the broker is there.", service.bus_connected),
            "http_requests_in_hand": (
                "Requests that wait for their answer.",
                service.rest.in_hand if service.rest else 0,
            ),
            "background_task_failures": ("Since the start.", service.background_failures),
            "dead_letters": (
                "Of this service's consumers, in the last ten minutes.",
                len(service.dead_letters.recent()),
            ),
            "dead_letters_unreadable": ("Messages of others that nobody could read.", service.dead_letters.unreadable),
        }
        for key, (text, value) in numbers.items():
            gauge = GaugeMetricFamily(f"ytarchive_{key}", text, labels=["service"])
            gauge.add_metric([name], float(value))
            yield gauge
        checks = GaugeMetricFamily("ytarchive_health_check", "1: passed.", labels=["service", "check"])
        for check, good in self._health.checks.items():
            checks.add_metric([name, check], float(good))
        yield checks
        yield from breaker_numbers(name, service.breakers())
        yield from own_numbers(name, service.metrics())


def breaker_numbers(service: str, states: Mapping[str, BreakerState]) -> Iterator[Metric]:
    labels = ["service", "host"]
    state = GaugeMetricFamily("ytarchive_breaker_state", "0 closed, 1 half-open, 2 open.", labels=labels)
    failures = GaugeMetricFamily("ytarchive_breaker_failures", "In a row.", labels=labels)
    retries = CounterMetricFamily("ytarchive_retries", "Calls that were tried again.", labels=labels)
    for host, known in states.items():
        state.add_metric([service, host], known.number)
        failures.add_metric([service, host], known.failures)
        retries.add_metric([service, host], known.retries)
    if states:
        yield from (state, failures, retries)


def own_numbers(service: str, told: Mapping[str, Any]) -> Iterator[Metric]:
    """`ytarchive_{service}_{name}` for each number, and for a map of numbers one with the label `key`. No texts."""
    for name, value in told.items():
        full = re.sub(r"\W", "_", f"ytarchive_{service}_{name}", flags=re.ASCII)
        help_text = f"{name.replace('_', ' ')}, as health tells it."
        if isinstance(value, int | float):
            yield GaugeMetricFamily(full, help_text, value=float(value))
        elif isinstance(value, Mapping):
            gauge = GaugeMetricFamily(full, help_text, labels=["key"])
            for key, part in value.items():
                if isinstance(part, int | float):
                    gauge.add_metric([str(key)], float(part))
            if gauge.samples:
                yield gauge
