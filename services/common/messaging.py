"""How YTArchive uses the bus: its events, the fields of its dead letters, the secrets that they must not contain."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import structlog

from bus import BrokerUnavailable, Bus, BusSchema, BusSettings
from bus.dead_letter import encodable, text_field
from bus.errors import BrokerRefuses
from services.common.events import DeadLettered, catalogue
from services.common.settings.masking import mask_text

_log = structlog.get_logger("services.common")

_PAUSE = 1.0  # seconds between two attempts to connect
_MOST_VIDEOS = 1_000
_INDEX_LIMIT = 2**31


async def connect_bus(settings: BusSettings, *, source: str, wait: bool = False) -> Bus:
    """Connect as `source` (`service/instance`), as Bus.connect. `wait`: for as long as the broker is away; each attempt
    of `settings.connect_timeout` seconds that fails is logged with the address of the broker."""
    while True:
        try:
            return await Bus.connect(settings, source=source, schema=SCHEMA)
        except BrokerRefuses:
            raise
        except BrokerUnavailable as error:
            if not wait:
                raise
            _log.warning("broker_awaited", error_message=str(error))
        await asyncio.sleep(_PAUSE)


def _dead_letter_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    """Read what a message of unknown shape is about: job, dispatch, target and up to 1,000 videos."""
    index = data.get("target_index")
    return {
        "job_id": text_field(data, "job_id"),
        "video_id": text_field(data, "video_id"),
        "dispatch_id": text_field(data, "dispatch_id"),
        "target_index": index if isinstance(index, int) and 0 <= index < _INDEX_LIMIT else None,
        "video_ids": tuple(dict.fromkeys(_video_ids(data)))[:_MOST_VIDEOS],
        "follow_id": text_field(data, "follow_id"),
    }


def _video_ids(value: Any, depth: int = 2) -> Iterator[str]:
    """Yield what `video_id` and `video_ids` contain, in the message itself and in the entries of its lists."""
    if not isinstance(value, Mapping):
        return
    several = value.get("video_ids")
    for video_id in (value.get("video_id"), *(several if isinstance(several, list) else ())):
        if isinstance(video_id, str) and video_id:
            yield encodable(video_id[:128])
    for entries in value.values() if depth > 1 else ():
        for entry in entries if isinstance(entries, list) else ():
            yield from _video_ids(entry, depth - 1)


SCHEMA = BusSchema(
    events=catalogue(),
    dead_letter=DeadLettered,
    dead_letter_fields=_dead_letter_fields,
    mask=mask_text,
    expendable="logging-",  # a stopped logging service must not stop the others
    stream_owner="jobs",  # so that no other user of the broker needs the permission to change or purge streams
)
