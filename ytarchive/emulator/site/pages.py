"""Pages of playlists and channels, in the format that yt-dlp reads."""

import base64
import binascii
from datetime import UTC, datetime

from ytarchive.emulator.site.refusals import starts_at
from ytarchive.emulator.site.world import (
    PRIVATE_LISTS,
    UNAVAILABLE_IN_LISTINGS,
    Channel,
    Json,
    Playlist,
    Video,
    VideoKind,
    World,
    published_at,
)

PLAYLIST_PAGE = 100
CHANNEL_PAGE = 30
_DAY = 86_400
_AGES = {"year": 365 * _DAY, "month": 30 * _DAY, "week": 7 * _DAY, "day": _DAY, "hour": 3600, "minute": 60}  # seconds


def missing_playlist() -> Json:
    """Return the response for a playlist that does not exist or is private."""
    alert = {"type": "ERROR", "text": {"simpleText": "The playlist does not exist."}}
    return {"alerts": [{"alertRenderer": alert}]}


def playlist_data(world: World, playlist: Playlist, *, unavailable: bool) -> Json:
    """Return the first page of a playlist; with `unavailable`, deleted and private videos are included."""
    channel = world.channel_of(playlist)
    visible = _visible(world, playlist, unavailable)
    hidden_alert = {"type": "INFO", "text": {"simpleText": "Unavailable videos are hidden"}}
    contents = {"playlistVideoListRenderer": {"contents": _playlist_items(world, playlist, 0, unavailable)}}
    section = {"itemSectionRenderer": {"contents": [contents]}}
    tab = {"selected": True, "content": {"sectionListRenderer": {"contents": [section]}}}
    primary = {
        "title": {"runs": [{"text": playlist.title}]},
        "stats": [
            {"runs": [{"text": f"{playlist.count:,}"}, {"text": " videos"}]},
            {"simpleText": f"{playlist.views:,} views"},
        ],
        "badges": [],
    }
    data: Json = {
        "contents": {"twoColumnBrowseResultsRenderer": {"tabs": [{"tabRenderer": tab}]}},
        "metadata": {"playlistMetadataRenderer": {"title": playlist.title, "description": playlist.description}},
        "header": {
            "playlistHeaderRenderer": {
                "playlistId": playlist.id,
                "title": {"simpleText": playlist.title},
                "privacy": "PRIVATE" if playlist.id in PRIVATE_LISTS else "PUBLIC",
                "ownerText": {"runs": [_channel_run(channel)]},
            }
        },
        "sidebar": {
            "playlistSidebarRenderer": {
                "items": [
                    {"playlistSidebarPrimaryInfoRenderer": primary},
                    {
                        "playlistSidebarSecondaryInfoRenderer": {
                            "videoOwner": {"videoOwnerRenderer": {"title": {"runs": [_channel_run(channel)]}}}
                        }
                    },
                ]
            }
        },
    }
    if len(visible) < len(playlist.entries):
        data["alerts"] = [{"alertWithButtonRenderer": hidden_alert}]
    return data


def album_data(playlist_id: str) -> Json:
    """Return the page of an album on YouTube Music."""
    url = f"https://music.youtube.com/playlist?list={playlist_id}"
    contents: Json = {"singleColumnBrowseResultsRenderer": {"tabs": []}}
    return {"contents": contents, "microformat": {"microformatDataRenderer": {"urlCanonical": url}}}


def channel_data(world: World, channel: Channel) -> Json:
    """Return the page of a channel. It has only the tab Videos, which is returned for every requested tab."""
    content = {"richGridRenderer": {"contents": _channel_items(world, channel, 0)}}
    url = f"/{channel.handle}/videos"
    renderer = {
        "title": "Videos",
        "selected": True,
        "endpoint": {"commandMetadata": {"webCommandMetadata": {"url": url}}},
        "content": content,
    }
    return {
        "contents": {"twoColumnBrowseResultsRenderer": {"tabs": [{"tabRenderer": renderer}]}},
        "metadata": {
            "channelMetadataRenderer": {
                "title": channel.title,
                "description": channel.description,
                "externalId": channel.id,
                "channelUrl": f"https://www.youtube.com/channel/{channel.id}",
                "vanityChannelUrl": f"http://www.youtube.com/{channel.handle}",
                "ownerUrls": [f"http://www.youtube.com/{channel.handle}"],
                "keywords": "",
            }
        },
    }


def continuation(world: World, token: str) -> Json | None:
    """Return the next page for a continuation token; None for an invalid token."""
    try:
        listing, offset, unavailable = base64.urlsafe_b64decode(token.encode()).decode().rsplit(":", 2)
        start = int(offset)
    except (ValueError, binascii.Error):
        return None
    if (channel := world.channels.get(listing)) is not None:
        items = _channel_items(world, channel, start)
    elif (playlist := world.find_playlist(listing)) is not None:
        items = _playlist_items(world, playlist, start, unavailable == "1")
    else:
        return None
    return {"onResponseReceivedActions": [{"appendContinuationItemsAction": {"continuationItems": items}}]}


def _token(listing: str, offset: int, unavailable: bool) -> Json:
    token = base64.urlsafe_b64encode(f"{listing}:{offset}:{int(unavailable)}".encode()).decode()
    return {"continuationItemRenderer": {"continuationEndpoint": {"continuationCommand": {"token": token}}}}


def _visible(world: World, playlist: Playlist, unavailable: bool) -> list[str]:
    return [v for v in playlist.entries if unavailable or world.listed_kind(v) not in UNAVAILABLE_IN_LISTINGS]


def _playlist_items(world: World, playlist: Playlist, start: int, unavailable: bool) -> list[Json]:
    visible = _visible(world, playlist, unavailable)[: playlist.cut_after]
    page = visible[start : start + PLAYLIST_PAGE]
    items = [_playlist_item(world, video_id, start + n) for n, video_id in enumerate(page, start=1)]
    if start + PLAYLIST_PAGE < len(visible):
        items.append(_token(playlist.id, start + PLAYLIST_PAGE, unavailable))
    return items


def _playlist_item(world: World, video_id: str, index: int) -> Json:
    item: Json = {"videoId": video_id, "index": {"simpleText": str(index)}}
    kind = world.listed_kind(video_id)
    if kind in UNAVAILABLE_IN_LISTINGS:
        title = "[Private video]" if kind is VideoKind.PRIVATE else "[Deleted video]"
        return {"playlistVideoRenderer": item | {"title": {"runs": [{"text": title}]}, "isPlayable": False}}
    video = world.videos[video_id]
    item |= {
        "title": {"runs": [{"text": video.title}]},
        "shortBylineText": {"runs": [_channel_run(world.channel_of(video))]},
        "thumbnail": {"thumbnails": [{"url": f"https://i.ytimg.com/vi/{video_id}/hqdefault.jpg"}]},
        "videoInfo": {"runs": [{"text": f"{video.views:,} views"}, {"text": " • "}, {"text": _ago(video)}]},
        "isPlayable": kind in (VideoKind.OK, VideoKind.LIVE),
    }
    if kind in (VideoKind.UPCOMING, VideoKind.PREMIERE):
        item["upcomingEventData"] = {"startTime": str(int(starts_at(video).timestamp()))}
    elif kind is VideoKind.LIVE:
        item["thumbnailOverlays"] = [{"thumbnailOverlayTimeStatusRenderer": {"style": "LIVE"}}]
    else:
        item["lengthSeconds"] = str(video.shown_duration)
    return {"playlistVideoRenderer": item}


def _ago(video: Video) -> str:
    """Return the age of a video as a list shows it."""
    seconds = max(0.0, (datetime.now(UTC) - published_at(video)).total_seconds())
    for unit, length in _AGES.items():
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' * (count > 1)} ago"
    return f"{int(seconds)} seconds ago"


def _channel_run(channel: Channel) -> Json:
    url = f"/{channel.handle}"
    return {
        "text": channel.title,
        "navigationEndpoint": {
            "commandMetadata": {"webCommandMetadata": {"url": url}},
            "browseEndpoint": {"browseId": channel.id, "canonicalBaseUrl": url},
        },
    }


def _channel_items(world: World, channel: Channel, start: int) -> list[Json]:
    uploads = world.uploads(channel)
    items = [_lockup(world, video_id) for video_id in uploads[start : start + CHANNEL_PAGE]]
    if start + CHANNEL_PAGE < len(uploads):
        items.append(_token(channel.id, start + CHANNEL_PAGE, False))
    return items


def _lockup(world: World, video_id: str) -> Json:
    video = world.videos[video_id]
    minutes, seconds = divmod(video.shown_duration, 60)
    text, style = f"{minutes}:{seconds:02d}", "THUMBNAIL_OVERLAY_BADGE_STYLE_DEFAULT"
    if video.kind is VideoKind.LIVE:
        text, style = "LIVE", "THUMBNAIL_OVERLAY_BADGE_STYLE_LIVE"
    elif video.kind in (VideoKind.UPCOMING, VideoKind.PREMIERE):
        text = "Upcoming"
    badge = {"thumbnailBadgeViewModel": {"text": text, "badgeStyle": style}}
    parts = [
        {"text": {"content": f"{video.views} views"}},
        {"text": {"content": _ago(video)}, "accessibilityLabel": ""},
    ]
    thumbnail = {
        "image": {"sources": [{"url": f"https://i.ytimg.com/vi/{video_id}/hqdefault.jpg"}]},
        "overlays": [{"thumbnailBottomOverlayViewModel": {"badges": [badge]}}],
    }
    rows = [{"metadataParts": parts}]
    metadata = {
        "title": {"content": video.title},
        "metadata": {"contentMetadataViewModel": {"metadataRows": rows}},
    }
    lockup = {
        "contentId": video_id,
        "contentType": "LOCKUP_CONTENT_TYPE_VIDEO",
        "contentImage": {"thumbnailViewModel": thumbnail},
        "metadata": {"lockupMetadataViewModel": metadata},
    }
    return {"richItemRenderer": {"content": {"lockupViewModel": lockup}}}
