"""The lists of YouTube's Data API v3 that clients read: videos, playlists, playlistItems, channels, captions."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from ytarchive.emulator.site.media import THUMBNAIL_SIZES
from ytarchive.emulator.site.refusals import starts_at
from ytarchive.emulator.site.world import UNAVAILABLE_IN_LISTINGS, Channel, Json, Playlist, Video, VideoKind, World
from ytarchive.emulator.transport.http import Request, Response, json_response

PREFIX = "/youtube/v3/"
MAX_IDS = 50
COSTS = {"captions": 50}
_API_SIZES = dict(zip(("maxres", "standard", "high", "medium", "default"), THUMBNAIL_SIZES, strict=True))


_BROADCAST = {VideoKind.UPCOMING: "upcoming", VideoKind.PREMIERE: "upcoming", VideoKind.LIVE: "live"}


class ApiError(Exception):
    """Error response of the API: HTTP status, reason, message and domain."""

    def __init__(self, status: int, reason: str, message: str, domain: str = "global") -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "error": {
                "code": status,
                "message": message,
                "errors": [{"message": message, "domain": domain, "reason": reason}],
            }
        }


@dataclass(slots=True)
class EmulatedDataApi:
    """The emulated Data API. `quota_left` is in units, None: unlimited; keys that contain `invalid` are rejected."""

    world: World
    quota_left: int | None = None

    def respond(self, request: Request) -> Response:
        """Handle a GET request below PREFIX."""
        try:
            return json_response(self._list(request.path.removeprefix(PREFIX), request.query))
        except ApiError as error:
            return json_response(error.body, error.status)

    def _list(self, resource: str, query: dict[str, str]) -> Json:
        lists: dict[str, Callable[[dict[str, str]], Json]] = {
            "videos": self._videos,
            "playlists": self._playlists,
            "playlistItems": self._playlist_items,
            "channels": self._channels,
            "captions": self._captions,
        }
        if resource not in lists:
            raise ApiError(HTTPStatus.NOT_FOUND, "notFound", "The requested URL was not found.")
        self._check_access(query, COSTS.get(resource, 1))
        if not query.get("part"):
            raise ApiError(HTTPStatus.BAD_REQUEST, "missingRequiredParameter", "No part selected.")
        return {"kind": f"youtube#{resource}ListResponse", "etag": "loopback"} | lists[resource](query)

    def _check_access(self, query: dict[str, str], cost: int) -> None:
        key = query.get("key")
        if not key:
            raise ApiError(HTTPStatus.FORBIDDEN, "forbidden", "Method doesn't allow unregistered callers.")
        if "invalid" in key:
            message = "API key not valid. Please pass a valid API key."
            raise ApiError(HTTPStatus.BAD_REQUEST, "keyInvalid", message, "usageLimits")
        if self.quota_left is None:
            return
        if self.quota_left < cost:
            message = "The request cannot be completed because you have exceeded your quota."
            raise ApiError(HTTPStatus.FORBIDDEN, "quotaExceeded", message, "youtube.quota")
        self.quota_left -= cost

    def _videos(self, query: dict[str, str]) -> Json:
        ids = _ids(query)
        known = [self.world.videos[i] for i in ids if self.world.listed_kind(i) not in UNAVAILABLE_IN_LISTINGS]
        return _page([_only(query, self._video(video)) for video in known], len(known))

    def _video(self, video: Video) -> Json:
        channel = self.world.channel_of(video)
        live = _BROADCAST.get(video.kind, "none")
        details: Json = {
            "duration": f"PT{video.duration}S",
            "dimension": "2d",
            "definition": "hd" if max(video.heights, default=0) >= 720 else "sd",
            "caption": "true" if video.captions else "false",
            "licensedContent": False,
            "contentRating": {"ytRating": "ytAgeRestricted"} if video.kind is VideoKind.AGE else {},
            "projection": "rectangular",
        }
        if video.kind is VideoKind.GEO:
            details["regionRestriction"] = {"allowed": list(video.countries)}
        data: Json = {
            "kind": "youtube#video",
            "id": video.id,
            "snippet": {
                "publishedAt": f"{video.upload_date}T13:00:00Z",
                "channelId": channel.id,
                "title": video.title,
                "description": video.description,
                "thumbnails": _thumbnails(video),
                "channelTitle": channel.title,
                "tags": list(video.tags),
                "categoryId": "27",
                "liveBroadcastContent": live,
            },
            "contentDetails": details,
            "status": {"uploadStatus": "processed", "privacyStatus": "public", "embeddable": True},
            "statistics": {"viewCount": str(video.views), "likeCount": str(video.likes), "commentCount": "0"},
        }
        if live == "upcoming":
            begin = starts_at(video).strftime("%Y-%m-%dT%H:%M:%SZ")
            data["liveStreamingDetails"] = {"scheduledStartTime": begin}
        return data

    def _playlists(self, query: dict[str, str]) -> Json:
        found = [p for i in _ids(query) if (p := self.world.find_playlist(i)) is not None]
        return _page([_only(query, self._playlist(playlist)) for playlist in found], len(found))

    def _playlist(self, playlist: Playlist) -> Json:
        channel = self.world.channel_of(playlist)
        return {
            "kind": "youtube#playlist",
            "id": playlist.id,
            "snippet": {
                "publishedAt": "2020-01-01T00:00:00Z",
                "channelId": channel.id,
                "title": playlist.title,
                "description": playlist.description,
                "thumbnails": {},
                "channelTitle": channel.title,
            },
            "status": {"privacyStatus": "public"},
            "contentDetails": {"itemCount": playlist.count},
        }

    def _playlist_items(self, query: dict[str, str]) -> Json:
        playlist = self.world.find_playlist(query.get("playlistId", ""))
        if playlist is None:
            message = "The playlist identified with the request's playlistId parameter cannot be found."
            raise ApiError(HTTPStatus.NOT_FOUND, "playlistNotFound", message, "youtube.playlistItem")
        size = min(MAX_IDS, _number(query.get("maxResults", "5")))
        token = query.get("pageToken", "PT0")
        start = _number(token.removeprefix("PT"), "pageToken", "invalidPageToken")
        listed = playlist.entries[: playlist.cut_after]
        entries = listed[start : start + size]
        items = [_only(query, self._item(playlist, v, start + n)) for n, v in enumerate(entries)]
        page = _page(items, len(listed), size)
        if start + size < len(listed):
            page["nextPageToken"] = f"PT{start + size}"
        if start:
            page["prevPageToken"] = f"PT{max(0, start - size)}"
        return page

    def _item(self, playlist: Playlist, video_id: str, position: int) -> Json:
        owner = self.world.channel_of(playlist)
        kind = self.world.listed_kind(video_id)
        snippet: Json = {
            "publishedAt": "2020-01-01T00:00:00Z",
            "channelId": owner.id,
            "channelTitle": owner.title,
            "playlistId": playlist.id,
            "position": position,
            "resourceId": {"kind": "youtube#video", "videoId": video_id},
        }
        details: Json = {"videoId": video_id}
        if kind in UNAVAILABLE_IN_LISTINGS:
            adjective = "private" if kind is VideoKind.PRIVATE else "unavailable"
            title = "Private video" if kind is VideoKind.PRIVATE else "Deleted video"
            snippet |= {"title": title, "description": f"This video is {adjective}.", "thumbnails": {}}
            privacy = "private" if kind is VideoKind.PRIVATE else "privacyStatusUnspecified"
        else:
            video = self.world.videos[video_id]
            channel = self.world.channel_of(video)
            snippet |= {
                "title": video.title,
                "description": video.description,
                "thumbnails": _thumbnails(video),
                "videoOwnerChannelTitle": channel.title,
                "videoOwnerChannelId": channel.id,
            }
            details["videoPublishedAt"] = f"{video.upload_date}T13:00:00Z"
            privacy = "public"
        return {
            "kind": "youtube#playlistItem",
            "id": f"{playlist.id}.{position}",
            "snippet": snippet,
            "contentDetails": details,
            "status": {"privacyStatus": privacy},
        }

    def _channels(self, query: dict[str, str]) -> Json:
        names = _ids(query) if "id" in query else [query.get("forHandle") or query.get("forUsername") or ""]
        if "forHandle" in query and not names[0].startswith("@"):
            names = ["@" + names[0]]
        found = [c for name in names if (c := self.world.find_channel(name)) is not None]
        return _page([_only(query, self._channel(channel)) for channel in found], len(found))

    def _channel(self, channel: Channel) -> Json:
        return {
            "kind": "youtube#channel",
            "id": channel.id,
            "snippet": {
                "title": channel.title,
                "description": channel.description,
                "customUrl": channel.handle.lower(),
                "publishedAt": "2010-01-01T00:00:00Z",
                "thumbnails": {},
            },
            "contentDetails": {"relatedPlaylists": {"likes": "", "uploads": channel.uploads_playlist}},
            "statistics": {
                "subscriberCount": str(channel.subscribers),
                "videoCount": str(len(self.world.uploads(channel))),
            },
        }

    def _captions(self, query: dict[str, str]) -> Json:
        video = self.world.videos.get(query.get("videoId", ""))
        if video is None or video.kind in UNAVAILABLE_IN_LISTINGS:
            message = "The video identified by the videoId parameter could not be found."
            raise ApiError(HTTPStatus.NOT_FOUND, "videoNotFound", message, "youtube.caption")
        tracks = [(c, "standard") for c in video.captions] + [(c, "asr") for c in video.auto_captions]
        items = [
            {
                "kind": "youtube#caption",
                "id": f"{video.id}.{language}.{kind}",
                "snippet": {"videoId": video.id, "trackKind": kind, "language": language, "status": "serving"},
            }
            for language, kind in tracks
        ]
        return {"items": [_only(query, item) for item in items]}


def _number(text: str, name: str = "maxResults", reason: str = "invalidParameter") -> int:
    if not text.isdecimal():
        raise ApiError(HTTPStatus.BAD_REQUEST, reason, f"Invalid value for {name}.")
    return int(text)


def _ids(query: dict[str, str]) -> list[str]:
    ids = [part for part in query.get("id", "").split(",") if part]
    if not ids:
        raise ApiError(HTTPStatus.BAD_REQUEST, "missingRequiredParameter", "No filter selected.")
    if len(ids) > MAX_IDS:
        raise ApiError(HTTPStatus.BAD_REQUEST, "invalidParameter", f"More than {MAX_IDS} ids.")
    return ids


def _only(query: dict[str, str], item: Json) -> Json:
    """Return the requested parts of an item, and `kind` and `id`, which are always present."""
    parts = {"kind", "id", *query["part"].split(",")}
    return {key: value for key, value in item.items() if key in parts}


def _page(items: list[Json], total: int, size: int | None = None) -> Json:
    return {"pageInfo": {"totalResults": total, "resultsPerPage": size or len(items)}, "items": items}


def _thumbnails(video: Video) -> Json:
    return {
        key: {
            "url": f"https://i.ytimg.com/vi/{video.id}/{name}.jpg",
            "width": THUMBNAIL_SIZES[name][0],
            "height": THUMBNAIL_SIZES[name][1],
        }
        for key, name in _API_SIZES.items()
        if name in video.thumbnails
    }
