"""Which request gets which answer on the hosts of YouTube."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from ytarchive.emulator.site import pages, player
from ytarchive.emulator.site.media import Media
from ytarchive.emulator.site.world import THUMBNAILS, Channel, Json, Kind, World
from ytarchive.emulator.transport.blob import Blob
from ytarchive.emulator.transport.http import Answer, BadRequest, Request, json_answer, text_answer

URL_LIFETIME = 6 * 3600
_THUMBNAIL = re.compile(r"/vi(_webp)?/([\w-]{11})/(\w+)\.(jpg|webp)")
_CHANNEL = re.compile(r"/(?:channel/(UC[\w-]{22})|(@[\w.·-]+)|(?:c|user)/([^/]+))(?:/\w*)?/?")
_VANITY = re.compile(r"/([^/]+)(?:/videos)?/?")
_MANIFEST = re.compile(r"/api/manifest/hls_variant/id/([\w-]{11})/")
_EMBED = re.compile(r"/embed/([\w-]{11})")
_TITLE_HTML = "<!DOCTYPE html><html><head><title>404 Not Found</title></head><body></body></html>"


class Site:
    """YouTube itself. `expire_urls` and `url_lifetime` (seconds) say how long media URLs work."""

    def __init__(self, world: World, media: Media) -> None:
        self.world = world
        self._media = media
        self.url_lifetime = URL_LIFETIME
        self._epoch = 0
        self._expired: dict[str, int] = {}
        self._pages: dict[str, Callable[[Request], Awaitable[Answer]]] = {
            "watch": self._watch,
            "player": self._player,
            "browse": self._browse,
            "next": self._next,
            "resolve": self._resolve,
            "playlist_page": self._playlist,
            "channel_page": self._channel,
            "caption": self._caption,
            "thumbnail": self._thumbnail,
            "media": self._serve_media,
            "embed": self._embed,
            "manifest": self._manifest,
        }

    def expire_urls(self, video_id: str | None = None) -> None:
        """Make every media URL handed out so far (of one video, or of all) answer 403."""
        self._epoch += 1
        self._expired[video_id or "*"] = self._epoch

    def classify(self, request: Request) -> tuple[str, str | None]:
        """The kind of the request, as in the log, and the video that it is about."""
        path, query = request.path, request.query
        if path == "/videoplayback":
            return "media", query.get("id")
        if path == "/api/timedtext":
            return "caption", query.get("v")
        if path == "/watch":
            return "watch", query.get("v")
        if path == "/playlist":
            return "playlist_page", None
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

    async def answer(self, kind: str, request: Request) -> Answer:
        """The answer for a request of this kind."""
        page = self._pages.get(kind)
        if page is None:
            return text_answer(_TITLE_HTML, HTTPStatus.NOT_FOUND)
        return await page(request)

    async def _player_response(self, video_id: str, client: str) -> Json:
        formats: dict[int, Blob] = {}
        if client != player.WEB and self.world.kind(video_id) is Kind.OK:
            formats = await self._media.itags(self.world.videos[video_id])
        expires = int(time.time() + self.url_lifetime)
        return player.player_response(self.world, video_id, formats, expires=expires, epoch=self._epoch)

    async def _watch(self, request: Request) -> Answer:
        video_id = request.query.get("v", "")
        playlist = self.world.find_playlist(request.query.get("list", ""))
        data = player.watch_data(self.world, video_id, playlist)
        return text_answer(player.page(data, await self._player_response(video_id, player.WEB)))

    async def _embed(self, _request: Request) -> Answer:
        return text_answer(player.page({}))

    async def _manifest(self, request: Request) -> Answer:
        found = _MANIFEST.match(request.path)
        if found is None or self.world.kind(found[1]) is not Kind.LIVE:
            return text_answer("", HTTPStatus.NOT_FOUND)
        return text_answer(player.live_manifest(found[1]), content_type="application/vnd.apple.mpegurl")

    async def _player(self, request: Request) -> Answer:
        data = request.json()
        client = data.get("context", {}).get("client", {}).get("clientName", "")
        return json_answer(await self._player_response(str(data.get("videoId")), str(client)))

    async def _next(self, request: Request) -> Answer:
        data = request.json()
        playlist = self.world.find_playlist(str(data.get("playlistId", "")))
        return json_answer(player.watch_data(self.world, str(data.get("videoId")), playlist))

    async def _browse(self, request: Request) -> Answer:
        data = request.json()
        found: Json | None
        if token := data.get("continuation"):
            found = pages.continuation(self.world, str(token))
        else:
            found = self._listing(str(data.get("browseId", "")), unavailable=bool(data.get("params")))
        return _not_found() if found is None else json_answer(found)

    def _listing(self, browse_id: str, *, unavailable: bool) -> Json | None:
        if browse_id.startswith("VL"):
            playlist = self.world.find_playlist(browse_id.removeprefix("VL"))
            if playlist is None:
                return pages.missing_playlist()
            return pages.playlist_data(self.world, playlist, unavailable=unavailable)
        channel = self.world.find_channel(browse_id)
        return pages.channel_data(self.world, channel) if channel else None

    async def _resolve(self, request: Request) -> Answer:
        url = str(request.json().get("url", ""))
        path = "/" + url.partition("://")[2].partition("/")[2].partition("?")[0]
        channel = self._channel_of(path)
        if channel is None:
            return _not_found()
        return json_answer({"endpoint": {"browseEndpoint": {"browseId": channel.id}}})

    async def _playlist(self, request: Request) -> Answer:
        playlist = self.world.find_playlist(request.query.get("list", ""))
        if playlist is None:
            return text_answer(player.page(pages.missing_playlist()))
        return text_answer(player.page(pages.playlist_data(self.world, playlist, unavailable=False)))

    def _channel_of(self, path: str) -> Channel | None:
        found = _CHANNEL.fullmatch(path) or _VANITY.fullmatch(path)
        return self.world.find_channel(next(filter(None, found.groups()))) if found else None

    async def _channel(self, request: Request) -> Answer:
        channel = self._channel_of(request.path)
        if channel is None:
            return text_answer(_TITLE_HTML, HTTPStatus.NOT_FOUND)
        return text_answer(player.page(pages.channel_data(self.world, channel)))

    async def _caption(self, request: Request) -> Answer:
        query = request.query
        video = self.world.videos.get(query.get("v", ""))
        text = None
        if video is not None and self.world.kind(video.id) is Kind.OK:
            auto = query.get("kind") == "asr"
            text = player.caption_text(video, query.get("lang", ""), auto=auto, fmt=query.get("fmt", "vtt"))
        if text is None:
            return text_answer("", HTTPStatus.NOT_FOUND)
        return text_answer(text[0], content_type=text[1])

    async def _thumbnail(self, request: Request) -> Answer:
        found = _THUMBNAIL.fullmatch(request.path)
        if found is None:
            return text_answer(_TITLE_HTML, HTTPStatus.NOT_FOUND)
        webp, video_id, name, ext = found[1] is not None, found[2], found[3], found[4]
        video = self.world.videos.get(video_id)
        name = {"0": "hqdefault", "hq720": "maxresdefault"}.get(name, name)
        gone = video is None or self.world.kind(video_id) in (Kind.DELETED, Kind.MISSING, Kind.TERMINATED)
        if (
            gone
            or video is None
            or name not in video.thumbnails
            or (webp and not video.webp)
            or webp != (ext == "webp")
        ):
            grey = self._media.thumbnail(video_id, THUMBNAILS[-1], "jpg")  # YouTube's 404 is a picture too
            return Answer(Blob(grey), "image/jpeg", HTTPStatus.NOT_FOUND)
        return Answer(
            Blob(self._media.thumbnail(video_id, name, ext)), "image/webp" if webp else "image/jpeg", ranges=True
        )

    async def _serve_media(self, request: Request) -> Answer:
        query = request.query
        video_id = query.get("id", "")
        video = self.world.videos.get(video_id)
        # a video that turns private goes on being served to those who hold its URLs
        if video is None or self._is_expired(video_id, query):
            return text_answer("", HTTPStatus.FORBIDDEN)
        formats = await self._media.itags(video)
        itag = query.get("itag", "")
        if not itag.isdecimal() or int(itag) not in formats:
            return text_answer("", HTTPStatus.NOT_FOUND)
        return Answer(formats[int(itag)], query.get("mime", "video/mp4"), ranges=True)

    def _is_expired(self, video_id: str, query: dict[str, str]) -> bool:
        expire, epoch = query.get("expire", ""), query.get("ei", "").removeprefix("epoch")
        if not (expire.isdecimal() and epoch.isdecimal()) or int(expire) < time.time():
            return True
        return int(epoch) < max(self._expired.get(video_id, 0), self._expired.get("*", 0))


def _not_found() -> Answer:
    message = "Requested entity was not found."
    return json_answer({"error": {"code": 404, "message": message, "status": "NOT_FOUND"}}, HTTPStatus.NOT_FOUND)
