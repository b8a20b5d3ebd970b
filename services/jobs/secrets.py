"""The API key of a job that was published by hand, inside its options. Ours hand it over beforehand (DESIGN,
deviations): this one is handed over now, kept nowhere, and its message erased."""

from bus.message import Envelope
from services.common.events import JobCreated


def api_key(envelope: Envelope) -> str | None:
    if envelope.type != JobCreated.subject:
        return None
    options = envelope.data.get("options")
    key = options.get("api_key") if isinstance(options, dict) else None
    return key if isinstance(key, str) and key else None
