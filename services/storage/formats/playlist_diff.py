"""The changes between two listings of a playlist. Pure.

What a listing shows is taken as true. What it omits counts as vanished only if the same source listed it before: the
Data API and yt-dlp list different unavailable videos, and a change of source is not a change of the playlist. For the
same reason titles are compared with those from the same source.

A video without an entry in the history has been listed, and available, since the first listing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from services.common.domain.videos import Entry

DATA_API = "data_api"  # describes each available video; an entry without a description proves nothing

View = Mapping[str, str | None]  # a source's last listing: video id -> title, None where it had none


class PlaylistChangeKind(StrEnum):
    FIRST_LOOK = "first_look"  # of the playlist: its first listing
    APPEARED = "appeared"
    VANISHED = "vanished"  # no longer listed
    PRIVATE = "private"  # listed, and marked private
    DELETED = "deleted"
    CAME_BACK = "came_back"
    RETITLED = "retitled"


class PlaylistChange(BaseModel):
    """One change, with the time and the job of the listing that showed it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    at: AwareDatetime
    job_id: str
    change: PlaylistChangeKind
    video_id: str | None = None  # None for FIRST_LOOK
    title: str | None = None  # the current or last known title
    before: str | None = None  # the previous title, for RETITLED
    total: int | None = None  # number of entries, for FIRST_LOOK

    @model_serializer(mode="wrap")
    def _leave_out_unset(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit unset fields: a channel has tens of thousands of videos, and may be closed in one day."""
        return {name: value for name, value in write(self).items() if value is not None}


class PlaylistEntryState(StrEnum):
    """The state of a video in a playlist, after all changes of its history."""

    LISTED = "listed"
    PRIVATE = "private"
    DELETED = "deleted"
    VANISHED = "vanished"


_STATES = {
    PlaylistChangeKind.APPEARED: PlaylistEntryState.LISTED,
    PlaylistChangeKind.CAME_BACK: PlaylistEntryState.LISTED,
    PlaylistChangeKind.PRIVATE: PlaylistEntryState.PRIVATE,
    PlaylistChangeKind.DELETED: PlaylistEntryState.DELETED,
    PlaylistChangeKind.VANISHED: PlaylistEntryState.VANISHED,
}
_MARKED = {"private": PlaylistChangeKind.PRIVATE, "deleted": PlaylistChangeKind.DELETED}


@dataclass(frozen=True)
class PlaylistSnapshot:
    """One complete listing: its end, job, source, and entries in order. A video may have several entries."""

    at: datetime
    job_id: str
    source: str
    entries: Sequence[Entry]


@dataclass
class PlaylistHistory:
    """The changes of a playlist so far, and the last listing of each source, newest last."""

    history: Sequence[PlaylistChange]
    views: Mapping[str, View]
    states: dict[str, PlaylistEntryState] = field(init=False)
    titles: dict[str, str] = field(init=False)
    retitled: dict[str, str | None] = field(init=False)  # the last recorded new title, from any source

    def __post_init__(self) -> None:
        self.states = entry_states(self.history, self.views.values())
        self.titles = {line.video_id: line.title for line in self.history if line.video_id and line.title}
        self.titles |= {video_id: title for view in self.views.values() for video_id, title in view.items() if title}
        self.retitled = {
            line.video_id: line.title
            for line in self.history
            if line.video_id and line.change is PlaylistChangeKind.RETITLED
        }


def entry_states(history: Iterable[PlaylistChange], views: Iterable[View]) -> dict[str, PlaylistEntryState]:
    """Return the state of every video that was ever listed."""
    states = {video_id: PlaylistEntryState.LISTED for view in views for video_id in view}
    for line in history:
        if line.video_id is not None:
            state = _STATES.get(line.change)
            states[line.video_id] = state or states.get(line.video_id, PlaylistEntryState.LISTED)
    return states


def view_of(entries: Iterable[Entry], source: str) -> dict[str, str | None]:
    """Return the title of each video; of several entries of one video, from the most complete one."""
    view: dict[str, str | None] = {}
    for entry in entries:
        title = entry.title if _is_available(entry, source) else None
        view[entry.video_id] = title or view.get(entry.video_id)
    return view


def initial_changes(snapshot: PlaylistSnapshot) -> list[PlaylistChange]:
    """Return one change for the first listing as a whole, and one for each private or deleted video."""
    begin = PlaylistChange(
        at=snapshot.at, job_id=snapshot.job_id, change=PlaylistChangeKind.FIRST_LOOK, total=len(snapshot.entries)
    )
    marked = [_change(snapshot, _MARKED[mark], video_id) for video_id, mark in _marks(snapshot).items() if mark]
    return [begin, *marked]


def diff(history_so_far: PlaylistHistory, snapshot: PlaylistSnapshot) -> list[PlaylistChange]:
    """Return the changes that this listing shows, in the order of its entries; vanished videos come last."""
    marks, view = _marks(snapshot), view_of(snapshot.entries, snapshot.source)
    before = history_so_far.views.get(snapshot.source, {})
    found = [
        line
        for video_id, mark in marks.items()
        for line in _of_listed(history_so_far, snapshot, video_id, mark, view, before)
    ]
    gone = [
        _change(snapshot, PlaylistChangeKind.VANISHED, video_id, history_so_far.titles.get(video_id))
        for video_id in before
        if video_id not in marks and history_so_far.states.get(video_id) is not PlaylistEntryState.VANISHED
    ]
    return found + gone


def _of_listed(
    history_so_far: PlaylistHistory,
    snapshot: PlaylistSnapshot,
    video_id: str,
    mark: str | None,
    view: View,
    before: View,
) -> list[PlaylistChange]:
    state, title, earlier = history_so_far.states.get(video_id), view[video_id], before.get(video_id)
    found: list[PlaylistChange] = []
    if state is None:
        found.append(_change(snapshot, PlaylistChangeKind.APPEARED, video_id, title))
    if mark:
        if state != mark:
            found.append(_change(snapshot, _MARKED[mark], video_id, history_so_far.titles.get(video_id)))
    elif state is PlaylistEntryState.VANISHED or (state not in {None, PlaylistEntryState.LISTED} and title):
        found.append(_change(snapshot, PlaylistChangeKind.CAME_BACK, video_id, title))
    elif title and earlier and title not in {earlier, history_so_far.retitled.get(video_id)}:
        found.append(_change(snapshot, PlaylistChangeKind.RETITLED, video_id, title, earlier))
    return found


def _marks(snapshot: PlaylistSnapshot) -> dict[str, str | None]:
    """Return each video with its mark (private, deleted). One unmarked entry makes the video unmarked."""
    marks: dict[str, str | None] = {}
    for entry in snapshot.entries:
        mark = entry.marked if entry.marked in _MARKED else None
        marks[entry.video_id] = mark if marks.get(entry.video_id, mark) else None
    return marks


def _is_available(entry: Entry, source: str) -> bool:
    """Return whether this entry shows that the video is available."""
    return entry.marked is None and bool(entry.title) and (entry.described or source != DATA_API)


def _change(
    snapshot: PlaylistSnapshot,
    change: PlaylistChangeKind,
    video_id: str,
    title: str | None = None,
    before: str | None = None,
) -> PlaylistChange:
    return PlaylistChange(
        at=snapshot.at, job_id=snapshot.job_id, change=change, video_id=video_id, title=title, before=before
    )
