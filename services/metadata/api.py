"""REST of metadata: what YouTube says of a video, a playlist, a channel, and what of the quota is left."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.common.errors import InvalidRequest, NotFound, ServiceUnavailable
from services.common.models import Entry, ErrorCode, PlaylistMetadata, Target, TargetKind, VideoId, VideoMetadata
from services.common.targets import parse_target
from services.common.validation import PLAYLIST_ID_PATTERN
from services.common.web.paging import Page, PageQuery
from services.common.web.routing import Call, Route
from services.metadata.data_api.quota import Budget, Day, fingerprint, quota_day
from services.metadata.data_api.quota_store import SHOWN

if TYPE_CHECKING:
    from services.metadata.lookups import LookUps
    from services.metadata.service import MetadataService

_USED_UP = {429: "the Data API quota is used up, and `[youtube] keyless_fallback` is off"}
BATCH = 50  # ids: what one call of the Data API takes


class VideoPath(BaseModel):
    video_id: VideoId


class PlaylistPath(BaseModel):
    playlist_id: Annotated[str, Field(pattern=PLAYLIST_ID_PATTERN)]


class ChannelPath(BaseModel):
    """A channel's id, its handle with the @, or an older name (`c/name`, `user/name`; the slash as %2F)."""

    channel_id: Annotated[str, Field(pattern=r"^(UC[a-zA-Z0-9_-]{22}|@.{3,30}|(c|user)/.{1,100})$")]


class PlaylistPage(Page):
    """A playlist and a page of its lines. `total` is what the playlist announces until it was read to its end
    (`complete`); it was read at `read_at`, and is read anew when that is five minutes ago."""

    playlist: PlaylistMetadata
    entries: list[Entry]
    complete: bool
    read_at: AwareDatetime


class ChannelMetadata(BaseModel):
    """A channel. `uploads_playlist_id` lists all its videos; `video_count` is as announced."""

    channel_id: str | None
    handle: str | None
    title: str | None
    description: str | None
    uploads_playlist_id: str
    video_count: int | None


class BatchBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    video_ids: list[VideoId] = Field(min_length=1, max_length=BATCH)


class MissingVideo(BaseModel):
    """Why there is nothing on a video: `reason` is a GoneReason, or a short word (`timeout`, `not_described`)."""

    video_id: str
    code: ErrorCode
    reason: str
    message: str


class BatchAnswer(BaseModel):
    """Both in the order of the request, where each id counts once."""

    videos: list[VideoMetadata]
    missing: list[MissingVideo]


class KeyQuota(BaseModel):
    """Today of one API key, which is named by the beginning of its SHA-256. Units of the Data API.

    `exhausted`: not even people have any left; `warning`: 80 % of the limit are gone.
    """

    key: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    configured: bool
    used: int
    remaining_background: int
    remaining_people: int
    exhausted: bool
    warning: bool


class QuotaStatus(BaseModel):
    """`day` ends at midnight Pacific time, which is `resets_at`. `keys`: the configured one first, then those that
    jobs brought along and that spent something today."""

    configured: bool
    message: str
    day: date
    resets_at: AwareDatetime
    limit: int
    reserve: int
    keyless_fallback: bool
    keys: list[KeyQuota]


def key_quota(name: str, day: Day, budget: Budget, *, configured: bool) -> KeyQuota:
    """`name` is the key's fingerprint."""
    people = budget.left(day, background=False)
    return KeyQuota(
        key=name[:SHOWN],
        configured=configured,
        used=day.used,
        remaining_background=budget.left(day, background=True),
        remaining_people=people,
        exhausted=people == 0,
        warning=budget.warns(day),
    )


class MetadataApi:
    """The handlers of the routes below."""

    def __init__(self, metadata: "MetadataService") -> None:
        self._metadata = metadata

    @property
    def _look_ups(self) -> "LookUps":
        if self._metadata.look_ups is None:
            raise ServiceUnavailable("The service is not ready yet. Try again in a moment.")
        return self._metadata.look_ups

    async def video(self, call: Call, path: VideoPath) -> VideoMetadata:
        return await self._look_ups.video(path.video_id, call.trace_id)

    async def playlist(self, call: Call, path: PlaylistPath, query: PageQuery) -> PlaylistPage:
        target = Target(kind=TargetKind.PLAYLIST, id=path.playlist_id)
        reading = await self._look_ups.playlist(target, query.limit, query.offset, call.trace_id)
        return PlaylistPage(
            playlist=reading.playlist or PlaylistMetadata(playlist_id=path.playlist_id),
            entries=reading.entries[query.offset : query.offset + query.limit],
            complete=reading.complete and not reading.capped,
            read_at=reading.read_at,
            total=reading.total,
            limit=query.limit,
            offset=query.offset,
        )

    async def channel(self, call: Call, path: ChannelPath) -> ChannelMetadata:
        found = await self._look_ups.channel(_channel(path.channel_id), call.trace_id)
        return ChannelMetadata(
            channel_id=found.channel_id,
            handle=found.channel_handle,
            title=found.title,
            description=found.description,
            uploads_playlist_id=found.playlist_id,
            video_count=found.entry_count,
        )

    async def batch(self, call: Call, body: BatchBody) -> BatchAnswer:
        found, missing = await self._look_ups.videos(body.video_ids, call.trace_id)
        return BatchAnswer(
            videos=[found[video_id] for video_id in dict.fromkeys(body.video_ids) if video_id in found],
            missing=[
                MissingVideo(
                    video_id=video_id,
                    code=error.code,
                    reason=str(error.details.get("reason", "unavailable")),
                    message=error.message,
                )
                for video_id, error in missing.items()
            ],
        )

    async def quota(self, _call: Call) -> QuotaStatus:
        ledger, key = self._metadata.ledger, self._metadata.keys.configured
        youtube = self._metadata.config.youtube
        days = await ledger.everyone()
        own = fingerprint(key.secret) if key else ""
        ordered = ([own] if own else []) + sorted(days.keys() - {own})
        told = "This key is used" if key else "No API key is configured: listings and look-ups go without the Data API"
        return QuotaStatus(
            configured=key is not None,
            message=f"{told}." if key is None else f"{told}: set by {key.origin}.",
            day=quota_day(datetime.now(UTC), ledger.zone),
            resets_at=ledger.resets_at(),
            limit=ledger.budget.limit,
            reserve=ledger.budget.reserve,
            keyless_fallback=youtube.keyless_fallback,
            keys=[key_quota(name, days.get(name, Day()), ledger.budget, configured=name == own) for name in ordered],
        )


def _channel(text: str) -> Target:
    try:
        parsed = parse_target(text)
    except InvalidRequest as error:
        raise NotFound(f"{text!a} is no channel: give its id (UC…) or its @handle.") from error
    if parsed.kind is not TargetKind.CHANNEL:
        raise NotFound(f"{text!a} is no channel: give its id (UC…) or its @handle.")
    return Target(kind=TargetKind.CHANNEL, id=parsed.id)


def routes(metadata: "MetadataService") -> Sequence[Route]:
    api, at = MetadataApi(metadata), "/api/v1/metadata"
    return (
        Route(
            "GET", f"{at}/video/{{video_id}}", api.video,
            summary="What YouTube says of a video", path_model=VideoPath, response=VideoMetadata,
            needs_bus=True, also=_USED_UP,
        ),
        Route(
            "GET", f"{at}/playlist/{{playlist_id}}", api.playlist,
            summary="A playlist and a page of its lines", path_model=PlaylistPath, query=PageQuery,
            response=PlaylistPage, needs_bus=True, also=_USED_UP,
        ),
        Route(
            "GET", f"{at}/channel/{{channel_id}}", api.channel,
            summary="A channel, by its id or @handle", path_model=ChannelPath, response=ChannelMetadata,
            needs_bus=True, also=_USED_UP,
        ),
        Route(
            "POST", f"{at}/batch", api.batch,
            summary="What YouTube says of up to 50 videos", body=BatchBody, response=BatchAnswer,
            needs_bus=True, also=_USED_UP,
        ),
        Route(
            "GET", f"{at}/quota", api.quota,
            summary="What is left of the Data API quota today", response=QuotaStatus, needs_bus=True,
        ),
    )  # fmt: skip
