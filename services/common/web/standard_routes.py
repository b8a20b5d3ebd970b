"""All routes of a service: its own, and those of every service: health, metrics, OpenAPI, docs."""

from collections.abc import Sequence
from functools import cached_property

from aiohttp import web

from services.common.status import ServiceStatus
from services.common.web import docs_page, openapi
from services.common.web.health import HealthReport
from services.common.web.metrics import Metrics
from services.common.web.routing import Call, Route

OPENAPI_PATH = f"{openapi.API}/openapi.json"
DOCS_PATH = f"{openapi.API}/docs"


class Surface:
    """The service need not be started: `document` does not depend on it."""

    def __init__(self, service: ServiceStatus, own: Sequence[Route]) -> None:
        """`own`: the routes of this service alone."""
        self._service = service
        self._own = own
        self.health = HealthReport(service)
        self.metrics = Metrics(service, self.health)

    @cached_property
    def routes(self) -> Sequence[Route]:
        return (self.health.route(), self.metrics.route(), *self._descriptions(), *self._own)

    @cached_property
    def document(self) -> openapi.Schema:
        return openapi.document(self._service.name, self._service.version, self.routes)

    def _descriptions(self) -> Sequence[Route]:
        return (
            Route(
                "GET",
                OPENAPI_PATH,
                self.describe,
                "The OpenAPI document",
                response=openapi.Schema,
                media_type="application/json",
                quiet=True,
                common=True,
            ),
            Route(
                "GET",
                DOCS_PATH,
                self.show,
                "This API as a web page",
                response=str,
                media_type="text/html",
                quiet=True,
                common=True,
            ),
        )

    async def describe(self, _call: Call) -> web.Response:
        """Answer with the bare document, as OpenAPI tools expect it."""
        return web.json_response(self.document)

    async def show(self, call: Call) -> web.Response:
        """Answer with one page without scripts, generated from the OpenAPI document."""
        origin = call.raw.url.origin()
        page = docs_page.page(self.document, str(origin), docs_page.others(self._service, origin))
        return web.Response(text=page, content_type="text/html", headers=docs_page.HEADERS)
