"""How many videos of a playlist were listed, marked or no longer listed after each of its changes. Pure.

What a listing omits was taken out of the playlist, or is hidden in it: that is no proof that the video is gone.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import groupby

from pydantic import AwareDatetime, BaseModel

from services.storage.formats.playlist import PlaylistFile
from services.storage.formats.playlist_diff import PlaylistChange, PlaylistChangeKind, PlaylistEntryState, entry_states

_CLOSED = (PlaylistEntryState.PRIVATE, PlaylistEntryState.DELETED)


class AvailabilityPoint(BaseModel):
    """Videos from this time on, a video that has several entries once. `listed`: as available; `closed`: last listed as
    private or deleted; `left`: no longer listed, for whatever reason."""

    at: AwareDatetime
    listed: int
    closed: int
    left: int


def availability(file: PlaylistFile, most: int) -> list[AvailabilityPoint]:
    """Return a point for each listing that changed something, oldest first. Of more than `most`, some are left out: the
    newest is always there."""
    changes = sorted(file.changes, key=lambda change: change.at)
    ever = entry_states(changes, file.views.values()).keys() | {entry.video_id for entry in file.entries}
    states = dict.fromkeys(ever - _appeared(changes), PlaylistEntryState.LISTED)
    counts = Counter(states.values())
    points = list[AvailabilityPoint]()
    for at, together in groupby(changes, key=lambda change: change.at):
        for change in together:
            if change.video_id is not None:
                before = states.get(change.video_id)
                after = states[change.video_id] = _after(before, change.change)
                counts.update({after: 1})
                counts.subtract({before: 1} if before is not None else {})
        points.append(_point(at, counts))
    every = -(-len(points) // most)  # rounded up
    return points[::-1][::every][::-1] if every > 1 else points


def _appeared(changes: Iterable[PlaylistChange]) -> set[str]:
    """Return the videos that the first listing did not have: the others have been listed since then."""
    first: dict[str, PlaylistChangeKind] = {}
    for change in changes:
        if change.video_id is not None:
            first.setdefault(change.video_id, change.change)
    return {video_id for video_id, kind in first.items() if kind is PlaylistChangeKind.APPEARED}


def _after(before: PlaylistEntryState | None, change: PlaylistChangeKind) -> PlaylistEntryState:
    """Return the state of a video after a change. A closed one that is no longer listed stays closed."""
    match change:
        case PlaylistChangeKind.PRIVATE:
            return PlaylistEntryState.PRIVATE
        case PlaylistChangeKind.DELETED:
            return PlaylistEntryState.DELETED
        case PlaylistChangeKind.VANISHED:
            return before if before in _CLOSED else PlaylistEntryState.VANISHED
        case PlaylistChangeKind.RETITLED:
            return before or PlaylistEntryState.LISTED
    return PlaylistEntryState.LISTED


def _point(at: datetime, counts: Mapping[PlaylistEntryState, int]) -> AvailabilityPoint:
    return AvailabilityPoint(
        at=at,
        listed=counts[PlaylistEntryState.LISTED],
        closed=sum(counts[state] for state in _CLOSED),
        left=counts[PlaylistEntryState.VANISHED],
    )
