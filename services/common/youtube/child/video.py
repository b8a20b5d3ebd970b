"""Convert an extraction of yt-dlp to VideoMetadata and to an info.json without secrets. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from services.common.domain.videos import VideoMetadata

# Query keys of URLs that are signed for one address and a few hours.
_SIGNING = frozenset({"sig", "lsig", "signature", "expire", "ip", "pot", "key", "token"})
_PRIVATE = frozenset({"cookies", "http_headers", "fragments", "fragment_base_url", "manifest_url", "filepath", "proxy"})


def video_metadata(info: Mapping[str, Any]) -> VideoMetadata:
    """Convert an extractor's result. Raise pydantic.ValidationError without an id."""
    handle = info.get("uploader_id")
    return VideoMetadata(
        video_id=info["id"],
        title=info.get("title") or info["id"],
        description=info.get("description") or "",
        channel=info.get("channel") or info.get("uploader"),
        channel_id=info.get("channel_id"),
        channel_handle=handle if isinstance(handle, str) and handle.startswith("@") else None,
        upload_date=_upload_date(info),
        duration_seconds=info.get("duration"),
        view_count=info.get("view_count"),
        like_count=info.get("like_count"),
        comment_count=info.get("comment_count"),
        tags=list(info.get("tags") or ()),
        categories=list(info.get("categories") or ()),
        chapters=[dict(chapter) for chapter in info.get("chapters") or ()],
        thumbnails=[_thumbnail(thumbnail) for thumbnail in info.get("thumbnails") or ()],
        caption_languages=sorted(set(info.get("subtitles") or ()) - {"live_chat"}),
        language=info.get("language"),
        license=info.get("license"),
        age_limit=info.get("age_limit"),
        availability=info.get("availability"),
        live_status=info.get("live_status"),
        kind=_kind(info),
        webpage_url=info.get("webpage_url"),
    )


def _kind(info: Mapping[str, Any]) -> str | None:
    """A premiere has the live status of a stream and the media of a video."""
    kind = {"video": "video", "short": "short", "livestream": "stream"}.get(str(info.get("media_type")))
    return "premiere" if kind == "video" and info.get("live_status") not in {None, "not_live"} else kind


def _upload_date(info: Mapping[str, Any]) -> str | None:
    day = info.get("upload_date")
    if isinstance(day, str) and len(day) == len("YYYYMMDD"):
        return f"{day[:4]}-{day[4:6]}-{day[6:]}"
    timestamp = info.get("timestamp")
    return datetime.fromtimestamp(timestamp, UTC).date().isoformat() if timestamp else None


def _thumbnail(thumbnail: Mapping[str, Any]) -> dict[str, Any]:
    return {name: thumbnail[name] for name in ("id", "url", "width", "height") if thumbnail.get(name) is not None}


def public_info(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return an info.json without secret or short-lived values: cookies, headers, proxies, signed URLs, local paths."""
    return {key: _public(value) for key, value in info.items() if _shown(key, value)}


def _public(value: Any) -> Any:
    if isinstance(value, Mapping):
        return public_info(value)
    if isinstance(value, list | tuple):
        return [_public(part) for part in value if not _is_signed(part)]
    return value


def _shown(key: str, value: Any) -> bool:
    return key not in _PRIVATE and not key.startswith("_") and not _is_signed(value)


def _is_signed(value: Any) -> bool:
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    host = parts.hostname or ""
    return host.endswith("googlevideo.com") or not _SIGNING.isdisjoint(parse_qs(parts.query))
