"""Pages and cursors of a listing, and their names. Pure."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from services.common.domain.videos import Entry, Target, TargetKind, VideoMetadata


@dataclass(frozen=True, slots=True)
class ListingPage:
    """Consecutive entries of a listing. `offset` is the position of the first, `following` that of the next page, and
    `token` the page token of the source, if it has any. Positions count lines that are not videos; `entries` does not
    contain them. `described`: full metadata that came with the page, of entries not described before."""

    offset: int
    following: int
    entries: tuple[Entry, ...]
    token: str = ""
    described: tuple[VideoMetadata, ...] = ()


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position where an interrupted listing resumes, written as `source/playlist_id/offset` or `…/offset@token`.
    With the playlist id a channel's handle need not be resolved again."""

    source: str
    playlist_id: str
    offset: int
    token: str = ""

    def __str__(self) -> str:
        place = f"{self.source}/{self.playlist_id}/{self.offset}"
        return f"{place}@{self.token}" if self.token else place

    @classmethod
    def read(cls, text: str | None) -> Self | None:
        """Parse a cursor. None for a missing or invalid one: the listing then starts at the beginning."""
        found = re.fullmatch(r"(\w+)/([\w-]+)/(\d{1,9})(?:@([\w=%.~-]+))?", text or "", re.ASCII)
        return cls(found[1], found[2], int(found[3]), found[4] or "") if found else None

    def target(self) -> Target:
        return Target(kind=TargetKind.PLAYLIST, id=self.playlist_id)


def given_page(target: Target) -> ListingPage:
    """Return the page of a target that names its videos itself."""
    entries = tuple(Entry(video_id=video_id, position=n) for n, video_id in enumerate(target.video_ids))
    return ListingPage(offset=0, following=len(entries), entries=entries)


def page_key(listing: int, source: str, page: ListingPage) -> str:
    """Return `listing/source/offset/digest of the ids`: a page with other entries has another key."""
    return f"{listing}/{source}/{page.offset}/{digest(entry.video_id for entry in page.entries)}"


def digest(ids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:12]
