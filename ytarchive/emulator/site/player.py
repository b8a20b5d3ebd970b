"""Watch page, player response and captions of one video, in the format that yt-dlp reads."""

import json
from datetime import UTC, datetime
from urllib.parse import urlencode

from ytarchive.emulator.site.media import AUDIO_ITAG, MUXED_ITAG, SECONDS, THUMBNAIL_SIZES, VIDEO_ITAGS
from ytarchive.emulator.site.refusals import playability, starts_at
from ytarchive.emulator.site.world import Channel, Json, Playlist, Video, VideoKind, World
from ytarchive.emulator.transport.blob import Blob

WEB = "WEB"
MEDIA_HOST = "rr1---sn-loopback.googlevideo.com"
_NO_DETAILS = frozenset({VideoKind.PRIVATE, VideoKind.DELETED, VideoKind.MISSING, VideoKind.TERMINATED})
"""Kinds for which YouTube returns the refusal only, without details of the video."""

_LANGUAGES = {"en": "English", "de": "German", "fr": "French", "es": "Spanish", "pt-BR": "Portuguese (Brazil)"}
_HEIGHT_OF = {itag: height for height, itag in VIDEO_ITAGS.items()}
_QUALITY = {
    144: "tiny",
    240: "small",
    360: "medium",
    480: "large",
    720: "hd720",
    1080: "hd1080",
    1440: "hd1440",
    2160: "hd2160",
}


def player_response(world: World, video_id: str, formats: dict[int, Blob], *, expires: int, epoch: int) -> Json:
    """Return the response of `youtubei/v1/player`. `formats` is empty for WEB, which gets no URLs without a PO token.

    The media URLs contain `expires` (seconds since the epoch) and `epoch` (incremented to invalidate issued URLs).
    """
    kind = world.kind(video_id)
    video = world.videos.get(video_id)
    response: Json = {
        "responseContext": {"visitorData": "loopback"},
        "playabilityStatus": playability(kind, video),
        "videoDetails": {"videoId": video_id},
    }
    if video is None or kind in _NO_DETAILS:
        return response
    if kind is VideoKind.OTHER_VIDEO:
        response["videoDetails"] = {"videoId": "aQvGIIdgFDM"}
        return response
    channel = world.channel_of(video)
    response["videoDetails"] = _details(video, channel, kind)
    response["microformat"] = {"playerMicroformatRenderer": _microformat(video, channel, kind)}
    if kind is VideoKind.LIVE:
        path = f"api/manifest/hls_variant/id/{video_id}/file/index.m3u8"
        response["streamingData"] = {"hlsManifestUrl": f"https://manifest.googlevideo.com/{path}"}
    if kind is not VideoKind.OK:
        return response
    if video.captions or video.auto_captions:
        response["captions"] = {"playerCaptionsTracklistRenderer": {"captionTracks": _caption_tracks(video)}}
    streams = [_format(video, itag, blob, expires, epoch) for itag, blob in formats.items()]
    response["streamingData"] = {
        "expiresInSeconds": "21540",
        "formats": [s for s in streams if s["itag"] == MUXED_ITAG],
        "adaptiveFormats": [s for s in streams if s["itag"] != MUXED_ITAG],
    }
    return response


def _thumbnails(video: Video) -> Json:
    return {
        "thumbnails": [
            {"url": f"https://i.ytimg.com/vi/{video.id}/{name}.jpg", "width": width, "height": height}
            for name, (width, height) in reversed(THUMBNAIL_SIZES.items())
            if name in video.thumbnails and name != "maxresdefault"
        ]
    }


def _length(video: Video, kind: VideoKind) -> str:
    return "0" if kind in (VideoKind.LIVE, VideoKind.UPCOMING, VideoKind.PREMIERE) else str(video.duration)


def _details(video: Video, channel: Channel, kind: VideoKind) -> Json:
    upcoming = kind in (VideoKind.UPCOMING, VideoKind.PREMIERE)
    return {
        "videoId": video.id,
        "title": video.title,
        "lengthSeconds": _length(video, kind),
        "keywords": list(video.tags),
        "channelId": channel.id,
        "shortDescription": video.description,
        "thumbnail": _thumbnails(video),
        "viewCount": str(video.views),
        "author": channel.title,
        "isPrivate": False,
        "isUpcoming": upcoming,
        "isLive": kind is VideoKind.LIVE,
        "isLiveContent": kind in (VideoKind.LIVE, VideoKind.UPCOMING, VideoKind.ENDED_LIVE) or bool(video.streamed_at),
        "allowRatings": True,
    }


def _microformat(video: Video, channel: Channel, kind: VideoKind) -> Json:
    published = f"{video.upload_date}T05:00:00-08:00"
    data: Json = {
        "title": {"simpleText": video.title},
        "description": {"simpleText": video.description},
        "lengthSeconds": _length(video, kind),
        "ownerProfileUrl": f"http://www.youtube.com/{channel.handle}",
        "externalChannelId": channel.id,
        "ownerChannelName": channel.title,
        "isFamilySafe": kind is not VideoKind.AGE,
        "availableCountries": list(video.countries),
        "isUnlisted": False,
        "viewCount": str(video.views),
        "category": video.category,
        "publishDate": published,
        "uploadDate": published,
    }
    if kind in (VideoKind.UPCOMING, VideoKind.PREMIERE):
        begin = starts_at(video).astimezone(UTC).isoformat(timespec="seconds")
        data["liveBroadcastDetails"] = {"isLiveNow": False, "startTimestamp": begin}
    elif kind is VideoKind.LIVE:
        data["liveBroadcastDetails"] = {"isLiveNow": True, "startTimestamp": published}
    elif video.streamed_at is not None:
        data["liveBroadcastDetails"] = {"isLiveNow": False, "startTimestamp": video.streamed_at}
    return data


def _format(video: Video, itag: int, blob: Blob, expires: int, epoch: int) -> Json:
    height = 360 if itag == MUXED_ITAG else _HEIGHT_OF.get(itag)
    mime = 'audio/mp4; codecs="mp4a.40.2"'
    if height is not None:
        mime = 'video/mp4; codecs="avc1.42C01F' + (', mp4a.40.2"' if itag == MUXED_ITAG else '"')
    query = {
        "expire": expires,
        "ei": f"epoch{epoch}",
        "id": video.id,
        "itag": itag,
        "source": "youtube",
        "mime": mime.partition(";")[0],
        "clen": blob.size + video.missing,
        "dur": f"{SECONDS}.000",
    }
    data: Json = {
        "itag": itag,
        "url": f"https://{MEDIA_HOST}/videoplayback?{urlencode(query)}",
        "mimeType": mime,
        "bitrate": blob.size * 8 // SECONDS,
        "contentLength": str(blob.size + video.missing),
        "approxDurationMs": str(video.duration * 1000),
        "lastModified": "1700000000000000",
    }
    if height in video.without_url and itag != MUXED_ITAG:
        del data["url"]
    if height is not None:
        sides = (height, height * 16 // 9) if video.vertical else (height * 16 // 9, height)
        data |= {
            "width": sides[0],
            "height": sides[1],
            "quality": _QUALITY[height],
            "qualityLabel": f"{height}p",
            "fps": 1 if height > 1080 else 5,
        }
    if itag in (AUDIO_ITAG, MUXED_ITAG):
        data |= {
            "audioQuality": "AUDIO_QUALITY_MEDIUM" if itag == AUDIO_ITAG else "AUDIO_QUALITY_LOW",
            "audioSampleRate": "44100",
            "audioChannels": 1,
        }
    return data


def _caption_tracks(video: Video) -> list[Json]:
    tracks = []
    for language, auto in [*((c, False) for c in video.captions), *((c, True) for c in video.auto_captions)]:
        query = {"v": video.id, "lang": language} | ({"kind": "asr"} if auto else {})
        query |= {"exp": "xpe"} if video.captions_need_token else {}
        name = _LANGUAGES.get(language, language) + (" (auto-generated)" if auto else "")
        track: Json = {
            "baseUrl": f"https://www.youtube.com/api/timedtext?{urlencode(query)}",
            "name": {"simpleText": name},
            "vssId": f"a.{language}" if auto else f".{language}",
            "languageCode": language,
            "isTranslatable": auto,
        }
        tracks.append(track | ({"kind": "asr"} if auto else {}))
    return tracks


def live_manifest(video_id: str) -> str:
    """Return the HLS manifest of a live stream. The streams in it do not exist."""
    lines = ["#EXTM3U", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for itag, height in ((93, 360), (95, 720)):
        size = f"{height * 16 // 9}x{height}"
        lines.append(f'#EXT-X-STREAM-INF:BANDWIDTH={height * 2000},CODECS="avc1.42C01F,mp4a.40.2",RESOLUTION={size}')
        lines.append(f"https://manifest.googlevideo.com/api/manifest/hls_playlist/id/{video_id}/itag/{itag}/index.m3u8")
    return "\n".join(lines) + "\n"


def caption_text(video: Video, language: str, *, auto: bool, fmt: str) -> tuple[str, str] | None:
    """Return the captions as `vtt` or `json3` with their content type; None when they do not exist."""
    if language not in (video.auto_captions if auto else video.captions):
        return None
    lines = [f"{video.id} says hello ({language})", "and goodbye"]
    if fmt == "json3":
        events = [{"tStartMs": n * 1000, "dDurationMs": 1000, "segs": [{"utf8": line}]} for n, line in enumerate(lines)]
        return json.dumps({"wireMagic": "pb3", "events": events}), "application/json; charset=UTF-8"
    if fmt != "vtt":
        return None
    cues = "".join(f"\n00:00:0{n}.000 --> 00:00:0{n + 1}.000\n{line}\n" for n, line in enumerate(lines))
    return f"WEBVTT\nKind: captions\nLanguage: {language}\n{cues}", "text/vtt; charset=UTF-8"


def page(initial_data: Json, player: Json | None = None) -> str:
    """Return an HTML page with settings and data in scripts, as on YouTube, so that yt-dlp needs no more requests."""
    settings = {
        "STS": 20000,
        "PLAYER_JS_URL": "/s/player/00000000/player_ias.vflset/en_US/base.js",
        "VISITOR_DATA": "loopback",
        "INNERTUBE_CONTEXT": {
            "client": {"clientName": WEB, "clientVersion": "2.20260101.00.00", "visitorData": "loopback", "hl": "en"}
        },
    }
    scripts = [f"ytcfg.set({_script(settings)});", f"var ytInitialData = {_script(initial_data)};"]
    if player is not None:
        scripts.append(f"var ytInitialPlayerResponse = {_script(player)};")
    body = "\n".join(f"<script>{script}</script>" for script in scripts)
    return f"<!DOCTYPE html><html><head><title>YouTube</title></head><body>\n{body}\n</body></html>\n"


def _script(data: Json) -> str:
    return json.dumps(data).replace("<", "\\u003c")


def watch_data(world: World, video_id: str, playlist: Playlist | None) -> Json:
    """Return the `ytInitialData` of a watch page, including the playlist when the URL contains one."""
    results: Json = {"results": {"results": {"contents": []}}}
    video = world.videos.get(video_id)
    if video is not None and world.kind(video_id) not in _NO_DETAILS:
        results["results"]["results"]["contents"] = _watch_contents(video, world.channel_of(video))
    if playlist is not None:
        url = f"/playlist?list={playlist.id}"
        results["playlist"] = {
            "playlist": {
                "title": playlist.title,
                "playlistId": playlist.id,
                "contents": [],
                "endpoint": {"commandMetadata": {"webCommandMetadata": {"url": url}}},
            }
        }
    return {
        "contents": {"twoColumnWatchNextResults": results},
        "currentVideoEndpoint": {"watchEndpoint": {"videoId": video_id}},
    }


def _watch_contents(video: Video, channel: Channel) -> list[Json]:
    endpoint = {"browseEndpoint": {"browseId": channel.id, "canonicalBaseUrl": f"/{channel.handle}"}}
    date_text = datetime.fromisoformat(video.upload_date).strftime("%b %d, %Y")
    like = {"accessibilityText": f"like this video along with {video.likes} other people"}
    for layer in (
        "buttonViewModel",
        "defaultButtonViewModel",
        *["toggleButtonViewModel"] * 2,
        *["likeButtonViewModel"] * 2,
    ):
        like = {layer: like}  # type: ignore[dict-item]  # the nesting depth is YouTube's
    buttons = [{"segmentedLikeDislikeButtonViewModel": like}]
    primary = {
        "title": {"runs": [{"text": video.title}]},
        "dateText": {"simpleText": date_text},
        "viewCount": {"videoViewCountRenderer": {"viewCount": {"simpleText": f"{video.views:,} views"}}},
        "videoActions": {"menuRenderer": {"topLevelButtons": buttons}},
    }
    owner = {
        "title": {"runs": [{"text": channel.title, "navigationEndpoint": endpoint}]},
        "subscriberCountText": {"simpleText": f"{channel.subscribers} subscribers"},
        "navigationEndpoint": endpoint,
    }
    return [
        {"videoPrimaryInfoRenderer": primary},
        {"videoSecondaryInfoRenderer": {"owner": {"videoOwnerRenderer": owner}}},
    ]
