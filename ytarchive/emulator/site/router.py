"""Routing of requests to the emulated hosts of YouTube."""

import re
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from ytarchive.emulator.site import feed, pages, player
from ytarchive.emulator.site.media import Media
from ytarchive.emulator.site.world import PRIVATE_LISTS, THUMBNAILS, Channel, Json, Playlist, VideoKind, World
from ytarchive.emulator.transport.blob import Blob
from ytarchive.emulator.transport.http import BadRequest, Request, Response, json_response, text_response

URL_LIFETIME = 6 * 3600
_THUMBNAIL = re.compile(r"/vi(_webp)?/([\w-]{11})/(\w+)\.(jpg|webp)")
_CHANNEL = re.compile(r"/(?:channel/(UC[\w-]{22})|(@[\w.·-]+)|(?:c|user)/([^/]+))(?:/\w*)?/?")
_VANITY = re.compile(r"/([^/]+)(?:/videos)?/?")
_MANIFEST = re.compile(r"/api/manifest/hls_variant/id/([\w-]{11})/")
_EMBED = re.compile(r"/embed/([\w-]{11})")
_NOT_FOUND_HTML = "<!DOCTYPE html><html><head><title>404 Not Found</title></head><body></body></html>"


class Site:
    """The emulated YouTube. Media URLs are valid for `url_lifetime` seconds or until `expire_urls` is called."""

    def __init__(self, world: World, media: Media) -> None:
        self.world = world
        self._media = media
        self.url_lifetime = URL_LIFETIME
        self._epoch = 0
        self._expired: dict[str, int] = {}
        self._pages: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "watch": self._watch,
            "player": self._player,
            "browse": self._browse,
            "next": self._next,
            "resolve": self._resolve,
            "playlist_page": self._playlist,
            "channel_page": self._channel,
            "feed": self._feed,
            "caption": self._caption,
            "thumbnail": self._thumbnail,
            "media": self._serve_media,
            "embed": self._embed,
            "manifest": self._manifest,
        }

    def expire_urls(self, video_id: str | None = None) -> None:
        """Expire the media URLs issued so far, of one video or of all; they then return status 403."""
        self._epoch += 1
        self._expired[video_id or "*"] = self._epoch

    def classify(self, request: Request) -> tuple[str, str | None]:
        """Return the kind of the request (one of REQUEST_KINDS) and the id of its video, if any."""
        path, query = request.path, request.query
        if path == "/videoplayback":
            return "media", query.get("id")
        if path == "/api/timedtext":
            return "caption", query.get("v")
        if path == "/watch":
            return "watch", query.get("v")
        if path == "/playlist":
            return "playlist_page", None
        if path == "/feeds/videos.xml":
            return "feed", None
        if found := _THUMBNAIL.fullmatch(path):
            return "thumbnail", found[2]
        if found := _EMBED.fullmatch(path):
            return "embed", found[1]
        if found := _MANIFEST.match(path):
            return "manifest", found[1]
        if path.startswith("/youtubei/v1/"):
            return self._classify_api(path.removeprefix("/youtubei/v1/"), request)
        return ("channel_page" if _CHANNEL.fullmatch(path) or self._channel_of(path) else "other"), None

    def _classify_api(self, name: str, request: Request) -> tuple[str, str | None]:
        kind = {"navigation/resolve_url": "resolve"}.get(name, name)
        if kind not in ("player", "browse", "next", "resolve"):
            return "other", None
        try:
            video_id = request.json().get("videoId")
        except BadRequest:
            return "other", None
        return kind, video_id if isinstance(video_id, str) else None

    async def respond(self, kind: str, request: Request) -> Response:
        """Handle a request of this kind. Raise BadRequest when its body is invalid."""
        page = self._pages.get(kind)
        if page is None:
            return text_response(_NOT_FOUND_HTML, HTTPStatus.NOT_FOUND)
        return await page(request)

    async def _player_response(self, video_id: str, client: str) -> Json:
        formats: dict[int, Blob] = {}
        if client != player.WEB and self.world.kind(video_id) is VideoKind.OK:
            formats = await self._media.itags(self.world.videos[video_id])
        expires = int(time.time() + self.url_lifetime)
        return player.player_response(self.world, video_id, formats, expires=expires, epoch=self._epoch)

    async def _watch(self, request: Request) -> Response:
        video_id = request.query.get("v", "")
        playlist = self.world.find_playlist(request.query.get("list", ""))
        data = player.watch_data(self.world, video_id, playlist)
        return text_response(player.page(data, await self._player_response(video_id, player.WEB)))

    async def _embed(self, _request: Request) -> Response:
        return text_response(player.page({}))

    async def _manifest(self, request: Request) -> Response:
        found = _MANIFEST.match(request.path)
        if found is None or self.world.kind(found[1]) is not VideoKind.LIVE:
            return text_response("", HTTPStatus.NOT_FOUND)
        return text_response(player.live_manifest(found[1]), content_type="application/vnd.apple.mpegurl")

    async def _player(self, request: Request) -> Response:
        data = request.json()
        client = data.get("context", {}).get("client", {}).get("clientName", "")
        return json_response(await self._player_response(str(data.get("videoId")), str(client)))

    async def _next(self, request: Request) -> Response:
        data = request.json()
        playlist = self.world.find_playlist(str(data.get("playlistId", "")))
        return json_response(player.watch_data(self.world, str(data.get("videoId")), playlist))

    async def _browse(self, request: Request) -> Response:
        data = request.json()
        found: Json | None
        if token := data.get("continuation"):
            found = pages.continuation(self.world, str(token))
        else:
            found = self._listing(request, str(data.get("browseId", "")), unavailable=bool(data.get("params")))
        return _not_found() if found is None else json_response(found)

    def _listing(self, request: Request, browse_id: str, *, unavailable: bool) -> Json | None:
        if browse_id in self.world.albums:
            return pages.album_data(self.world.albums[browse_id])
        if browse_id.startswith("VL"):
            playlist = self._playlist_for(request, browse_id.removeprefix("VL"))
            if playlist is None:
                return pages.missing_playlist()
            return pages.playlist_data(self.world, playlist, unavailable=unavailable)
        channel = self.world.find_channel(browse_id)
        return pages.channel_data(self.world, channel) if channel else None

    async def _resolve(self, request: Request) -> Response:
        url = str(request.json().get("url", ""))
        path = "/" + url.partition("://")[2].partition("/")[2].partition("?")[0]
        channel = self._channel_of(path)
        list_id = parse_qs(urlsplit(url).query).get("list", [""])[0]
        if (album := path.removeprefix("/browse/")) in self.world.albums:
            browse_id = album
        elif channel is not None:
            browse_id = channel.id
        elif list_id in PRIVATE_LISTS:
            browse_id = f"VL{list_id}"
        else:
            return _not_found()
        return json_response({"endpoint": {"browseEndpoint": {"browseId": browse_id}}})

    def _playlist_for(self, request: Request, playlist_id: str) -> Playlist | None:
        """Return a playlist if the sender sees it: a private one is only shown with the cookies of an account."""
        signed_in = "LOGIN_INFO=" in request.headers.get("cookie", "")
        return self.world.find_playlist(playlist_id) if signed_in or playlist_id not in PRIVATE_LISTS else None

    async def _playlist(self, request: Request) -> Response:
        playlist = self._playlist_for(request, request.query.get("list", ""))
        if playlist is None:
            return text_response(player.page(pages.missing_playlist()))
        return text_response(player.page(pages.playlist_data(self.world, playlist, unavailable=False)))

    def _channel_of(self, path: str) -> Channel | None:
        found = _CHANNEL.fullmatch(path) or _VANITY.fullmatch(path)
        return self.world.find_channel(next(filter(None, found.groups()))) if found else None

    async def _channel(self, request: Request) -> Response:
        channel = self._channel_of(request.path)
        if channel is None:
            return text_response(_NOT_FOUND_HTML, HTTPStatus.NOT_FOUND)
        return text_response(player.page(pages.channel_data(self.world, channel)))

    async def _feed(self, request: Request) -> Response:
        channel_id = request.query.get("channel_id")
        list_id = f"UU{channel_id[2:]}" if channel_id else request.query.get("playlist_id", "")
        playlist = self.world.find_playlist(list_id)
        if playlist is None:
            return text_response(_NOT_FOUND_HTML, HTTPStatus.NOT_FOUND)
        return text_response(feed.feed_of(self.world, playlist), content_type="text/xml; charset=UTF-8")

    async def _caption(self, request: Request) -> Response:
        query = request.query
        video = self.world.videos.get(query.get("v", ""))
        text = None
        if video is not None and self.world.kind(video.id) is VideoKind.OK:
            auto = query.get("kind") == "asr"
            text = player.caption_text(video, query.get("lang", ""), auto=auto, fmt=query.get("fmt", "vtt"))
        if text is None:
            return text_response("", HTTPStatus.NOT_FOUND)
        return text_response(text[0], content_type=text[1])

    async def _thumbnail(self, request: Request) -> Response:
        found = _THUMBNAIL.fullmatch(request.path)
        if found is None:
            return text_response(_NOT_FOUND_HTML, HTTPStatus.NOT_FOUND)
        webp, video_id, name, ext = found[1] is not None, found[2], found[3], found[4]
        video = self.world.videos.get(video_id)
        name = {"0": "hqdefault", "hq720": "maxresdefault"}.get(name, name)
        no_thumbnails = video is None or self.world.kind(video_id) in (
            VideoKind.DELETED,
            VideoKind.MISSING,
            VideoKind.TERMINATED,
        )
        if (
            no_thumbnails
            or video is None
            or name not in video.thumbnails
            or (webp and not video.webp)
            or webp != (ext == "webp")
        ):
            # as on YouTube, the response with status 404 contains an image
            placeholder = self._media.thumbnail(video_id, THUMBNAILS[-1], "jpg")
            return Response(Blob(placeholder), "image/jpeg", HTTPStatus.NOT_FOUND)
        return Response(
            Blob(self._media.thumbnail(video_id, name, ext)), "image/webp" if webp else "image/jpeg", ranges=True
        )

    async def _serve_media(self, request: Request) -> Response:
        query = request.query
        video_id = query.get("id", "")
        video = self.world.videos.get(video_id)
        # as on YouTube, URLs issued before a video became private remain valid
        if video is None or self._is_expired(video_id, query):
            return text_response("", HTTPStatus.FORBIDDEN)
        formats = await self._media.itags(video)
        itag = query.get("itag", "")
        if not itag.isdecimal() or int(itag) not in formats:
            return text_response("", HTTPStatus.NOT_FOUND)
        return Response(formats[int(itag)], query.get("mime", "video/mp4"), ranges=True)

    def _is_expired(self, video_id: str, query: dict[str, str]) -> bool:
        expire, epoch = query.get("expire", ""), query.get("ei", "").removeprefix("epoch")
        if not (expire.isdecimal() and epoch.isdecimal()) or int(expire) < time.time():
            return True
        return int(epoch) < max(self._expired.get(video_id, 0), self._expired.get("*", 0))


def _not_found() -> Response:
    message = "Requested entity was not found."
    return json_response({"error": {"code": 404, "message": message, "status": "NOT_FOUND"}}, HTTPStatus.NOT_FOUND)
