"""REST of the metadata service: metadata of videos, playlists and channels, and the quota of the Data API."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.common.domain.follows import RulesTrial
from services.common.domain.videos import (
    Entry,
    PlaylistMetadata,
    RawTarget,
    Target,
    TargetKind,
    VideoId,
    VideoMetadata,
)
from services.common.errors import InvalidRequest, NotFound
from services.common.models import ErrorCode
from services.common.rules import Rules
from services.common.targets import parse_target
from services.common.validation import LIST_ID_PATTERN
from services.common.web.paging import Page, PageQuery
from services.common.web.routing import Call, Route
from services.metadata.looks import Looks
from services.metadata.lookups import Lookups
from services.metadata.quota_status import QuotaReport, QuotaStatus

_USED_UP = {
    429: "the quota of the Data API is used up, and `[youtube] keyless_fallback` is off; or this client sends too many "
    "requests"
}
BATCH = 50  # ids: the maximum of one call of the Data API


class VideoPath(BaseModel):
    video_id: VideoId


class PlaylistPath(BaseModel):
    playlist_id: Annotated[str, Field(pattern=LIST_ID_PATTERN)]


class ChannelPath(BaseModel):
    """A channel's id, its handle with the @, or an older name (`c/name`, `user/name`; the slash as %2F)."""

    channel_id: Annotated[str, Field(pattern=r"^(UC[a-zA-Z0-9_-]{22}|@.{3,30}|(c|user)/.{1,100})$")]


class PlaylistPage(Page):
    """A playlist and one page of its entries. `total` is what the playlist announces until all entries were read
    (`complete`). It was read at `read_at`, and is read again five minutes later."""

    playlist: PlaylistMetadata
    entries: list[Entry]
    complete: bool
    read_at: AwareDatetime


class ChannelMetadata(BaseModel):
    """A channel. `uploads_playlist_id` lists all its videos; `video_count` is what the channel announces."""

    channel_id: str | None
    handle: str | None
    title: str | None
    description: str | None
    uploads_playlist_id: str
    video_count: int | None


class BatchBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    video_ids: list[VideoId] = Field(min_length=1, max_length=BATCH)


class TrialBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    target: RawTarget
    rules: Rules = Rules()


class MissingVideo(BaseModel):
    """A video without metadata. `reason` is a GoneReason, or a short word (`timeout`, `not_described`)."""

    video_id: str
    code: ErrorCode
    reason: str
    message: str


class BatchAnswer(BaseModel):
    """Both lists are in the order of the request, without duplicates."""

    videos: list[VideoMetadata]
    missing: list[MissingVideo]


async def show_video(call: Call, path: VideoPath, lookups: Lookups) -> VideoMetadata:
    return await lookups.video(path.video_id, call.trace_id)


async def show_playlist(call: Call, path: PlaylistPath, query: PageQuery, lookups: Lookups) -> PlaylistPage:
    target = Target(kind=TargetKind.PLAYLIST, id=path.playlist_id)
    listing = await lookups.playlist(target, query.limit, query.offset, call.trace_id)
    return PlaylistPage(
        playlist=listing.playlist or PlaylistMetadata(playlist_id=path.playlist_id),
        entries=listing.entries[query.offset : query.offset + query.limit],
        complete=listing.complete and not listing.capped,
        read_at=listing.read_at,
        total=listing.total,
        limit=query.limit,
        offset=query.offset,
    )


async def show_channel(call: Call, path: ChannelPath, lookups: Lookups) -> ChannelMetadata:
    found = await lookups.channel(_channel(path.channel_id), call.trace_id)
    return ChannelMetadata(
        channel_id=found.channel_id,
        handle=found.channel_handle,
        title=found.title,
        description=found.description,
        uploads_playlist_id=found.playlist_id,
        video_count=found.entry_count,
    )


async def show_videos(call: Call, body: BatchBody, lookups: Lookups) -> BatchAnswer:
    found, missing = await lookups.videos(body.video_ids, call.trace_id)
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


async def try_rules(call: Call, body: TrialBody, looks: Looks) -> RulesTrial:
    parsed = parse_target(body.target)
    if parsed.kind is TargetKind.VIDEOS:
        raise InvalidRequest(f"{body.target} is a video: give a channel or a playlist.", target=body.target)
    return await looks.try_rules(Target(kind=parsed.kind, id=parsed.id, tab=parsed.tab), body.rules, call.trace_id)


async def show_quota(_call: Call, report: QuotaReport) -> QuotaStatus:
    return await report.status()


def _channel(text: str) -> Target:
    try:
        parsed = parse_target(text)
    except InvalidRequest as error:
        raise NotFound(f"{text!a} is not a channel: give its id (UC…) or its @handle.") from error
    if parsed.kind is not TargetKind.CHANNEL:
        raise NotFound(f"{text!a} is not a channel: give its id (UC…) or its @handle.")
    return Target(kind=TargetKind.CHANNEL, id=parsed.id)


_AT = "/api/v1/metadata"
ROUTES: Sequence[Route] = (
    Route(
        "GET", f"{_AT}/video/{{video_id}}", show_video,
        summary="Metadata of a video, as YouTube has it now", path_model=VideoPath, response=VideoMetadata,
        needs_bus=True, also=_USED_UP,
    ),
    Route(
        "GET", f"{_AT}/playlist/{{playlist_id}}", show_playlist,
        summary="A playlist and one page of its entries", path_model=PlaylistPath, query=PageQuery,
        response=PlaylistPage, needs_bus=True, also=_USED_UP,
    ),
    Route(
        "GET", f"{_AT}/channel/{{channel_id}}", show_channel,
        summary="A channel, by its id or @handle", path_model=ChannelPath, response=ChannelMetadata,
        needs_bus=True, also=_USED_UP,
    ),
    Route(
        "POST", f"{_AT}/batch", show_videos,
        summary="Metadata of up to 50 videos, as YouTube has it now", body=BatchBody, response=BatchAnswer,
        needs_bus=True, also=_USED_UP, scope="read",
    ),
    Route(
        "POST", f"{_AT}/rules/try", try_rules,
        summary="What rules would do with the newest hundred videos of a channel or playlist", body=TrialBody,
        response=RulesTrial, needs_bus=True, scope="request",
    ),
    Route(
        "GET", f"{_AT}/quota", show_quota,
        summary="The Data API quota of today", response=QuotaStatus, needs_bus=True,
    ),
)  # fmt: skip
