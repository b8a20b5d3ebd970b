"""What is said of a message that nobody could handle."""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from nats.aio.msg import Msg

from bus.message import DeadLettered, UnreadableMessage

PAYLOAD_LIMIT = 64 * 1024  # bytes
ERROR_LIMIT = 2_000  # characters
_VIDEOS = 1_000
_INDEX_LIMIT = 2**31
# A letter is kept for days, and shown: a key that somebody put into a message does not go into it.
_MASK = "********"
_SECRETS = (
    (re.compile(r'(?i)("[^"\\]{0,50}(?:api_?key|token|password|secret)"\s*:\s*)"(?:[^"\\]|\\.)*"?'), rf'\1"{_MASK}"'),
    (re.compile(r"AIza[0-9A-Za-z_-]{35}"), _MASK),
)


def last_words(message: Msg, consumer: str, error: Exception) -> tuple[DeadLettered, str, str]:
    """The dead letter, the id of its cause and its trace_id, from as much of the message as can be read.

    Without a readable id the cause is named by its place in the stream, so that the letter's id is the same each time.
    """
    outer = _read(message.data)
    inner = outer.get("data")
    data = inner if isinstance(inner, dict) else {}
    meta = message.metadata
    place = f"{meta.stream}:{meta.sequence.stream}:{meta.timestamp.isoformat()}"
    payload = shown(message.data)
    letter = DeadLettered(
        type=message.subject,
        consumer=consumer,
        sequence=meta.sequence.stream,
        error=_masked(_printable(f"{type(error).__name__}: {error}"[:ERROR_LIMIT])),
        payload=payload,
        size=len(message.data),
        whole=payload.encode() == message.data,
        unreadable=isinstance(error, UnreadableMessage),
        job_id=_text(data, "job_id"),
        video_id=_text(data, "video_id"),
        dispatch_id=_text(data, "dispatch_id"),
        target_index=_index(data.get("target_index")),
        video_ids=tuple(dict.fromkeys(_video_ids(data)))[:_VIDEOS],
    )
    return letter, _text(outer, "id") or place, _text(outer, "trace_id") or str(uuid4())


def shown(raw: bytes) -> str:
    """The payload of a dead letter: without secrets, at most 64 KiB."""
    return _masked(raw.decode("utf-8", errors="replace")).encode()[:PAYLOAD_LIMIT].decode("utf-8", errors="ignore")


def _masked(text: str) -> str:
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _read(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(place: dict[str, Any], name: str) -> str | None:
    value = place.get(name)
    return _printable(value[:128]) if isinstance(value, str) and value else None


def _index(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value < _INDEX_LIMIT else None


def _video_ids(value: Any, depth: int = 2) -> Iterator[str]:
    """What stands under `video_id` and `video_ids`, in the message itself and in the lines of its lists."""
    if not isinstance(value, dict):
        return
    named = value.get("video_ids")
    for one in (value.get("video_id"), *(named if isinstance(named, list) else ())):
        if isinstance(one, str) and one:
            yield _printable(one[:128])
    for lines in value.values() if depth > 1 else ():
        for line in lines if isinstance(lines, list) else ():
            yield from _video_ids(line, depth - 1)


def _printable(text: str) -> str:
    """JSON may name half a surrogate pair, which no message can carry."""
    return text.encode("utf-8", errors="replace").decode()
