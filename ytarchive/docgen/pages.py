"""The generated files: in docs/ the bus reference, the users of the broker, the OpenAPI documents and the command line
reference; in page/ the types of the REST API, and what the settings are for."""

import json
from pathlib import Path
from typing import Any

from bus import BusSettings
from services.common.infra.logs import VERSION
from services.common.names import SERVICES
from services.common.settings.load import Config
from services.common.web import openapi as openapi_document
from ytarchive.docgen import broker_users, bus_reference, cli_reference, page_types, settings_table
from ytarchive.stack import load_service
from ytarchive.web.server import own_routes

DOCS = Path(__file__).parents[2] / "docs"


def pages() -> dict[Path, str]:
    """Return the generated files, relative to docs/, with their content."""
    documents: dict[str, dict[str, Any]] = {name: openapi(name) for name in SERVICES}
    documents["web"] = web_openapi()
    return {
        Path("events.md"): bus_reference.events_page(),
        Path("asyncapi.json"): _json(bus_reference.asyncapi()),
        Path("nats-users.conf"): broker_users.page(),
        Path("cli.md"): cli_reference.page(),
        **{Path("openapi", f"{name}.json"): _json(document) for name, document in documents.items()},
        Path("../page/src/data/api.ts"): page_types.module(documents.values()),
        Path("../page/src/data/settings.ts"): settings_table.module((DOCS.parent / "config.toml").read_text("utf-8")),
    }


def stale(docs: Path = DOCS) -> list[Path]:
    """Return the generated files that are missing or differ from the code."""
    current = {docs / name: text for name, text in pages().items()}
    return [path for path, text in current.items() if not path.exists() or path.read_text(encoding="utf-8") != text]


def write(docs: Path = DOCS) -> None:
    for name, text in pages().items():
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(text, encoding="utf-8")


def openapi(name: str) -> dict[str, Any]:
    """Return the OpenAPI document of a service. The service is not started."""
    service = load_service(name)(Config(), BusSettings(url="nats://nowhere"))
    return service.surface().document


def web_openapi() -> dict[str, Any]:
    """Return the OpenAPI document of the page's own reads; what it forwards is described by its services."""
    return openapi_document.document("web", VERSION, own_routes())


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
