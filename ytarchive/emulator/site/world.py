"""What exists on the loopback YouTube: channels, videos and playlists, changeable at any time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

Json = dict[str, Any]

HEIGHTS = (144, 240, 360, 480, 720, 1080)
UHD_HEIGHTS = (1440, 2160)
THUMBNAILS = ("maxresdefault", "sddefault", "hqdefault", "mqdefault", "default")


class Kind(StrEnum):
    """How a video answers; every kind but OK and LIVE is one way for YouTube to refuse it."""

    OK = "ok"
    LIVE = "live"  # on air: it plays, but only as a manifest whose streams are not there
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


GONE_FROM_LISTINGS = frozenset(
    {Kind.PRIVATE, Kind.DELETED, Kind.MISSING, Kind.TERMINATED, Kind.COPYRIGHT},
)
"""Kinds that a playlist shows only as `[Private video]` or `[Deleted video]`."""


class WorldError(ValueError):
    """A description of a video, playlist or channel that cannot be used; the text says why."""


class _Described:
    """Dataclasses that are made from, and shown as, plain JSON."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Make one from JSON; lists become tuples. Raises WorldError for unknown or missing fields."""
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]  # every subclass is a dataclass
        if unknown := set(data) - known:
            raise WorldError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}")
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise WorldError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Channel(_Described):
    """A channel. `id` is `UC` plus 22 characters, `handle` has its `@`; `names` are old /c/ and /user/ names."""

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
class Video(_Described):
    """A video. `duration` is in seconds, `upload_date` is YYYY-MM-DD, `starts_at` (upcoming) is ISO 8601.

    `size` pads every video format to that many bytes, for tests of resume, cancel and throttling.
    `thumbnails` names the JPEG sizes that exist; `webp` says whether the same exist as WebP.
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
    kind: Kind = Kind.OK
    size: int = 0
    views: int = 1000
    likes: int = 10
    tags: tuple[str, ...] = ()
    category: str = "Education"
    countries: tuple[str, ...] = ("DE", "FR")
    starts_at: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", Kind(self.kind))
        if odd := set(self.heights) - {*HEIGHTS, *UHD_HEIGHTS}:
            raise WorldError(f"no such height: {sorted(odd)}")
        if odd_names := set(self.thumbnails) - set(THUMBNAILS):
            raise WorldError(f"no such thumbnail: {sorted(odd_names)}")


@dataclass(frozen=True, slots=True)
class Playlist(_Described):
    """A playlist; `entries` are video ids in order, unknown ids show as deleted videos."""

    id: str
    title: str
    channel: str
    description: str = ""
    entries: tuple[str, ...] = ()
    views: int = 100


_IDS: dict[type, re.Pattern[str]] = {
    Channel: re.compile(r"UC[\w-]{22}"),
    Video: re.compile(r"[\w-]{11}"),
    Playlist: re.compile(r"(PL|UU|FL|RD|OL)[\w-]{16,41}"),
}


@dataclass(slots=True)
class World:
    """Everything that exists. `kind_of_all`, when set, makes every video answer so (a blocked address)."""

    channels: dict[str, Channel] = field(default_factory=dict)
    videos: dict[str, Video] = field(default_factory=dict)
    playlists: dict[str, Playlist] = field(default_factory=dict)
    kind_of_all: Kind | None = None

    def copy(self) -> World:
        """One that can change without changing this one; what it holds is frozen, so that is shared."""
        return World(dict(self.channels), dict(self.videos), dict(self.playlists), self.kind_of_all)

    def add(self, *things: Channel | Video | Playlist) -> None:
        """Add or replace. Raises WorldError for an id that clients would not take, and for an unknown channel."""
        for thing in things:
            if not isinstance(thing, Channel) and thing.channel not in self.channels:
                raise WorldError(f"no channel {thing.channel!r}: add it first")
            if not _IDS[type(thing)].fullmatch(thing.id):
                raise WorldError(f"{thing.id!r} is no id of a {type(thing).__name__.lower()}")
            if isinstance(thing, Video):
                self.videos[thing.id] = thing
            elif isinstance(thing, Playlist):
                self.playlists[thing.id] = thing
            else:
                self.channels[thing.id] = thing

    def set_kind(self, video_id: str, kind: Kind | str) -> None:
        """Make one video (or all, with `*`; back again with `ok`) answer as `kind`. KeyError if unknown."""
        if video_id == "*":
            self.kind_of_all = None if Kind(kind) is Kind.OK else Kind(kind)
            return
        self.videos[video_id] = replace(self.videos[video_id], kind=Kind(kind))

    def kind(self, video_id: str) -> Kind:
        """How this video answers now; an unknown id is a missing video."""
        video = self.videos.get(video_id)
        if video is None:
            return Kind.MISSING
        return self.kind_of_all or video.kind

    def listed_kind(self, video_id: str) -> Kind:
        """As `kind`, for listings: an address that is blocked from watching still sees them."""
        video = self.videos.get(video_id)
        return video.kind if video else Kind.MISSING

    def channel_of(self, thing: Video | Playlist) -> Channel:
        return self.channels[thing.channel]

    def find_channel(self, name: str) -> Channel | None:
        """By `@handle`, `UC…` id, or an old /c/ or /user/ name; as on YouTube, case does not count in names."""
        if name in self.channels:
            return self.channels[name]
        wanted = name.casefold()
        for channel in self.channels.values():
            if wanted in {channel.handle.casefold(), *(old.casefold() for old in channel.names)}:
                return channel
        return None

    def find_playlist(self, playlist_id: str) -> Playlist | None:
        """A playlist, or for `UU…` the uploads of that channel without those that are gone."""
        if playlist_id in self.playlists:
            return self.playlists[playlist_id]
        channel = self.channels.get("UC" + playlist_id[2:]) if playlist_id.startswith("UU") else None
        if channel is None:
            return None
        return Playlist(playlist_id, f"Uploads from {channel.title}", channel.id, entries=tuple(self.uploads(channel)))

    def uploads(self, channel: Channel) -> list[str]:
        """The channel's uploads that anyone can see, newest first."""
        return [v for v in channel.uploads if self.listed_kind(v) not in GONE_FROM_LISTINGS]

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
        """Make a playlist of `count` new videos; `deleted` and `private` are positions, counted from 0."""
        kinds = dict.fromkeys(deleted, Kind.DELETED) | dict.fromkeys(private, Kind.PRIVATE)
        tag = hashlib.sha256(playlist_id.encode()).hexdigest()[:5]
        made = [
            Video(
                f"p{tag}{n:05d}",
                f"Part {n + 1} of {count}",
                channel,
                description=f"Number {n + 1} in {playlist_id}.",
                upload_date=f"{2010 + n % 15}-{n % 12 + 1:02d}-{n % 28 + 1:02d}",
                kind=kinds.get(n, Kind.OK),
            )
            for n in range(count)
        ]
        self.add(*made)
        playlist = Playlist(
            playlist_id,
            title or f"A playlist of {count}",
            channel,
            description=f"{count} short videos.",
            entries=tuple(video.id for video in made),
        )
        self.add(playlist)
        return playlist
