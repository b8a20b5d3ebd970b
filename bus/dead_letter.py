"""Build the dead letter of a message that could not be handled, from as much of it as can be read. Pure."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from nats.aio.msg import Msg

from bus.message import DeadLetter, UnreadableMessage
from bus.schema import BusSchema

PAYLOAD_LIMIT = 64 * 1024  # bytes
ERROR_LIMIT = 2_000  # characters


def dead_letter_of(message: Msg, consumer: str, error: Exception, schema: BusSchema) -> tuple[DeadLetter, str, str]:
    """Return the dead letter, the id of the message that caused it, and the trace id.

    A message without a readable id is identified by its position in the stream, so that the dead letter's id is the
    same on every attempt.
    """
    outer = _read(message.data)
    inner = outer.get("data")
    data = inner if isinstance(inner, dict) else {}
    meta = message.metadata
    place = f"{meta.stream}:{meta.sequence.stream}:{meta.timestamp.isoformat()}"
    payload = masked_payload(message.data, schema.mask)
    letter = schema.dead_letter(
        type=message.subject,
        consumer=consumer,
        sequence=meta.sequence.stream,
        error=schema.mask(encodable(f"{type(error).__name__}: {error}"[:ERROR_LIMIT])),
        payload=payload,
        size=len(message.data),
        whole=payload.encode() == message.data,
        unreadable=isinstance(error, UnreadableMessage),
        **schema.dead_letter_fields(data),
    )
    return letter, text_field(outer, "id") or place, text_field(outer, "trace_id") or str(uuid4())


def masked_payload(raw: bytes, mask: Callable[[str], str]) -> str:
    """Return a message as text of at most 64 KiB, with secrets masked."""
    text = mask(raw.decode("utf-8", errors="replace"))
    return text.encode()[:PAYLOAD_LIMIT].decode("utf-8", errors="ignore")


def text_field(data: Mapping[str, Any], name: str) -> str | None:
    """Return the first 128 characters of a text field; None when it is missing, empty or no text."""
    value = data.get(name)
    return encodable(value[:128]) if isinstance(value, str) and value else None


def encodable(text: str) -> str:
    """Replace lone surrogates: JSON can contain them, UTF-8 cannot."""
    return text.encode("utf-8", errors="replace").decode()


def _read(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
