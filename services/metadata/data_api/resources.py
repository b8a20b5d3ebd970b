"""Convert resources of the Data API v3 to our models. Pure.

Values are normalized to those of yt-dlp, so that both sources are alike. The API has no caption languages and chapters.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from services.common.domain.videos import ChannelTab, Entry, PlaylistMetadata, VideoMetadata
from services.common.texts import encodable
from services.common.validation import validate_channel_id, validate_playlist_id, validate_video_id

Json = Mapping[str, Any]

_DURATION = TypeAdapter(timedelta)
_CATEGORIES = {
    "1": "Film & Animation", "2": "Autos & Vehicles", "10": "Music", "15": "Pets & Animals", "17": "Sports",
    "19": "Travel & Events", "20": "Gaming", "22": "People & Blogs", "23": "Comedy", "24": "Entertainment",
    "25": "News & Politics", "26": "Howto & Style", "27": "Education", "28": "Science & Technology",
    "29": "Nonprofits & Activism",
}  # fmt: skip
_LICENSES = {"creativeCommon": "Creative Commons Attribution license (reuse allowed)"}
_LIVE = {"live": "is_live", "upcoming": "is_upcoming", "none": "not_live"}
# markers of unavailable entries: `privacyStatusUnspecified` is a deleted video
_MARKS = {"private": "private", "privacyStatusUnspecified": "deleted"}


def video_metadata(video: Json) -> VideoMetadata:
    """Convert a video resource with snippet, contentDetails, status, statistics and liveStreamingDetails."""
    snippet, details = _part(video, "snippet"), _part(video, "contentDetails")
    status, numbers = _part(video, "status"), _part(video, "statistics")
    category = _CATEGORIES.get(str(snippet.get("categoryId")))
    return VideoMetadata(
        video_id=video["id"],
        title=_text(snippet.get("title")) or video["id"],
        description=_text(snippet.get("description")) or "",
        channel=_text(snippet.get("channelTitle")),
        channel_id=_text(snippet.get("channelId")),
        upload_date=_day(snippet.get("publishedAt")),
        duration_seconds=_seconds(details.get("duration")),
        view_count=_number(numbers.get("viewCount")),
        like_count=_number(numbers.get("likeCount")),
        comment_count=_number(numbers.get("commentCount")),
        tags=[text for tag in snippet.get("tags") or () if (text := _text(tag))],
        categories=[category] if category else [],
        thumbnails=_thumbnails(snippet),
        language=_text(snippet.get("defaultAudioLanguage") or snippet.get("defaultLanguage")),
        license=_LICENSES.get(str(status.get("license"))),
        age_limit=18 if _part(details, "contentRating").get("ytRating") == "ytAgeRestricted" else 0,
        availability=_text(status.get("privacyStatus")),
        live_status=_live_status(snippet, _part(video, "liveStreamingDetails")),
        webpage_url=f"https://www.youtube.com/watch?v={video['id']}",
    )


def playlist_metadata(playlist: Json) -> PlaylistMetadata:
    """Convert a playlist resource with snippet, contentDetails and status."""
    snippet = _part(playlist, "snippet")
    return PlaylistMetadata(
        playlist_id=playlist["id"],
        title=_text(snippet.get("title")),
        description=_text(snippet.get("description")),
        channel=_text(snippet.get("channelTitle")),
        channel_id=_text(snippet.get("channelId")),
        entry_count=_number(_part(playlist, "contentDetails").get("itemCount")),
        webpage_url=f"https://www.youtube.com/playlist?list={playlist['id']}",
        availability=_text(_part(playlist, "status").get("privacyStatus")),
    )


def uploads_metadata(channel: Json, tab: ChannelTab | None = None) -> PlaylistMetadata | None:
    """Convert a channel resource with snippet, contentDetails and statistics to the playlist of its uploads, or of
    those of one tab; None when it has none."""
    snippet = _part(channel, "snippet")
    uploads = str(_part(_part(channel, "contentDetails"), "relatedPlaylists").get("uploads") or "")
    if not validate_playlist_id(uploads) and validate_channel_id(str(channel["id"])):
        uploads = f"UU{channel['id'][2:]}"
    if not validate_playlist_id(uploads):
        return None
    if tab is not None:
        uploads = f"{tab.list_prefix}{channel['id'][2:]}"
    handle = _text(snippet.get("customUrl"))
    return PlaylistMetadata(
        playlist_id=uploads,
        title=_text(snippet.get("title")),
        description=_text(snippet.get("description")),
        channel=_text(snippet.get("title")),
        channel_id=_text(channel["id"]),
        channel_handle=handle if handle and handle.startswith("@") else None,
        entry_count=_number(_part(channel, "statistics").get("videoCount")) if tab is None else None,
        webpage_url=f"https://www.youtube.com/playlist?list={uploads}",
    )


def item_video(item: Json) -> str | None:
    """Return the video id of a playlist item, None when it has none."""
    found = _part(item, "contentDetails").get("videoId")
    found = found or _part(_part(item, "snippet"), "resourceId").get("videoId")
    return found if isinstance(found, str) and validate_video_id(found) else None


def entry_of(item: Json, video_id: str, position: int, described: VideoMetadata | None) -> Entry:
    """Convert a playlist item with snippet, contentDetails and status. For unavailable videos the API has
    placeholders."""
    snippet = _part(item, "snippet")
    marked = _MARKS.get(str(_part(item, "status").get("privacyStatus"))) if described is None else None
    return Entry(
        video_id=video_id,
        title=described.title if described else None if marked else _text(snippet.get("title")),
        duration_seconds=described.duration_seconds if described else None,
        channel=described.channel if described else _text(snippet.get("videoOwnerChannelTitle")),
        position=position,
        marked=marked,
        described=described is not None,
    )


def _part(of: Json, name: str) -> Json:
    found = of.get(name)
    return found if isinstance(found, Mapping) else {}


def _text(value: object) -> str | None:
    return encodable(value) if isinstance(value, str) else None


def _number(value: object) -> int | None:
    """Parse a count, which is a text, and missing when hidden."""
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() else None


def _seconds(value: object) -> float | None:
    """Parse `PT1H2M3S`; a running stream has `P0D`."""
    try:
        return _DURATION.validate_python(value).total_seconds() or None
    except ValidationError:
        return None


def _day(value: object) -> str | None:
    return value[: len("YYYY-MM-DD")] if isinstance(value, str) else None


def _thumbnails(snippet: Json) -> list[dict[str, Any]]:
    """Return thumbnails smallest first, as yt-dlp does."""
    found = _part(snippet, "thumbnails").items()
    listed = [{"id": name, **image} for name, image in found if isinstance(image, Mapping) and image.get("url")]
    return sorted(listed, key=lambda image: image.get("width") or 0)


def _live_status(snippet: Json, stream: Json) -> str | None:
    if stream.get("actualEndTime"):
        return "was_live"
    return _LIVE.get(str(snippet.get("liveBroadcastContent")))
