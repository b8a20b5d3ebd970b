"""The operation `list`: the entries of a playlist or channel, page by page as yt-dlp reads them.

Request:  {"target": a Target other than VIDEOS, "offset": entries to skip}
Messages: {"playlist": a PlaylistMetadata}                      once, before the pages
          {"page": {"offset": of its first line, "lines": how many, "entries": [an Entry, …]}}

A page is sent as soon as it is full; `lines` includes entries without a video id, so that offset + lines is the next
offset. YouTube chains its pages, so an offset saves messages, not requests.

Requests to YouTube: 1 for the page of a channel that is not named by its id, 2 for that of an album; 2 for a playlist
(or `UU…`), and 1 more for every 100 entries after the first 100.
"""

import re
from collections.abc import Callable
from itertools import islice
from typing import Any

from yt_dlp.utils import YoutubeDLError

from services.common.domain.videos import Entry, PlaylistMetadata, Target, TargetKind
from services.common.targets import target_url
from services.common.texts import encodable
from services.common.validation import PRIVATE_LISTS, validate_channel_id, validate_playlist_id, validate_video_id
from services.common.youtube.child.session import LIST, make_ydl

PAGE = 100
_REDIRECTS = 3
_NOT_SHOWN = re.compile(r"does not exist|is private|unviewable|resolve url|HTTP Error 404", re.IGNORECASE)
_MARKS = {"[Private video]": "private", "[Deleted video]": "deleted"}

Json = dict[str, Any]


class OwnersOnly(Exception):
    """Watch later, or another list of the kind, without valid cookies."""


def run(request: Json, options: Json, emit: Callable[[Json], None]) -> None:
    """List the target. Raise yt-dlp's DownloadError, or ExtractorError between two pages."""
    target = Target.model_validate(request["target"])
    offset = int(request.get("offset", 0))
    ydl = make_ydl(complete(options))
    channel = None
    uploads = target.kind is TargetKind.CHANNEL
    if uploads:
        channel, target = _uploads(ydl, target)
    playlist = _extract_private(ydl, target) if target.id in PRIVATE_LISTS else extract(ydl, target_url(target))
    if uploads and channel is None:  # its id was given, so its own page was not requested
        channel = {**playlist, "title": playlist.get("channel") or playlist.get("title")}
    emit({"playlist": metadata_of(playlist, target.id, channel).model_dump(mode="json")})
    lines = islice(playlist.get("entries") or (), offset, None)
    while page := list(islice(lines, PAGE)):
        entries = [
            entry_of(line, offset + n).model_dump(mode="json")
            for n, line in enumerate(page)
            if validate_video_id(line.get("id") or "")
        ]
        emit({"page": {"offset": offset, "lines": len(page), "entries": entries}})
        offset += len(page)


def _uploads(ydl: Any, channel: Target) -> tuple[Json | None, Target]:
    """Return a channel's page, unless its id is known, and the playlist of its uploads, or of those of one tab."""
    page = None if validate_channel_id(channel.id) else channel_page(ydl, channel)
    channel_id = str(page["channel_id"]) if page else channel.id
    prefix = channel.tab.list_prefix if channel.tab else "UU"
    return page, Target(kind=TargetKind.PLAYLIST, id=f"{prefix}{channel_id[2:]}")


def channel_page(ydl: Any, channel: Target) -> Json:
    """Return the page of a channel that is not named by its id, which has it."""
    page = extract(ydl, f"{target_url(channel)}/about")
    if not validate_channel_id(str(page.get("channel_id"))):
        raise ValueError(f"{channel.id}: the page names no channel")
    return page


def complete(options: Json) -> Json:
    """Make an empty continuation an error; by default yt-dlp only warns and ends the listing early."""
    given = options.get("extractor_args") or {}
    youtube = {**given.get("youtube", {}), "raise_incomplete_data": ["1"]}
    return {**options, "extractor_args": {**given, "youtube": youtube}}


def extract(ydl: Any, url: str) -> Json:
    """Extract a playlist page; `entries` are neither requested nor resolved yet (docs/decisions/0004).

    That is the effect of `process=False`; `extract_flat` would only keep every entry in memory.
    """
    for _ in range(_REDIRECTS):
        found: Json = ydl.extract_info(url, download=False, process=False, ie_key=LIST)
        if found.get("_type") not in {"url", "url_transparent"}:
            return found
        url = found["url"]
    raise ValueError(f"{url}: redirected more than {_REDIRECTS} times")


def _extract_private(ydl: Any, target: Target) -> Json:
    """Extract a list that only its owner sees. Raise OwnersOnly when YouTube answers as it does others."""
    try:
        return extract(ydl, target_url(target))
    except YoutubeDLError as error:
        if not _NOT_SHOWN.search(str(error)):
            raise
    raise OwnersOnly(  # outside of the clause: it has no cause, whose words would be shown instead
        f"YouTube shows {PRIVATE_LISTS[target.id]} to its owner only: [youtube] cookies_file is not set, or its cookies"
        " have expired. Export them again while you are logged in"
    )


def metadata_of(playlist: Json, playlist_id: str, channel: Json | None) -> PlaylistMetadata:
    """Prefer a channel's own title and description to those of its uploads ("Uploads from …")."""
    named = channel or playlist
    handle = str(named.get("uploader_id") or "")
    found_id = str(playlist.get("id") or "")
    return PlaylistMetadata(
        playlist_id=found_id if validate_playlist_id(found_id) else playlist_id,
        title=_text(named.get("title")),
        description=_text(named.get("description")),
        channel=_text(named.get("channel")),
        channel_id=named.get("channel_id"),
        channel_handle=_text(handle) if handle.startswith("@") else None,
        entry_count=playlist.get("playlist_count"),
        webpage_url=playlist.get("webpage_url"),
        availability=playlist.get("availability"),
        modified_date=_iso(playlist.get("modified_date")),
    )


def entry_of(line: Json, position: int) -> Entry:
    title, duration = _text(line.get("title")), line.get("duration")
    return Entry(
        video_id=line["id"],
        title=title,
        duration_seconds=duration,
        channel=_text(line.get("channel")),
        position=position,
        # a video may have this title; an unavailable one has no duration either
        marked=_MARKS.get(title or "") if duration is None else None,
    )


def _text(value: object) -> str | None:
    return encodable(value) if isinstance(value, str) else None


def _iso(date: str | None) -> str | None:
    return f"{date[:4]}-{date[4:6]}-{date[6:8]}" if date and len(date) == 8 else None
