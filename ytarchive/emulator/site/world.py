"""Content of the emulated YouTube: channels, videos and playlists. It can be changed at any time."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

Json = dict[str, Any]

HEIGHTS = (144, 240, 360, 480, 720, 1080)
UHD_HEIGHTS = (1440, 2160)
THUMBNAILS = ("maxresdefault", "sddefault", "hqdefault", "mqdefault", "default")


class VideoKind(StrEnum):
    """Availability of a video. Every kind except OK and LIVE is a reason for YouTube to refuse playback."""

    OK = "ok"
    LIVE = "live"  # on air: there is a manifest, but the streams in it do not exist
    PRIVATE = "private"
    DELETED = "deleted"
    MISSING = "missing"
    TERMINATED = "terminated"
    COPYRIGHT = "copyright"
    GEO = "geo"
    AGE = "age"
    MEMBERS = "members"
    UPCOMING = "upcoming"
    PREMIERE = "premiere"
    ENDED_LIVE = "ended_live"
    BOT_CHECK = "bot_check"
    RATE_LIMIT = "rate_limit"
    UNEXPLAINED = "unexplained"  # the plain text of a throttled address
    EMBEDDING = "embedding"
    NETWORK = "network"
    RELOAD = "reload"  # what an outdated yt-dlp is told
    ERROR = "error"
    OTHER_VIDEO = "other_video"  # the player answers for another video


UNAVAILABLE_IN_LISTINGS = frozenset(
    {VideoKind.PRIVATE, VideoKind.DELETED, VideoKind.MISSING, VideoKind.TERMINATED, VideoKind.COPYRIGHT},
)
"""Kinds that a playlist shows as `[Private video]` or `[Deleted video]` only."""


class WorldError(ValueError):
    """The description of a video, playlist or channel is invalid. The message contains the reason."""


class _FromJson:
    """Base of dataclasses that are created from JSON."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Create an object from JSON; lists become tuples. Raise WorldError for unknown, missing or invalid fields."""
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]  # every subclass is a dataclass
        if unknown := set(data) - known:
            raise WorldError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}")
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise WorldError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Channel(_FromJson):
    """A channel. `id` is `UC` plus 22 characters, `handle` includes the `@`, `names` are /c/ and /user/ names."""

    id: str
    handle: str
    title: str
    description: str = ""
    names: tuple[str, ...] = ()
    uploads: tuple[str, ...] = ()
    subscribers: int = 1200

    @property
    def uploads_playlist(self) -> str:
        return "UU" + self.id[2:]


@dataclass(frozen=True, slots=True)
class Video(_FromJson):
    """A video. `duration` is in seconds, `upload_date` is YYYY-MM-DD, `starts_at` (for upcoming ones) is ISO 8601.

    `size` is the size in bytes to which every video format is padded, for tests of resume, cancel and throttling;
    `missing` is the number of bytes by which every format is shorter than announced.
    `thumbnails` lists the sizes available as JPEG; if `webp` is set, the same sizes are available as WebP.
    """

    id: str
    title: str
    channel: str
    description: str = ""
    duration: int = 2
    upload_date: str = "2024-03-01"
    heights: tuple[int, ...] = HEIGHTS
    captions: tuple[str, ...] = ("en",)
    auto_captions: tuple[str, ...] = ()
    thumbnails: tuple[str, ...] = THUMBNAILS
    webp: bool = True
    kind: VideoKind = VideoKind.OK
    size: int = 0
    missing: int = 0
    views: int = 1000
    likes: int = 10
    tags: tuple[str, ...] = ()
    category: str = "Education"
    countries: tuple[str, ...] = ("DE", "FR")
    starts_at: str | None = None
    tab: str = "videos"  # of its channel: videos, shorts or streams
    vertical: bool = False  # heights are then widths
    listed_duration: int | None = None  # in listings, if it is another one
    streamed_at: str | None = None  # when the live stream began that it is the recording of (ISO 8601)
    without_url: tuple[int, ...] = ()  # heights of streams that come without an address (SABR)
    captions_need_token: bool = False  # a PO token
    published: str | None = None  # ISO 8601, if not at noon of `upload_date`

    @property
    def shown_duration(self) -> int:
        """The length in listings."""
        return self.duration if self.listed_duration is None else self.listed_duration

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", VideoKind(self.kind))
        if unknown := set(self.heights) - {*HEIGHTS, *UHD_HEIGHTS}:
            raise WorldError(f"no such height: {sorted(unknown)}")
        if unknown_names := set(self.thumbnails) - set(THUMBNAILS):
            raise WorldError(f"no such thumbnail: {sorted(unknown_names)}")


def published_at(video: Video) -> datetime:
    return datetime.fromisoformat(video.published or f"{video.upload_date}T12:00:00+00:00")


@dataclass(frozen=True, slots=True)
class Playlist(_FromJson):
    """A playlist. `entries` are video ids in order; unknown ids are listed as deleted videos. `announced`: the number
    of entries in its header, if it differs; `cut_after`: pages end there without a way to the next one."""

    id: str
    title: str
    channel: str
    description: str = ""
    entries: tuple[str, ...] = ()
    views: int = 100
    announced: int | None = None
    cut_after: int | None = None

    @property
    def count(self) -> int:
        """The number of entries in the header."""
        return len(self.entries) if self.announced is None else self.announced


_IDS: dict[type, re.Pattern[str]] = {
    Channel: re.compile(r"UC[\w-]{22}"),
    Video: re.compile(r"[\w-]{11}"),
    Playlist: re.compile(r"(PL|UU|FL|RD|OL)[\w-]{16,41}|WL|LL|LM"),
}
PRIVATE_LISTS = frozenset({"WL", "LL", "LM"})
"""Ids of lists that only the account sees whose cookies come with the request."""


_UPLOADS = {"UULF": "videos", "UUSH": "shorts", "UULV": "streams", "UU": None}  # prefix of an id -> tab


@dataclass(slots=True)
class World:
    """All channels, videos and playlists. `albums`: pages of YouTube Music, and the playlists that they lead to.
    `kind_of_all` overrides the kind of all videos (as for a blocked address)."""

    channels: dict[str, Channel] = field(default_factory=dict)
    videos: dict[str, Video] = field(default_factory=dict)
    playlists: dict[str, Playlist] = field(default_factory=dict)
    albums: dict[str, str] = field(default_factory=dict)
    kind_of_all: VideoKind | None = None

    def copy(self) -> Self:
        """Return an independent copy. The channels, videos and playlists are immutable and shared."""
        return type(self)(
            dict(self.channels), dict(self.videos), dict(self.playlists), dict(self.albums), self.kind_of_all
        )

    def add(self, *items: Channel | Video | Playlist) -> None:
        """Add or replace items. Raise WorldError for an id that clients would reject and for an unknown channel."""
        for item in items:
            if not isinstance(item, Channel) and item.channel not in self.channels:
                raise WorldError(f"unknown channel {item.channel!r}: add it first")
            if not _IDS[type(item)].fullmatch(item.id):
                raise WorldError(f"{item.id!r} is not a valid id of a {type(item).__name__.lower()}")
            if isinstance(item, Video):
                self.videos[item.id] = item
            elif isinstance(item, Playlist):
                self.playlists[item.id] = item
            else:
                self.channels[item.id] = item

    def set_kind(self, video_id: str, kind: VideoKind | str) -> None:
        """Set the kind of a video; `*` overrides the kind of all, until `ok`. Raise KeyError for an unknown id."""
        if video_id == "*":
            self.kind_of_all = None if VideoKind(kind) is VideoKind.OK else VideoKind(kind)
            return
        self.videos[video_id] = replace(self.videos[video_id], kind=VideoKind(kind))

    def kind(self, video_id: str) -> VideoKind:
        """Return the current kind of a video; MISSING for an unknown id."""
        video = self.videos.get(video_id)
        if video is None:
            return VideoKind.MISSING
        return self.kind_of_all or video.kind

    def listed_kind(self, video_id: str) -> VideoKind:
        """Return the kind shown in listings, where `kind_of_all` does not apply: a blocked address can still list."""
        video = self.videos.get(video_id)
        return video.kind if video else VideoKind.MISSING

    def channel_of(self, item: Video | Playlist) -> Channel:
        return self.channels[item.channel]

    def find_channel(self, name: str) -> Channel | None:
        """Find a channel by id, `@handle` or legacy name. As on YouTube, handles and names are case-insensitive."""
        if name in self.channels:
            return self.channels[name]
        wanted = name.casefold()
        for channel in self.channels.values():
            if wanted in {channel.handle.casefold(), *(old.casefold() for old in channel.names)}:
                return channel
        return None

    def find_playlist(self, playlist_id: str) -> Playlist | None:
        """Find a playlist. `UU` and the rest of a channel's id name its uploads without the unavailable ones, UULF,
        UUSH and UULV those of one tab."""
        if playlist_id in self.playlists:
            return self.playlists[playlist_id]
        for prefix, tab in _UPLOADS.items():
            channel = self.channels.get("UC" + playlist_id.removeprefix(prefix))
            if playlist_id.startswith(prefix) and channel is not None:
                entries = tuple(v for v in self.uploads(channel) if tab in {None, self.videos[v].tab})
                if tab is not None and not entries:
                    return None  # as on YouTube: a channel without shorts has no list of them
                return Playlist(playlist_id, f"Uploads from {channel.title}", channel.id, entries=entries)
        return None

    def uploads(self, channel: Channel) -> list[str]:
        """Return the ids of the channel's uploads that are publicly listed, newest first."""
        return [v for v in channel.uploads if self.listed_kind(v) not in UNAVAILABLE_IN_LISTINGS]

    def add_playlist_of(
        self,
        playlist_id: str,
        count: int,
        *,
        channel: str,
        title: str = "",
        deleted: Iterable[int] = (),
        private: Iterable[int] = (),
    ) -> Playlist:
        """Create a playlist of `count` new videos; `deleted` and `private` are positions, counted from 0."""
        kinds = dict.fromkeys(deleted, VideoKind.DELETED) | dict.fromkeys(private, VideoKind.PRIVATE)
        prefix = hashlib.sha256(playlist_id.encode()).hexdigest()[:5]
        videos = [
            Video(
                f"p{prefix}{n:05d}",
                f"Part {n + 1} of {count}",
                channel,
                description=f"Number {n + 1} in {playlist_id}.",
                upload_date=f"{2010 + n % 15}-{n % 12 + 1:02d}-{n % 28 + 1:02d}",
                kind=kinds.get(n, VideoKind.OK),
            )
            for n in range(count)
        ]
        self.add(*videos)
        playlist = Playlist(
            playlist_id,
            title or f"A playlist of {count}",
            channel,
            description=f"{count} short videos.",
            entries=tuple(video.id for video in videos),
        )
        self.add(playlist)
        return playlist
