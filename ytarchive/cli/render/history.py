"""The history of a video or a playlist for people. Pure."""

from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.text import Text

from services.storage.reporting.history import HistoryPage
from services.storage.reporting.timeline import TimelineEvent, TimelineEventKind
from ytarchive.cli.render.table import table
from ytarchive.text import count, safe_text

_REASONS = {
    "private": "it is private",
    "deleted": "it was deleted",
    "region_blocked": "it is blocked in this country",
    "age_restricted": "it requires a signed-in adult",
    "terminated": "its account was terminated",
    "copyright": "it was blocked for copyright reasons",
    "members_only": "it is for channel members only",
    "missing": "the video does not exist",
    "unexplained": "YouTube refused it on three days and did not say why",
}


def history(page: HistoryPage) -> RenderableType:
    """Return the events, newest last."""
    listed = table("", "") if page.kind == "video" else table("", "", "")
    listed.show_header = False
    listed.columns[0].no_wrap = True
    for event in page.events[::-1]:
        at = f"{event.at.astimezone():%Y-%m-%d %H:%M}"
        if page.kind == "playlist":
            listed.add_row(at, safe_text(event.video_id or ""), Text(describe(event, of_video=False)))
        else:
            listed.add_row(at, Text(describe(event, of_video=True) + _playlist(event)))
    head = f"{page.kind.capitalize()} {safe_text(page.id)}"
    if page.title:
        head += f": {safe_text(page.title, 100)}"
    if len(page.events) < page.total:
        head += f" ({len(page.events)} of {count(page.total, 'event')})"
    return Group(Text(head), listed)


def describe(event: TimelineEvent, *, of_video: bool) -> str:
    """Return a short description of what happened."""
    if event.change is TimelineEventKind.FIRST_LOOK and of_video:
        return "in the playlist when it was first listed"
    if event.playlist_id is not None:
        return _IN_PLAYLIST[event.change](event)
    return _OF_VIDEO[event.change](event)


def _playlist(event: TimelineEvent) -> str:
    return f" [{safe_text(event.playlist_title or event.playlist_id, 60)}]" if event.playlist_id else ""


def _title(event: TimelineEvent) -> str:
    return f" ({safe_text(event.title, 80)})" if event.title else ""


def _retitled(event: TimelineEvent) -> str:
    return f"retitled: {safe_text(event.before or '', 80)} → {safe_text(event.title or '', 80)}"


def _unavailable(event: TimelineEvent) -> str:
    reason = _REASONS.get(event.reason or "", safe_text(event.reason or "", 80))
    if event.last is None or event.last.date() == event.at.date():
        return f"unavailable: {reason}"
    return f"unavailable: {reason}; last confirmed on {event.last.astimezone():%Y-%m-%d}"


def _files(event: TimelineEvent) -> str:
    return ", ".join(safe_text(name, 80) for name in event.files or ())


def _instead(event: TimelineEvent) -> str:
    return f" ({safe_text(event.reason, 80)})" if event.reason else ""


def _looked(event: TimelineEvent) -> str:
    looks, last = event.looks or 1, event.last
    times = f" {looks} times, until {last.astimezone():%Y-%m-%d %H:%M}" if looks > 1 and last is not None else ""
    return f"looked at again{times}: {safe_text(event.reason or '', 200)}"


_Descriptions = dict[TimelineEventKind, Callable[[TimelineEvent], str]]
_IN_PLAYLIST: _Descriptions = {
    TimelineEventKind.FIRST_LOOK: lambda event: f"first listing: {count(event.total or 0, 'video')}",
    TimelineEventKind.APPEARED: lambda event: f"appeared{_title(event)}",
    TimelineEventKind.VANISHED: lambda event: f"no longer listed{_title(event)}",
    TimelineEventKind.PRIVATE: lambda event: f"listed as private{_title(event)}",
    TimelineEventKind.DELETED: lambda event: f"listed as deleted{_title(event)}",
    TimelineEventKind.CAME_BACK: lambda event: f"listed again{_title(event)}",
    TimelineEventKind.RETITLED: _retitled,
}
_OF_VIDEO: _Descriptions = {
    TimelineEventKind.ARCHIVED: lambda event: f"archived: {_files(event)}",
    TimelineEventKind.REPLACED: lambda event: f"replaced: {_files(event)}{_instead(event)}",
    TimelineEventKind.ADDED: lambda event: f"added: {_files(event)}",
    TimelineEventKind.FOUND_GONE: _unavailable,
    TimelineEventKind.FAILED: lambda _event: "could not be downloaded, all attempts failed",
    TimelineEventKind.CAME_BACK: lambda _event: "available again and archived",
    TimelineEventKind.RESOLVED: lambda _event: "archived after earlier failures",
    TimelineEventKind.LOOKED: _looked,
    TimelineEventKind.GIVEN_UP: lambda _event: "not looked at any more for something better",
    TimelineEventKind.RETITLED: _retitled,
}
