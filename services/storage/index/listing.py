"""Pages of the list of videos: which rows, in which order, from where on.

A page is selected from the index of its order alone, which has the key of the order, the video's id, the row's number
and the two flags (schema.py); only the rows of the page are read. `after` continues behind the last row of a page
without counting those before it, at the same cost everywhere; `offset` counts them. Rows without a value come last in
either direction: they are a part of their own.
"""

import base64
import binascii
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from services.common.errors import InvalidRequest
from services.common.names import VideoSort
from services.storage.index.schema import SORT_KEYS

_NULLABLE = {"upload_date", "duration"}
_FEW = 2_000  # rows that are sorted rather than looked for in the index of the order
_MANY = 4  # a list with this part of all rows has those of its first pages near the beginning
CHOSEN = "id IN (SELECT id FROM chosen)"


class Cursor(BaseModel):
    """The place of a row in an order: `key` is what it is sorted by."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sort: VideoSort
    key: str | float | int | None
    video_id: str
    id: int

    def text(self) -> str:
        return base64.urlsafe_b64encode(self.model_dump_json().encode()).decode().rstrip("=")

    @classmethod
    def of(cls, text: str, sort: str) -> "Cursor":
        """Raises InvalidRequest."""
        try:
            cursor = cls.model_validate_json(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except (ValueError, binascii.Error, ValidationError) as error:
            raise InvalidRequest("`after` is not the `next` of a page: begin without it.") from error
        if cursor.sort != sort:
            raise InvalidRequest(f"`after` is of a list sorted by {cursor.sort}, this one is sorted by {sort}.")
        return cursor


@dataclass(frozen=True)
class Filter:
    """`chosen`: a query for the row numbers that may be listed, None: all; `flags`: further conditions, of columns
    that each index has; `conditions`: of any column, which are read row by row: to collect all row numbers that fulfil
    one would take longer than to count them. `values` are those of `chosen`, then of `conditions`."""

    chosen: str | None = None
    values: tuple[Any, ...] = ()
    flags: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()

    @property
    def all(self) -> bool:
        """Whether nothing but flags restricts the list."""
        return self.chosen is None and not self.conditions

    def collected(self) -> "Filter":
        """Return the same filter, with the row numbers that fulfil the conditions as a query."""
        where = self.where(f"id IN ({self.chosen})")
        return Filter(f"SELECT id FROM videos WHERE {' AND '.join(where)}", self.values)  # noqa: S608 - ours

    def where(self, chosen: str = CHOSEN) -> list[str]:
        """Return the terms for rows of `videos`; `chosen`: the one for the table that `with_chosen` makes."""
        return [*self.flags, *([chosen] if self.chosen else []), *self.conditions]


@dataclass(frozen=True)
class Listed:
    """The rows of a page; `total` counts all that match; `next` is the cursor of the last row if there are more."""

    rows: list[sqlite3.Row]
    total: int
    next: str | None


@dataclass(frozen=True)
class _Part:
    """Rows with a value of the key, or those without, in one direction."""

    where: str
    order: str
    values: tuple[Any, ...] = field(default=())


def select_page(
    db: sqlite3.Connection, chosen: Filter, sort: VideoSort, *, limit: int, offset: int, after: str | None
) -> Listed:
    """Raises InvalidRequest for an `after` that is no cursor of this order."""
    cursor = Cursor.of(after, sort) if after is not None else None
    chosen = narrowed(db, chosen)
    total = count_rows(db, chosen)
    if total == 0:
        return Listed([], 0, None)
    if chosen.conditions and (offset > _FEW or total * _MANY < count_rows(db, Filter())):
        chosen = chosen.collected()  # else many rows would be read on the way in the order of the list
    with_ids = with_chosen(chosen)
    few = not chosen.all and total <= _FEW
    source = "videos" if few else f"videos INDEXED BY videos_by_{sort.removeprefix('-')}"
    conditions = chosen.where(CHOSEN if few else f"+{CHOSEN}")
    ids = list[int]()
    for part in _parts(sort, cursor):
        where = " AND ".join([*conditions, part.where])
        query = f"{with_ids} SELECT id FROM {source} WHERE {where} ORDER BY {part.order} LIMIT ? OFFSET ?"  # noqa: S608 - ours
        wanted = (limit + 1 - len(ids), offset)
        found = [row[0] for row in db.execute(query, (*chosen.values, *part.values, *wanted))]
        if not found and offset:
            counted = f"{with_ids} SELECT count(*) FROM {source} WHERE {where}"  # noqa: S608 - ours
            offset -= db.execute(counted, (*chosen.values, *part.values)).fetchone()[0]
        elif found:
            offset = 0
        ids += found
        if len(ids) > limit:
            break
    rows = _rows(db, ids[:limit])
    more = len(ids) > limit
    return Listed(rows, total, _cursor(rows[-1], sort).text() if more and rows else None)


def narrowed(db: sqlite3.Connection, chosen: Filter) -> Filter:
    """Return a filter for the same rows; where few fulfil the conditions, by their numbers: rows are read once.
    Conditions within a set of rows become a smaller set."""
    if not chosen.conditions:
        return chosen
    if chosen.chosen is not None:
        return chosen.collected()
    query = f"SELECT id FROM videos WHERE {' AND '.join(chosen.where())} LIMIT {_FEW + 1}"  # noqa: S608 - ours
    found = [row[0] for row in db.execute(query, chosen.values)]
    if len(found) > _FEW:
        return chosen
    return Filter("SELECT value FROM json_each(?)", (json.dumps(found),))


def count_rows(db: sqlite3.Connection, chosen: Filter) -> int:
    """Return the number of videos within a filter."""
    flags = " AND ".join(("1", *chosen.flags))
    if chosen.all:  # kept by triggers
        return int(db.execute(f"SELECT total(videos) FROM video_totals WHERE {flags}").fetchone()[0])  # noqa: S608 - ours
    query = f"{with_chosen(chosen)} SELECT count(*) FROM videos WHERE {' AND '.join(chosen.where())}"  # noqa: S608 - ours
    if not chosen.flags and not chosen.conditions:
        query = f"{with_chosen(chosen)} SELECT count(*) FROM chosen"  # noqa: S608 - ours
    return int(db.execute(query, chosen.values).fetchone()[0])


def with_chosen(chosen: Filter) -> str:
    """Return the clause that makes the table `chosen` of a filter; empty without one."""
    return f"WITH chosen (id) AS MATERIALIZED ({chosen.chosen})" if chosen.chosen else ""


def _parts(sort: VideoSort, cursor: Cursor | None) -> list[_Part]:
    """Return the parts from the cursor on."""
    name = sort.removeprefix("-")
    key, descending = SORT_KEYS[name], sort.startswith("-")
    direction, behind = ("DESC", "<") if descending else ("ASC", ">")
    order = f"{key} {direction}, video_id {direction}, id {direction}"
    column = key.removesuffix(" COLLATE NOCASE")
    valued = _Part(f"{column} IS NOT NULL" if name in _NULLABLE else "1", order)
    parts = [valued]
    if name in _NULLABLE:
        parts.append(_Part(f"{column} IS NULL", f"video_id {direction}, id {direction}"))
    if cursor is None:
        return parts
    place = (cursor.video_id, cursor.id)
    if cursor.key is None:
        return [_Part(f"{column} IS NULL AND (video_id, id) {behind} (?, ?)", parts[-1].order, place)]
    return [_Part(f"({key}, video_id, id) {behind} (?, ?, ?)", order, (cursor.key, *place)), *parts[1:]]


def _rows(db: sqlite3.Connection, ids: Sequence[int]) -> list[sqlite3.Row]:
    query = (
        "SELECT v.*, CASE WHEN below_wanted THEN packed END AS packed FROM json_each(?) wanted"
        " JOIN videos v ON v.id = wanted.value JOIN holdings h ON h.id = v.id ORDER BY wanted.key"
    )
    return db.execute(query, (json.dumps(ids),)).fetchall()


def _cursor(row: sqlite3.Row, sort: VideoSort) -> Cursor:
    column = SORT_KEYS[sort.removeprefix("-")].removesuffix(" COLLATE NOCASE")
    return Cursor(sort=sort, key=row[column], video_id=row["video_id"], id=row["id"])
