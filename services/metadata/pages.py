"""What a listing is made of, and the names of its parts. Pure."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from services.common.models import Entry, Target, TargetKind, VideoMetadata


@dataclass(frozen=True, slots=True)
class Page:
    """Consecutive lines of a listing, the first of them number `offset`; `following` is where the next page begins,
    and `token` how its source calls that place, if it has a name of its own. Lines that are no videos are counted,
    but are no entries. `described`: the full metadata that came along, of entries not described before."""

    offset: int
    following: int
    entries: tuple[Entry, ...]
    token: str = ""
    described: tuple[VideoMetadata, ...] = ()


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a listing that ended early goes on, written as `source/playlist_id/offset` or `…/offset@token`. With the
    playlist's id a channel's name needs no second look-up."""

    source: str
    playlist_id: str
    offset: int
    token: str = ""

    def __str__(self) -> str:
        place = f"{self.source}/{self.playlist_id}/{self.offset}"
        return f"{place}@{self.token}" if self.token else place

    @classmethod
    def read(cls, text: str | None) -> Self | None:
        """None for no cursor, and for one that nobody of ours wrote: the listing then begins at the beginning."""
        found = re.fullmatch(r"(\w+)/([\w-]+)/(\d{1,9})(?:@([\w=%.~-]+))?", text or "", re.ASCII)
        return cls(found[1], found[2], int(found[3]), found[4] or "") if found else None

    def target(self) -> Target:
        return Target(kind=TargetKind.PLAYLIST, id=self.playlist_id)


def given_page(target: Target) -> Page:
    """The page of a target that lists its videos itself."""
    entries = tuple(Entry(video_id=video_id, position=n) for n, video_id in enumerate(target.video_ids))
    return Page(offset=0, following=len(entries), entries=entries)


def page_key(listing: int, source: str, page: Page) -> str:
    """`listing/source/offset/digest of the ids`: a page that reads otherwise the second time has another name."""
    return f"{listing}/{source}/{page.offset}/{digest(entry.video_id for entry in page.entries)}"


def digest(ids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:12]
