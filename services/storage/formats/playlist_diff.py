"""What changed between two looks at a playlist. Pure: what was known and a new complete listing in, happenings out.

What a look shows is believed. What it leaves out is believed only of a source that showed it the last time: the Data
API and yt-dlp do not list the same unavailable videos, and a change of source is no change of the playlist. For the
same reason titles are compared with those that the same source told.

A video without a line in the history has been listed, and not marked, since the first look.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from services.common.models import Entry

DATA_API = "data_api"  # describes each video that is to be had; a line of it without that says nothing of the video

View = Mapping[str, str | None]  # what a source showed at its last look: video id -> title, None where it told none


class PlaylistChangeKind(StrEnum):
    FIRST_LOOK = "first_look"  # of the playlist: all that it listed was there
    APPEARED = "appeared"
    VANISHED = "vanished"  # not listed any more
    PRIVATE = "private"  # listed, but marked so
    DELETED = "deleted"
    CAME_BACK = "came_back"
    RETITLED = "retitled"


class PlaylistChange(BaseModel):
    """One change, at the end of the look that showed it (`at` and `job_id` are those of a Look)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    at: AwareDatetime
    job_id: str
    change: PlaylistChangeKind
    video_id: str | None = None  # of a FIRST_LOOK there is none
    title: str | None = None  # as it is now, or was when it was last to be seen
    before: str | None = None  # the earlier title of one that was RETITLED
    total: int | None = None  # of a FIRST_LOOK: how many entries there were

    @model_serializer(mode="wrap")
    def _leave_out_unset(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A channel has tens of thousands of videos, and may be closed in one day."""
        return {name: value for name, value in write(self).items() if value is not None}


class ListingState(StrEnum):
    """How a playlist had a video, after all that its history tells."""

    LISTED = "listed"
    PRIVATE = "private"
    DELETED = "deleted"
    VANISHED = "vanished"


_STATES = {
    PlaylistChangeKind.APPEARED: ListingState.LISTED,
    PlaylistChangeKind.CAME_BACK: ListingState.LISTED,
    PlaylistChangeKind.PRIVATE: ListingState.PRIVATE,
    PlaylistChangeKind.DELETED: ListingState.DELETED,
    PlaylistChangeKind.VANISHED: ListingState.VANISHED,
}
_MARKED = {"private": PlaylistChangeKind.PRIVATE, "deleted": PlaylistChangeKind.DELETED}


@dataclass(frozen=True)
class PlaylistSnapshot:
    """One complete look: when, for which job, by which source, and the lines in order; a video may have several."""

    at: datetime
    job_id: str
    source: str
    entries: Sequence[Entry]


@dataclass
class PlaylistHistory:
    """What is known of a playlist: its history, and what each source showed at its last look, the newest last."""

    history: Sequence[PlaylistChange]
    views: Mapping[str, View]
    standings: dict[str, ListingState] = field(init=False)
    titles: dict[str, str] = field(init=False)
    retitled: dict[str, str | None] = field(init=False)  # what the history tells already, whichever source saw it first

    def __post_init__(self) -> None:
        self.standings = listing_states(self.history, self.views.values())
        self.titles = {line.video_id: line.title for line in self.history if line.video_id and line.title}
        self.titles |= {video_id: title for view in self.views.values() for video_id, title in view.items() if title}
        self.retitled = {
            line.video_id: line.title
            for line in self.history
            if line.video_id and line.change is PlaylistChangeKind.RETITLED
        }


def listing_states(history: Iterable[PlaylistChange], views: Iterable[View]) -> dict[str, ListingState]:
    """How every video that was ever listed stands."""
    standings = {video_id: ListingState.LISTED for view in views for video_id in view}
    for line in history:
        if line.video_id is not None:
            standing = _STATES.get(line.change)
            standings[line.video_id] = standing or standings.get(line.video_id, ListingState.LISTED)
    return standings


def view_of(entries: Iterable[Entry], source: str) -> dict[str, str | None]:
    """Of several lines of one video the one that tells most."""
    view: dict[str, str | None] = {}
    for entry in entries:
        title = entry.title if _is_available(entry, source) else None
        view[entry.video_id] = title or view.get(entry.video_id)
    return view


def initial_changes(sight: PlaylistSnapshot) -> list[PlaylistChange]:
    """One line for all that is there, and one more for each that is there in name only."""
    begin = PlaylistChange(
        at=sight.at, job_id=sight.job_id, change=PlaylistChangeKind.FIRST_LOOK, total=len(sight.entries)
    )
    marked = [_change(sight, _MARKED[mark], video_id) for video_id, mark in _marks(sight).items() if mark]
    return [begin, *marked]


def diff(memory: PlaylistHistory, sight: PlaylistSnapshot) -> list[PlaylistChange]:
    """What this look shows that was not so before, in the order of the list; what vanished comes last."""
    marks, view = _marks(sight), view_of(sight.entries, sight.source)
    before = memory.views.get(sight.source, {})
    found = [
        line for video_id, mark in marks.items() for line in _of_listed(memory, sight, video_id, mark, view, before)
    ]
    gone = [
        _change(sight, PlaylistChangeKind.VANISHED, video_id, memory.titles.get(video_id))
        for video_id in before
        if video_id not in marks and memory.standings.get(video_id) is not ListingState.VANISHED
    ]
    return found + gone


def _of_listed(
    memory: PlaylistHistory, sight: PlaylistSnapshot, video_id: str, mark: str | None, view: View, before: View
) -> list[PlaylistChange]:
    standing, title, earlier = memory.standings.get(video_id), view[video_id], before.get(video_id)
    found: list[PlaylistChange] = []
    if standing is None:
        found.append(_change(sight, PlaylistChangeKind.APPEARED, video_id, title))
    if mark:
        if standing != mark:
            found.append(_change(sight, _MARKED[mark], video_id, memory.titles.get(video_id)))
    elif standing is ListingState.VANISHED or (standing not in {None, ListingState.LISTED} and title):
        found.append(_change(sight, PlaylistChangeKind.CAME_BACK, video_id, title))
    elif title and earlier and title not in {earlier, memory.retitled.get(video_id)}:
        found.append(_change(sight, PlaylistChangeKind.RETITLED, video_id, title, earlier))
    return found


def _marks(sight: PlaylistSnapshot) -> dict[str, str | None]:
    """Each video of the look with its mark; one line without a mark is enough."""
    marks: dict[str, str | None] = {}
    for entry in sight.entries:
        mark = entry.marked if entry.marked in _MARKED else None
        marks[entry.video_id] = mark if marks.get(entry.video_id, mark) else None
    return marks


def _is_available(entry: Entry, source: str) -> bool:
    """Does this line tell that the video is to be had?"""
    return entry.marked is None and bool(entry.title) and (entry.described or source != DATA_API)


def _change(
    sight: PlaylistSnapshot,
    change: PlaylistChangeKind,
    video_id: str,
    title: str | None = None,
    before: str | None = None,
) -> PlaylistChange:
    return PlaylistChange(
        at=sight.at, job_id=sight.job_id, change=change, video_id=video_id, title=title, before=before
    )
