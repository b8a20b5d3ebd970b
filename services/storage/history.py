"""What changed of a playlist from one complete look to the next (availability history). Pure.

Of every video a listing says one of three things: it is there, it is marked private, or it is gone (marked deleted, or
not listed any more). `changes` tells the steps between two listings; replayed from the first listing on, they lead to
the last one. The order of a playlist is no news, and the first look is where the story begins: it has no changes.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.common.models import Entry


class ChangeKind(StrEnum):
    APPEARED = "appeared"  # listed for the first time
    VANISHED = "vanished"  # deleted, or taken out of the list: `marked` says `deleted` where the list says so itself
    TURNED_PRIVATE = "turned_private"
    CAME_BACK = "came_back"
    RETITLED = "retitled"


class Change(BaseModel):
    """One line of `history`. `title` is the title at that time, or the last one known; `old_title` the one before."""

    model_config = ConfigDict(extra="allow", frozen=True)

    at: AwareDatetime
    job_id: str
    trace_id: str
    kind: ChangeKind
    video_id: str
    title: str | None = None
    old_title: str | None = None
    marked: str | None = None


class Availability(StrEnum):
    LISTED = "listed"
    PRIVATE = "private"
    GONE = "gone"


_STEPS = {
    Availability.LISTED: ChangeKind.CAME_BACK,
    Availability.PRIVATE: ChangeKind.TURNED_PRIVATE,
    Availability.GONE: ChangeKind.VANISHED,
}
_LEADS_TO = {
    ChangeKind.CAME_BACK: Availability.LISTED,
    ChangeKind.TURNED_PRIVATE: Availability.PRIVATE,
    ChangeKind.VANISHED: Availability.GONE,
}


def changes(
    before: Sequence[Entry],
    now: Sequence[Entry],
    history: Iterable[Change],
    *,
    at: AwareDatetime,
    job_id: str,
    trace_id: str,
    titles_comparable: bool = True,
) -> list[Change]:
    """What to append to `history` when `before` was listed last and `now` is. In the order of `now`, the gone last.

    `titles_comparable`: both looks have one source; two sources may give one video's title in two languages.
    """
    old, new = _by_id(before), _by_id(now)
    known = {change.video_id for change in history} | set(old)
    found: list[Change] = []

    def note(kind: ChangeKind, video_id: str, *, old_title: str | None = None) -> None:
        entry, last = new.get(video_id), old.get(video_id)
        found.append(
            Change(
                at=at,
                job_id=job_id,
                trace_id=trace_id,
                kind=kind,
                video_id=video_id,
                title=_title(entry) or _title(last),
                old_title=old_title,
                marked=entry.marked if entry else None,
            )
        )

    for video_id in [*new, *(video_id for video_id in old if video_id not in new)]:
        entry, last = new.get(video_id), old.get(video_id)
        if video_id not in known:
            note(ChangeKind.APPEARED, video_id)
        elif availability(entry) is not availability(last):
            note(_STEPS[availability(entry)], video_id)
        old_title = _title(last)
        if titles_comparable and old_title and _title(entry) not in {None, old_title}:
            note(ChangeKind.RETITLED, video_id, old_title=old_title)
    return found


def replay(first: Sequence[Entry], history: Iterable[Change]) -> dict[str, Availability]:
    """Where every video stands after `history`, when `first` was the first listing."""
    states = {video_id: availability(entry) for video_id, entry in _by_id(first).items()}
    for change in history:
        if change.kind is ChangeKind.APPEARED:
            states[change.video_id] = _of_mark(change.marked)
        elif change.kind in _LEADS_TO:
            states[change.video_id] = _LEADS_TO[change.kind]
    return states


def availability(entry: Entry | None) -> Availability:
    return Availability.GONE if entry is None else _of_mark(entry.marked)


def _of_mark(marked: str | None) -> Availability:
    if marked is None:
        return Availability.LISTED
    return Availability.PRIVATE if marked == "private" else Availability.GONE


def _by_id(entries: Iterable[Entry]) -> Mapping[str, Entry]:
    """A video may stand in a playlist twice; its first place speaks for it."""
    found: dict[str, Entry] = {}
    for entry in entries:
        found.setdefault(entry.video_id, entry)
    return found


def _title(entry: Entry | None) -> str | None:
    """None of what is marked: its title is a placeholder."""
    return entry.title if entry is not None and entry.marked is None else None
