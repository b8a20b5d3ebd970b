"""The history of a video or a playlist, for people. Pure: a model in, text out."""

from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.storage.reporting.history import HistoryPage
from services.storage.reporting.timeline import TimelineEvent, TimelineEventKind
from ytarchive.cli.render.text import count, safe_text

_GONE = {
    "private": "it is private",
    "deleted": "it was deleted",
    "region_blocked": "it is blocked in this country",
    "age_restricted": "it is for adults who sign in",
    "terminated": "its account was terminated",
    "copyright": "it was blocked for its copyright",
    "members_only": "it is for members of the channel",
    "missing": "there is no such video",
}


def history(page: HistoryPage) -> RenderableType:
    """The newest last, as in a diary."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    for line in page.events[::-1]:
        at = f"{line.at.astimezone():%Y-%m-%d %H:%M}"
        if page.kind == "playlist":
            table.add_row(at, safe_text(line.video_id or ""), Text(told(line, of_video=False)))
        else:
            table.add_row(at, Text(told(line, of_video=True) + _where(line)))
    head = f"{page.kind.capitalize()} {safe_text(page.id)}"
    if page.title:
        head += f": {safe_text(page.title, 100)}"
    if len(page.events) < page.total:
        head += f" ({len(page.events)} of {count(page.total, 'line')})"
    return Group(Text(head), table)


def told(line: TimelineEvent, *, of_video: bool) -> str:
    """What happened, in a few words."""
    if line.change is TimelineEventKind.FIRST_LOOK and of_video:
        return "listed when this was first looked at"
    if line.playlist_id is not None:
        return _SHOWN[line.change](line)
    return _MET[line.change](line)


def _where(line: TimelineEvent) -> str:
    return f" [{safe_text(line.playlist_title or line.playlist_id, 60)}]" if line.playlist_id else ""


def _titled(line: TimelineEvent) -> str:
    return f" ({safe_text(line.title, 80)})" if line.title else ""


def _retitled(line: TimelineEvent) -> str:
    return f"retitled: {safe_text(line.before or '', 80)} → {safe_text(line.title or '', 80)}"


def _gone(line: TimelineEvent) -> str:
    why = _GONE.get(line.reason or "", safe_text(line.reason or "", 80))
    if line.last is None or line.last.date() == line.at.date():
        return f"not to be had: {why}"
    return f"not to be had: {why}; still so on {line.last.astimezone():%Y-%m-%d}"


def _files(line: TimelineEvent) -> str:
    return ", ".join(safe_text(name, 80) for name in line.files or ())


_Words = dict[TimelineEventKind, Callable[[TimelineEvent], str]]
_SHOWN: _Words = {
    TimelineEventKind.FIRST_LOOK: lambda line: f"first look: {count(line.total or 0, 'video')}",
    TimelineEventKind.APPEARED: lambda line: f"appeared{_titled(line)}",
    TimelineEventKind.VANISHED: lambda line: f"not listed any more{_titled(line)}",
    TimelineEventKind.PRIVATE: lambda line: f"listed as private{_titled(line)}",
    TimelineEventKind.DELETED: lambda line: f"listed as deleted{_titled(line)}",
    TimelineEventKind.CAME_BACK: lambda line: f"came back{_titled(line)}",
    TimelineEventKind.RETITLED: _retitled,
}
_MET: _Words = {
    TimelineEventKind.ARCHIVED: lambda line: f"archived: {_files(line)}",
    TimelineEventKind.REPLACED: lambda line: f"archived anew: {_files(line)}",
    TimelineEventKind.ADDED: lambda line: f"more of it archived: {_files(line)}",
    TimelineEventKind.FOUND_GONE: _gone,
    TimelineEventKind.FAILED: lambda _line: "could not be downloaded, all attempts failed",
    TimelineEventKind.CAME_BACK: lambda _line: "came back, and was archived",
    TimelineEventKind.RESOLVED: lambda _line: "archived after all",
    TimelineEventKind.RETITLED: _retitled,
}
