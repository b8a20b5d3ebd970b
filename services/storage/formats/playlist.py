"""metadata/playlists/{playlist_id}.json: a playlist as of its last complete listing.

`listings` has one entry per complete listing, `history` one per change between them (`playlist_diff`). Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.common.domain.clock import is_ahead
from services.common.domain.videos import Entry, PlaylistMetadata
from services.common.events import ListingCompleted, ListingPageFetched
from services.storage.formats.playlist_diff import (
    PlaylistChange,
    PlaylistHistory,
    PlaylistSnapshot,
    View,
    diff,
    initial_changes,
    view_of,
)


class ListingSummary(BaseModel):
    """One complete listing: its end, its job and the number of its entries. `announced`: the number that the list
    named. `incomplete`: more entries were missing than at the previous listing by this source, so nothing is known
    about those that are not listed."""

    model_config = ConfigDict(extra="allow", frozen=True)

    at: AwareDatetime
    job_id: str
    trace_id: str
    total: int
    source: str = ""
    announced: int | None = None
    incomplete: bool = False

    @property
    def missing(self) -> int:
        """The number of entries that were announced and not listed."""
        return max(0, (self.announced or 0) - self.total)


HistoryLine = Annotated[PlaylistChange | dict[str, Any], Field(union_mode="left_to_right")]


class PlaylistFile(PlaylistMetadata):
    """The playlist's own metadata, its entries in order, all listings and all changes, oldest first.

    `source` listed the entries; `views` has the last listing of each other source (id -> title), newest last. Entries
    of `history` that a newer version has written are preserved.
    """

    model_config = ConfigDict(extra="allow")

    fetched_at: AwareDatetime
    trace_id: str
    source: str = ""
    entries: list[Entry]
    listings: list[ListingSummary] = Field(default_factory=list)
    history: list[HistoryLine] = Field(default_factory=list)
    views: dict[str, dict[str, str | None]] = Field(default_factory=dict)

    @property
    def changes(self) -> list[PlaylistChange]:
        return [line for line in self.history if isinstance(line, PlaylistChange)]


@dataclass(frozen=True)
class FinishedListing:
    """A listing of which every part has arrived."""

    completed: ListingCompleted
    at: datetime
    trace_id: str
    pages: Sequence[ListingPageFetched]
    playlist: PlaylistMetadata | None


def entries_of(pages: Iterable[ListingPageFetched], page_keys: Iterable[str], total: int) -> list[Entry]:
    """Return all entries by position. Pages of an earlier attempt count up to the position where the last attempt
    resumed; when that found nothing more, they are all of the `total` entries."""
    named = set(page_keys)
    pages = sorted(pages, key=lambda page: page.listing)
    last = [page for page in pages if page.page_key in named]
    begin = min((entry.position for page in last for entry in page.entries), default=total)
    by_position = {
        entry.position: entry
        for page in pages
        if page.page_key not in named
        for entry in page.entries
        if entry.position < begin
    }
    by_position.update((entry.position, entry) for page in last for entry in page.entries)
    return [by_position[position] for position in sorted(by_position)]


def merge_listing(held: PlaylistFile | None, playlist_id: str, listing: FinishedListing, now: datetime) -> PlaylistFile:
    """Return the file after a complete listing. A listing that is older than the last one is only added to
    `listings`, unless the last one is of a time that has not come yet."""
    done = listing.completed
    source = done.source_name
    summary = _summary(held, listing)
    summaries = sorted(
        {(one.at, one.job_id): one for one in (*(held.listings if held else ()), summary)}.values(), key=_when
    )
    if held is not None and held.fetched_at > listing.at and not is_ahead(held.fetched_at, now):
        return held.model_copy(update={"listings": summaries})
    own = listing.playlist or PlaylistMetadata(playlist_id=playlist_id, title=done.title)
    entries = entries_of(listing.pages, done.page_keys, done.total)
    history, views = _remembered(held, source)
    if held is None:
        history += initial_changes(PlaylistSnapshot(listing.at, done.job_id, source, entries))
    else:
        if summary.incomplete:  # what it does not list is as it was
            entries = _with_held(entries, held, views.get(source, {}))
        sight = PlaylistSnapshot(listing.at, done.job_id, source, entries)
        history += diff(PlaylistHistory([line for line in history if isinstance(line, PlaylistChange)], views), sight)
    return PlaylistFile(
        **{**own.model_dump(), "playlist_id": playlist_id},
        fetched_at=listing.at,
        trace_id=listing.trace_id,
        source=source,
        entries=entries,
        listings=summaries,
        history=history,
        views={name: view for name, view in views.items() if name != source},
    )


def _summary(held: PlaylistFile | None, listing: FinishedListing) -> ListingSummary:
    done = listing.completed
    summary = ListingSummary(
        at=listing.at,
        job_id=done.job_id,
        trace_id=listing.trace_id,
        total=done.total,
        source=done.source_name,
        announced=done.announced,
    )
    before = [one.missing for one in (held.listings if held else ()) if one.source == done.source_name]
    return summary.model_copy(update={"incomplete": done.cut_short or summary.missing > (before or [0])[-1]})


def _with_held(listed: list[Entry], held: PlaylistFile, view: View) -> list[Entry]:
    """Add the entries that this source listed before, behind the listed ones."""
    names = {entry.video_id for entry in listed}
    known = {entry.video_id: entry for entry in held.entries}
    missing = [known.get(video_id) or Entry(video_id=video_id, title=title) for video_id, title in view.items()]
    left = [entry for entry in missing if entry.video_id not in names]
    return [*listed, *(entry.model_copy(update={"position": len(listed) + n}) for n, entry in enumerate(left))]


def _remembered(
    held: PlaylistFile | None, source: str
) -> tuple[list[PlaylistChange | dict[str, Any]], dict[str, dict[str, str | None]]]:
    """Return history and views before a new listing. A file without a history begins with the listing that it has."""
    if held is None:
        return [], {}
    last = held.source or source
    others = {name: view for name, view in held.views.items() if name != last}
    history = held.history
    if not history:
        job_id = next((summary.job_id for summary in held.listings if summary.at == held.fetched_at), "")
        history = [*initial_changes(PlaylistSnapshot(held.fetched_at, job_id, last, held.entries))]
    return list(history), {**others, last: view_of(held.entries, last)}


def _when(summary: ListingSummary) -> datetime:
    return summary.at
