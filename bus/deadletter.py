"""What is said of a message that nobody could handle."""

import json
from typing import Any
from uuid import uuid4

from nats.aio.msg import Msg

from bus.message import DeadLettered

PAYLOAD_LIMIT = 64 * 1024  # bytes


def last_words(message: Msg, consumer: str, error: Exception) -> tuple[DeadLettered, str, str]:
    """The dead letter, the id of its cause and its trace_id, from as much of the message as can be read.

    Without a readable id the cause is named by its place in the stream, so that the letter's id is the same each time.
    """
    outer = _read(message.data)
    inner = outer.get("data")
    data = inner if isinstance(inner, dict) else {}
    meta = message.metadata
    place = f"{meta.stream}:{meta.sequence.stream}:{meta.timestamp.isoformat()}"
    letter = DeadLettered(
        type=message.subject,
        consumer=consumer,
        sequence=meta.sequence.stream,
        error=f"{type(error).__name__}: {error}",
        payload=message.data[:PAYLOAD_LIMIT].decode("utf-8", errors="replace"),
        job_id=_text(data, "job_id"),
        video_id=_text(data, "video_id"),
        dispatch_id=_text(data, "dispatch_id"),
        target_index=index if isinstance(index := data.get("target_index"), int) else None,
    )
    return letter, _text(outer, "id") or place, _text(outer, "trace_id") or str(uuid4())


def _read(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(place: dict[str, Any], name: str) -> str | None:
    value = place.get(name)
    return value[:128] if isinstance(value, str) and value else None
