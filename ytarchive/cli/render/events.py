"""Events for people. Pure; upstream text goes through safe_text."""

from rich.text import Text

from bus.message import Envelope
from ytarchive.text import safe_text

_TITLE = 60
_SHOWN_FIELDS = (
    "job_id", "video_id", "target_index", "reason", "until", "instance", "name", "page_key", "plan_id", "egress",
)  # fmt: skip


def envelope_line(envelope: Envelope) -> Text:
    """Format an event as `21:03:11 download.started  video_id=… (download/3f2a, trace …)`."""
    fields = " ".join(
        f"{key}={safe_text(envelope.data[key], _TITLE)}"
        for key in _SHOWN_FIELDS
        if envelope.data.get(key) not in (None, "")
    )
    at = envelope.timestamp.astimezone()
    return Text.assemble(
        (f"{at:%H:%M:%S} ", "dim"),
        (f"{envelope.type:<22} ", "cyan"),
        fields,
        (f"  ({safe_text(envelope.source)}, trace {safe_text(envelope.trace_id)[:8]})", "dim"),
    )
