"""Asking metadata and storage, over REST, what the site has and what of it is held."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from services.common.errors import NetworkTimeout, VideoUnavailable
from services.common.models import Entry, Held, PlaylistMetadata, Target, TargetKind, VideoMetadata
from services.common.settings.load import Config
from services.common.validation import validate_channel_id
from services.metadata.api import BATCH, BatchAnswer, ChannelMetadata, PlaylistPage
from services.metadata.quota_status import QuotaStatus
from services.storage.reporting.estimate import MAX_IDS, Holdings, Throughput
from ytarchive.client.rest import Rest

PATIENCE = 45.0  # seconds; a look-up itself gives up after 30
_PAGE = 500  # lines
_PAUSES = 20  # times that a list that is still being read may be late


async def video(metadata: Rest, video_id: str) -> VideoMetadata:
    """Raises VideoUnavailable that names the reason, and what else a look-up may."""
    try:
        return VideoMetadata.model_validate(await metadata.get(f"metadata/video/{video_id}"))
    except VideoUnavailable as error:
        reason = error.details.get("reason", "unavailable")
        raise VideoUnavailable(f"{error.message} ({reason})", **error.details) from error


async def videos(metadata: Rest, ids: Sequence[str]) -> BatchAnswer:
    """Of at most BATCH ids."""
    return BatchAnswer.model_validate(await metadata.send("POST", "metadata/batch", {"video_ids": list(ids[:BATCH])}))


async def channel(metadata: Rest, target: Target) -> ChannelMetadata:
    return ChannelMetadata.model_validate(await metadata.get(f"metadata/channel/{quote(target.id, safe='')}"))


async def listing(metadata: Rest, target: Target) -> tuple[PlaylistMetadata, list[Entry]]:
    """A whole playlist, or all uploads of a channel; it is read from the site once. Raises as `video`."""
    playlist_id = target.id
    if target.kind is TargetKind.CHANNEL:
        playlist_id = await _uploads(metadata, target)
    entries: list[Entry] = []
    while True:
        page = await _page(metadata, playlist_id, len(entries))
        entries += page.entries
        if not page.entries or (page.complete and len(entries) >= page.total):
            return page.playlist, entries


async def _uploads(metadata: Rest, target: Target) -> str:
    """A channel's id names its uploads; any other name has to be looked up."""
    if validate_channel_id(target.id):
        return f"UU{target.id[2:]}"
    return (await channel(metadata, target)).uploads_playlist_id


async def _page(metadata: Rest, playlist_id: str, offset: int) -> PlaylistPage:
    for _pause in range(_PAUSES):
        try:
            found = await metadata.get_when_read(f"metadata/playlist/{playlist_id}", limit=_PAGE, offset=offset)
            return PlaylistPage.model_validate(found)
        except NetworkTimeout as error:
            if "kind" in error.details:  # the site did not answer; else the list is just long, and is being read on
                raise
    raise NetworkTimeout(f"{playlist_id}: reading it takes too long. Try again later.", reason="timeout")


async def quota(metadata: Rest) -> QuotaStatus:
    return QuotaStatus.model_validate(await metadata.get("metadata/quota"))


async def held(storage: Rest, root: str | None, ids: Iterable[str]) -> Mapping[str, Held]:
    """By id. `root` None: base_path, whatever that is there."""
    wanted = list(dict.fromkeys(ids))
    found: dict[str, Held] = {}
    for start in range(0, len(wanted), MAX_IDS):
        body = {**_at(root), "video_ids": wanted[start : start + MAX_IDS]}
        answer = Holdings.model_validate(await storage.send("POST", "storage/holdings", body))
        found |= {one.video_id: one for one in answer.held}
    return found


async def held_anywhere(storage: Rest, config: Config, ids: Sequence[str]) -> set[str]:
    """Those whose media are held in one of the configured roots."""
    roots = [await held(storage, str(root), ids) for root in config.storage.all_roots]
    return {one.video_id for root in roots for one in root.values() if one.qualities}


async def throughput(storage: Rest, root: str | None, quality: str) -> Throughput:
    return Throughput.model_validate(await storage.get("storage/throughput", quality=quality, **_at(root)))


def _at(root: str | None) -> dict[str, Any]:
    return {} if root is None else {"root": root}
