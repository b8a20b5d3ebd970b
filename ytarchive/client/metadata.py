"""Metadata of videos, playlists and channels as YouTube shows them now, and the quota of the Data API."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import quote

from services.common.domain.videos import Entry, PlaylistMetadata, Target, TargetKind, VideoMetadata
from services.common.errors import NetworkTimeout, VideoUnavailable
from services.common.validation import validate_channel_id
from services.metadata.api import BATCH, BatchAnswer, ChannelMetadata, PlaylistPage
from services.metadata.quota_status import QuotaStatus
from ytarchive.client.endpoints import System
from ytarchive.client.rest import Rest

TIMEOUT = 45.0  # seconds; the service itself gives up after 30
_ENTRIES_PAGE = 500
_LATE_ANSWERS = 20  # for one page of a list that the service is still reading


class MetadataClient:
    """The REST routes of the metadata service."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    @classmethod
    @asynccontextmanager
    async def open(cls, system: System) -> AsyncIterator[Self]:
        async with system.rest("metadata", answer_timeout=TIMEOUT) as rest:
            yield cls(rest)

    async def video(self, video_id: str) -> VideoMetadata:
        """Raise VideoUnavailable with the reason in its message, and the errors of lookups."""
        try:
            return VideoMetadata.model_validate(await self._rest.get(f"metadata/video/{video_id}"))
        except VideoUnavailable as error:
            reason = error.details.get("reason", "unavailable")
            raise VideoUnavailable(f"{error.message} ({reason})", **error.details) from error

    async def videos(self, ids: Sequence[str]) -> BatchAnswer:
        """Return the metadata of at most BATCH videos."""
        body = {"video_ids": list(ids[:BATCH])}
        return BatchAnswer.model_validate(await self._rest.send("POST", "metadata/batch", body))

    async def channel(self, target: Target) -> ChannelMetadata:
        return ChannelMetadata.model_validate(await self._rest.get(f"metadata/channel/{quote(target.id, safe='')}"))

    async def listing(
        self, target: Target, *, on_page: Callable[[int, int], None] = lambda _read, _total: None
    ) -> tuple[PlaylistMetadata, list[Entry]]:
        """Return a whole playlist, or all uploads of a channel. The service reads it from YouTube once. `on_page` gets
        how many of how many entries were read. Raise as `video`."""
        playlist_id = target.id
        if target.kind is TargetKind.CHANNEL:
            playlist_id = await self._uploads(target)
        entries: list[Entry] = []
        while True:
            page = await self._page(playlist_id, len(entries))
            entries += page.entries
            on_page(len(entries), page.total)
            if not page.entries or (page.complete and len(entries) >= page.total):
                return page.playlist, entries

    async def quota(self) -> QuotaStatus:
        return QuotaStatus.model_validate(await self._rest.get("metadata/quota"))

    async def _uploads(self, target: Target) -> str:
        """Derive the playlist of the uploads, or of those of a tab, from a channel id; look it up for another name."""
        uploads = f"UU{target.id[2:]}"
        if not validate_channel_id(target.id):
            uploads = (await self.channel(target)).uploads_playlist_id
        return f"{target.tab.list_prefix}{uploads[2:]}" if target.tab else uploads

    async def _page(self, playlist_id: str, offset: int) -> PlaylistPage:
        path = f"metadata/playlist/{playlist_id}"
        for _answer in range(_LATE_ANSWERS):
            try:
                found = await self._rest.get_unless_late(path, limit=_ENTRIES_PAGE, offset=offset)
                return PlaylistPage.model_validate(found)
            except NetworkTimeout as error:
                if "kind" in error.details:  # YouTube did not answer; else the list is long and still being read
                    raise
        raise NetworkTimeout(f"{playlist_id}: reading the list takes too long. Try again later.", reason="timeout")
