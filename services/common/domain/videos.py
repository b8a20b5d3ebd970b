"""What is requested of YouTube and what it answers: targets, entries of listings, metadata of videos and playlists."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, Field

from services.common.models import JobOptions, JobType
from services.common.rules import Facts, Rules, VideoKind
from services.common.validation import VIDEO_ID_PATTERN

LISTED_AT_MOST = 20_000  # uploads of a channel: YouTube lists the newest ones only
VideoId = Annotated[str, Field(pattern=VIDEO_ID_PATTERN)]
RawTarget = Annotated[str, Field(min_length=1, max_length=2048)]  # as entered by the user
Index = Annotated[int, Field(ge=0, lt=2**31)]


class TargetKind(StrEnum):
    VIDEOS = "videos"
    PLAYLIST = "playlist"
    CHANNEL = "channel"


class ChannelTab(StrEnum):
    """A page of a channel that lists some of its uploads."""

    VIDEOS = "videos"
    SHORTS = "shorts"
    STREAMS = "streams"

    @property
    def list_prefix(self) -> str:
        """The first letters of the id of the playlist with these uploads; the rest is that of the channel's id."""
        return {"videos": "UULF", "shorts": "UUSH", "streams": "UULV"}[self.value]


class Target(BaseModel, frozen=True):
    """A parsed target. `id` is a playlist id, a channel id (UC…), or the path of a channel (`@name`, `c/name`,
    `user/name`); `tab` limits a channel to one of its pages; `video_ids` is set for VIDEOS only (up to 100)."""

    kind: TargetKind
    id: str = ""
    tab: ChannelTab | None = None
    video_ids: tuple[VideoId, ...] = ()

    def __str__(self) -> str:
        if self.tab is not None:
            return f"{self.id}/{self.tab}"
        return self.id or ", ".join(self.video_ids)


class Look(BaseModel, frozen=True):
    """A look at an archived video: what is held of its media, which are fetched only if better ones are offered.
    `resolution`: lines of the shorter side. `alone`: nothing else is requested, so that a failure changes nothing."""

    resolution: int | None = None
    duration_seconds: float | None = None
    alone: bool = True


class Wanted(BaseModel, frozen=True):
    """What a job requests of one video. `quality` is `best`, `2160p` … `144p`, `audio` or a raw yt-dlp selector.
    `info`: yt-dlp's own record again, which otherwise comes with whatever files are fetched. `force`: what comes
    replaces what is held, even if it is worse. `look`: the media are held; only better ones are fetched.
    `listed_seconds`: the length in the listing. `rules`: the video is left out if none of these take it, which only an
    extraction can tell."""

    media: bool = True
    quality: str = "1080p"
    thumbnail: bool = True
    captions: tuple[str, ...] = ()
    metadata: bool = True
    info: bool = False
    force: bool = False
    look: Look | None = None
    listed_seconds: float | None = None
    rules: tuple[Rules, ...] = ()

    @property
    def only_looks(self) -> bool:
        """Whether all of it is held already, and it is only asked whether there is something better."""
        return self.look is not None and self.look.alone

    @classmethod
    def of(cls, type: JobType, options: JobOptions) -> Self:
        media = type is not JobType.METADATA_ONLY
        captions = tuple(dict.fromkeys(options.caption_languages)) if options.include_captions and media else ()
        return cls(
            media=media,
            quality=options.quality,
            thumbnail=media,
            captions=captions,
            metadata=options.include_metadata or not media,
            force=not options.skip_existing,
        )


class Entry(BaseModel, frozen=True):
    """One entry of a listing. `marked` is a hint of the listing (`private`, `deleted`) without consequences. It was
    published between `published_from` and `published_until`: a list tells "2 years ago", a feed the time."""

    video_id: VideoId
    title: str | None = None
    duration_seconds: float | None = None
    channel: str | None = None
    position: Index = Field(default=0, description="Position within the target, from 0.")
    marked: str | None = None
    described: bool = Field(default=False, description="Its metadata.fetched (Data API) follows the page.")
    kind: VideoKind | None = None
    published_from: AwareDatetime | None = None
    published_until: AwareDatetime | None = None
    views: int | None = None
    members_only: bool | None = None

    @property
    def facts(self) -> Facts:
        """What the list tells for rules."""
        return Facts(
            title=self.title,
            kind=self.kind,
            seconds=self.duration_seconds,
            earliest=self.published_from,
            latest=self.published_until,
            views=self.views,
            members_only=self.members_only,
        )


class VideoMetadata(BaseModel):
    """The metadata of a video. Times are UTC, `upload_date` is ISO (YYYY-MM-DD)."""

    video_id: str
    title: str
    description: str = ""
    channel: str | None = None
    channel_id: str | None = None
    channel_handle: str | None = None
    upload_date: str | None = None
    duration_seconds: float | None = None
    view_count: int | None = None
    like_count: int | None = None
    comment_count: int | None = None
    tags: list[str] = Field(default_factory=list)
    categories: list[str] = Field(default_factory=list)
    chapters: list[dict[str, Any]] = Field(default_factory=list)
    thumbnails: list[dict[str, Any]] = Field(default_factory=list)
    caption_languages: list[str] = Field(default_factory=list)
    language: str | None = None
    license: str | None = None
    age_limit: int | None = None
    availability: str | None = None
    live_status: str | None = None
    kind: str | None = Field(default=None, description="video, short, stream or premiere; the Data API does not know.")
    webpage_url: str | None = None

    @property
    def facts(self) -> Facts:
        """What is known for rules."""
        day = datetime.fromisoformat(self.upload_date).replace(tzinfo=UTC) if self.upload_date else None
        return Facts(
            title=self.title,
            description=self.description,
            kind=VideoKind(self.kind) if self.kind in set(VideoKind) else None,
            seconds=self.duration_seconds,
            earliest=day,
            latest=day + timedelta(days=1, microseconds=-1) if day else None,
            views=self.view_count,
            members_only=None if self.availability is None else self.availability == "subscriber_only",
            language=self.language,
        )


class PlaylistMetadata(BaseModel):
    """The metadata of a playlist or of a channel's uploads."""

    playlist_id: str
    title: str | None = None
    description: str | None = None
    channel: str | None = None
    channel_id: str | None = None
    channel_handle: str | None = None
    entry_count: int | None = Field(default=None, description="As announced; may omit unavailable videos.")
    webpage_url: str | None = None
    availability: str | None = None
    modified_date: str | None = None
