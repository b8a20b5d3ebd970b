"""The Data API as a source: one unit of quota for 50 entries of a list, one for the metadata of 50 videos."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from services.common.domain.failures import Failure, FailureKind, GoneReason
from services.common.domain.videos import Entry, PlaylistMetadata, Target, TargetKind, VideoMetadata
from services.common.models import ErrorCode
from services.common.settings.retry_policy import BREAKER_OPEN
from services.common.validation import validate_channel_id, validate_playlist_id
from services.metadata.data_api import resources
from services.metadata.data_api.client import DataApi, Json
from services.metadata.data_api.errors import ApiRefused, RefusalKind
from services.metadata.data_api.keys import ApiKey
from services.metadata.pages import ListingPage, given_page
from services.metadata.sources import Part, SourceFailed, SourceGivesUp

PAGE = 50  # entries or ids of one call: the maximum of the API
_VIDEO_PARTS = "snippet,contentDetails,status,statistics,liveStreamingDetails"
_MEND = (
    "Put a valid key there (Google Cloud console, APIs & Services, Credentials; the YouTube Data API v3 must be enabled"
    " for its project), or remove it: without a key listings work too"
)


class DataApiSource:
    """A source for one listing or lookup with one key. It gives up in favour of the next source for `c/name`, albums,
    lists that only a browser can see, for a used-up quota, and when the API does not answer.

    `waits`: wait for the reset of a used-up quota instead (`[youtube] keyless_fallback` false). Lookups of people are
    not `background` and may use the reserve.
    """

    name = "data_api"
    full_page = 0

    def __init__(self, api: DataApi, key: ApiKey, *, waits: bool = False, background: bool = True) -> None:
        self._api = api
        self._key = key
        self._waits = waits
        self._background = background
        self._described_ids: set[str] = set()  # videos described already: a list may contain a video twice

    async def parts(self, target: Target, offset: int, token: str) -> AsyncGenerator[Part, None]:
        """Implement Source.parts; `token` is the page token of entry `offset`."""
        try:
            parts = self._videos(target) if target.kind is TargetKind.VIDEOS else self._list_of(target, offset, token)
            async with aclosing(parts):
                async for part in parts:
                    yield part
        except ApiRefused as refused:
            raise self._failed(refused) from refused

    async def head(self, target: Target) -> PlaylistMetadata:
        """Return the metadata of a playlist or channel itself. Raise SourceFailed."""
        try:
            return await self._playlist(target)
        except ApiRefused as refused:
            raise self._failed(refused) from refused

    async def describe(self, ids: Sequence[str]) -> dict[str, VideoMetadata]:
        """Return those of up to 50 videos that the API has. Raises SourceFailed."""
        try:
            return await self._described(ids)
        except ApiRefused as refused:
            raise self._failed(refused) from refused

    async def _list_of(self, target: Target, offset: int, token: str) -> AsyncGenerator[Part, None]:
        playlist = await self._playlist(target)
        async with aclosing(self._pages(playlist.playlist_id, offset, token)) as pages:
            first = await anext(pages, None)  # an unreadable list must not be announced
            yield playlist
            if first is not None:
                yield first
            async for page in pages:
                yield page

    async def _videos(self, target: Target) -> AsyncGenerator[Part, None]:
        entries = given_page(target).entries
        for start in range(0, len(entries), PAGE):
            some = entries[start : start + PAGE]
            known = await self._described([entry.video_id for entry in some])
            filled = tuple(_given_entry(entry, known.get(entry.video_id)) for entry in some)
            yield ListingPage(start, start + len(some), filled, described=self._new(known))

    async def _playlist(self, target: Target) -> PlaylistMetadata:
        if target.kind is TargetKind.PLAYLIST:
            if not validate_playlist_id(target.id):
                raise ApiRefused(RefusalKind.UNABLE, "unknown_list", f"the Data API does not have {target.id}")
            answer = await self._list("playlists", part="snippet,contentDetails,status", id=target.id)
            found = [resources.playlist_metadata(one) for one in answer.get("items", ())]
            # the uploads of a channel exist even when the API does not describe them
            return found[0] if found else PlaylistMetadata(playlist_id=target.id)
        answer = await self._list("channels", part="snippet,contentDetails,statistics", **_channel_filter(target.id))
        for channel in answer.get("items", ()):
            if uploads := resources.uploads_metadata(channel, target.tab):
                return uploads
        raise ApiRefused(
            RefusalKind.UNABLE, "channelNotFound", f"the Data API knows no channel {target.id}", HTTPStatus.NOT_FOUND
        )

    async def _pages(self, playlist_id: str, offset: int, token: str) -> AsyncGenerator[ListingPage, None]:
        if not token:
            offset = 0  # the API resumes from its tokens only
        first = True
        while token or first:
            try:
                answer = await self._lines(playlist_id, token)
            except ApiRefused as refused:
                if refused.kind is not RefusalKind.PAGE_TOKEN or not first or not token:
                    raise
                offset, token = 0, ""  # from an earlier attempt, and expired
                continue
            first = False
            items = answer.get("items") or ()
            following = answer.get("nextPageToken") or ""
            token = following if following != token else ""
            if items:
                yield await self._page(items, offset, token)
                offset += len(items)

    async def _lines(self, playlist_id: str, token: str) -> Json:
        more = {"pageToken": token} if token else {}
        return await self._list(
            "playlistItems", part="snippet,contentDetails,status", playlistId=playlist_id, maxResults=PAGE, **more
        )

    async def _page(self, items: Sequence[Json], offset: int, token: str) -> ListingPage:
        lines = [(item, offset + n, video) for n, item in enumerate(items) if (video := resources.item_video(item))]
        known = await self._described(list(dict.fromkeys(video for _item, _position, video in lines)))
        entries = (resources.entry_of(item, video, position, known.get(video)) for item, position, video in lines)
        return ListingPage(offset, offset + len(items), tuple(entries), token=token, described=self._new(known))

    async def _described(self, ids: Sequence[str]) -> dict[str, VideoMetadata]:
        """Return those of up to 50 videos that the API has. A video that the API omits is not necessarily
        unavailable."""
        if not ids:
            return {}
        answer = await self._list("videos", part=_VIDEO_PARTS, id=",".join(ids), maxResults=PAGE)
        return {video["id"]: resources.video_metadata(video) for video in answer.get("items", ()) if video["id"] in ids}

    def _new(self, known: dict[str, VideoMetadata]) -> tuple[VideoMetadata, ...]:
        new = tuple(metadata for video_id, metadata in known.items() if video_id not in self._described_ids)
        self._described_ids |= known.keys()
        return new

    async def _list(self, resource: str, **query: Any) -> Json:
        return await self._api.list(self._key.secret, resource, background=self._background, **query)

    def _failed(self, refused: ApiRefused) -> SourceFailed:
        match refused.kind:
            case RefusalKind.KEY:
                message = f"YouTube refuses {_named(self._key)}: {refused.message} {_MEND}"
                failure = _failure(FailureKind.LOCAL, ErrorCode.INVALID_CREDENTIALS, refused.reason, message)
                return SourceFailed(failure, final=True)
            case RefusalKind.QUOTA:
                until = self._api.renewed_by()
                message = f"{refused.message}; it is renewed at {until:%Y-%m-%d %H:%M} UTC"
                failure = _failure(FailureKind.NOT_YET, ErrorCode.API_QUOTA_EXCEEDED, refused.reason, message, until)
                if self._waits:
                    return SourceFailed(failure)
            case RefusalKind.UNABLE if refused.status == HTTPStatus.NOT_FOUND:
                failure = _failure(FailureKind.GONE, ErrorCode.VIDEO_UNAVAILABLE, GoneReason.MISSING, refused.message)
            case RefusalKind.UNABLE:
                failure = _failure(FailureKind.PASSING, ErrorCode.VIDEO_UNAVAILABLE, refused.reason, refused.message)
            case _:
                silent = refused.status is None and refused.reason != BREAKER_OPEN
                code = ErrorCode.NETWORK_TIMEOUT if silent else ErrorCode.SERVICE_UNAVAILABLE
                wait = refused.retry_after
                again = datetime.now(UTC) + timedelta(seconds=wait) if wait else None
                failure = _failure(FailureKind.PASSING, code, refused.reason, refused.message, again)
        return SourceGivesUp(failure)


def _channel_filter(channel: str) -> dict[str, str]:
    """Raises ApiRefused for a name that the API has no filter for."""
    if validate_channel_id(channel):
        return {"id": channel}
    if channel.startswith("@"):
        return {"forHandle": channel}
    if channel.startswith("user/"):
        return {"forUsername": channel.removeprefix("user/")}
    raise ApiRefused(RefusalKind.UNABLE, "unknown_name", f"the Data API cannot look up {channel}")


def _given_entry(entry: Entry, described: VideoMetadata | None) -> Entry:
    if described is None:
        return entry
    return entry.model_copy(
        update={
            "title": described.title,
            "duration_seconds": described.duration_seconds,
            "channel": described.channel,
            "described": True,
        }
    )


def _named(key: ApiKey) -> str:
    return key.origin if key.origin.startswith("the API key") else f"the API key that {key.origin} sets"


def _failure(
    kind: FailureKind, code: ErrorCode, reason: str, message: str, retry_after: datetime | None = None
) -> Failure:
    return Failure(kind=kind, code=code, reason=reason, message=message, retry_after=retry_after)
