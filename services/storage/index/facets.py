"""What a list of videos consists of: counts by channel, year, length, quality and language; months with their places;
channels. Needs no running service."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, Field

from services.common.infra.sqlite import Database
from services.common.web.paging import Page, PageQuery
from services.storage.index.listing import Filter, narrowed, with_chosen
from services.storage.index.queries import CatalogueQueries, VideoFilter

SHORT, LONG = 240, 1_200  # seconds: below and from there on
_LARGEST = 50  # channels
_MOST_MONTHS = 2_400


class FacetCount(BaseModel):
    """`value`: what the filter of this name takes."""

    value: str
    videos: int


class Facets(BaseModel):
    """Counts within the filters. `channels`: the largest fifty, by name. `lengths`: `short` is below 4 minutes, `long`
    20 minutes and more. `captions`: `none`, and each language."""

    total: int
    channels: list[FacetCount]
    years: list[FacetCount]
    lengths: list[FacetCount]
    qualities: list[FacetCount]
    captions: list[FacetCount]
    gone: int


class BucketQuery(VideoFilter):
    """`by`: the date that the months are of."""

    by: Literal["archived_at", "upload_date"] = "archived_at"


class Bucket(BaseModel):
    """`month`: YYYY-MM, null for videos without a date. `offset`: where it begins in the list that is sorted by that
    date, the newest first."""

    month: str | None
    videos: int
    offset: int


class Buckets(BaseModel):
    total: int
    buckets: list[Bucket]


class ChannelQuery(PageQuery):
    q: str | None = Field(default=None, min_length=1, max_length=200)
    sort: Literal["title", "-title", "videos", "-videos", "bytes", "-bytes", "newest", "-newest"] = "-videos"


class ChannelRow(BaseModel):
    """`channel_id` null: it is not known."""

    channel: str
    channel_id: str | None
    videos: int
    bytes: int
    newest: str | None = Field(description="The date of the newest video.")


class ChannelPage(Page):
    channels: list[ChannelRow]


class ArchiveFacets:
    def __init__(self, database: Database, queries: CatalogueQueries) -> None:
        self._database = database
        self._queries = queries

    async def facets(self, query: VideoFilter, watched: Sequence[str] = ()) -> Facets:
        """`watched`: the videos that were watched, if the query asks."""
        chosen = await self._queries.filter_of(query, watched)
        return await self._database.read(lambda db: _facets(db, chosen))

    async def buckets(self, query: BucketQuery, watched: Sequence[str] = ()) -> Buckets:
        """`watched`: the videos that were watched, if the query asks."""
        chosen = await self._queries.filter_of(query, watched)
        return await self._database.read(lambda db: _buckets(db, chosen, query.by))

    async def channels(self, query: ChannelQuery) -> ChannelPage:
        return await self._database.read(lambda db: _channels(db, query))


def _facets(db: sqlite3.Connection, chosen: Filter) -> Facets:
    chosen = narrowed(db, chosen)
    source, values = _source(chosen)

    def grouped(key: str, *, limit: int = 1_000) -> list[FacetCount]:
        query = (
            f"{source('')} SELECT {key} AS value, count(*) AS videos FROM listed"  # noqa: S608 - ours
            f" WHERE value IS NOT NULL GROUP BY value ORDER BY videos DESC, value LIMIT {limit}"
        )
        return _counts(db.execute(query, values))

    everything = chosen.all and not chosen.flags
    languages = f"""
{source("")} SELECT r.language AS value, count(*) AS videos
FROM {"" if everything else "listed CROSS JOIN "} searched_rows r
WHERE r.language > '' {"" if everything else "AND r.video = listed.id"} GROUP BY value ORDER BY videos DESC, value
"""  # noqa: S608 - ours
    counted = _TOTALS_OF_ALL if everything else f"{source('')} SELECT {_TOTALS} FROM listed"  # noqa: S608 - ours
    totals = dict(db.execute(counted, values).fetchone())
    gone = f"{source('')} SELECT count(*) FROM listed WHERE video_id IN (SELECT video_id FROM known_gone)"  # noqa: S608 - ours
    return Facets(
        total=totals["total"],
        channels=_largest_channels(db) if everything else grouped("coalesce(channel, channel_id)", limit=_LARGEST),
        years=_years(db, chosen) if chosen.all else sorted(grouped(_YEAR), key=lambda one: one.value, reverse=True),
        lengths=[FacetCount(value=name, videos=totals[name]) for name in ("short", "medium", "long") if totals[name]],
        qualities=_qualities(grouped("qualities")),
        captions=[*_counts(db.execute(languages, values)), FacetCount(value="none", videos=totals["without"])],
        gone=db.execute(gone, values).fetchone()[0],
    )


_YEAR = "substr(upload_date, 1, 4)"
# of all rows in one reading; `total` adds numbers, and is 0 without rows
_TOTALS = f"""
count(*) AS total,
CAST(total(duration_seconds < {SHORT}) AS INTEGER) AS short,
CAST(total(duration_seconds >= {SHORT} AND duration_seconds < {LONG}) AS INTEGER) AS medium,
CAST(total(duration_seconds >= {LONG}) AS INTEGER) AS long,
CAST(total(NOT EXISTS (SELECT 1 FROM searched_rows r WHERE r.video = listed.id AND r.language > '')) AS INTEGER)
  AS without
"""  # noqa: S608 - constants
_TOTALS_OF_ALL = f"""
SELECT (SELECT count(*) FROM videos) AS total,
  (SELECT count(*) FROM videos WHERE duration_seconds < {SHORT}) AS short,
  (SELECT count(*) FROM videos WHERE duration_seconds >= {SHORT} AND duration_seconds < {LONG}) AS medium,
  (SELECT count(*) FROM videos WHERE duration_seconds >= {LONG}) AS long,
  (SELECT count(*) FROM videos) - (SELECT count(DISTINCT video) FROM searched_rows WHERE language > '') AS without
"""  # noqa: S608 - constants


def _counts(rows: Iterable[sqlite3.Row]) -> list[FacetCount]:
    return [FacetCount(value=str(row["value"]), videos=row["videos"]) for row in rows]


def _largest_channels(db: sqlite3.Connection) -> list[FacetCount]:
    """Return those of the whole archive, from the totals that triggers keep."""
    query = (
        "SELECT channel AS value, videos FROM channel_totals WHERE channel != '' AND videos > 0"
        " ORDER BY videos DESC, channel LIMIT ?"
    )
    return _counts(db.execute(query, (_LARGEST,)))


def _years(db: sqlite3.Connection, chosen: Filter) -> list[FacetCount]:
    """Return the years of a list without conditions, the newest first: each is counted as a range of the index."""
    where = " AND ".join(("1", *chosen.flags))
    found = list[FacetCount]()
    before = "~"  # after all digits
    while True:
        (newest,) = db.execute("SELECT max(upload_date) FROM videos WHERE upload_date < ?", (before,)).fetchone()
        if newest is None:
            return found
        before = newest[:4]
        of_year = "upload_date >= ? AND upload_date < ?"
        query = f"SELECT count(*) FROM videos INDEXED BY videos_by_upload_date WHERE {of_year} AND {where}"  # noqa: S608 - ours
        (number,) = db.execute(query, (before, before + "~")).fetchone()
        if number:
            found.append(FacetCount(value=before, videos=number))


def _source(chosen: Filter) -> tuple["_Source", tuple[object, ...]]:
    return _Source(chosen), chosen.values


class _Source:
    """`WITH` clauses whose table `listed` has the rows within a filter, read from an index where that has all that is
    asked for."""

    def __init__(self, chosen: Filter) -> None:
        self._chosen = chosen

    def __call__(self, index: str) -> str:
        begin = with_chosen(self._chosen)
        indexed = f" INDEXED BY videos_by_{index}" if index and self._chosen.all else ""
        where = " AND ".join(self._chosen.where()) or "1"
        return f"{begin + ',' if begin else 'WITH'} listed AS (SELECT * FROM videos{indexed} WHERE {where})"  # noqa: S608 - ours


def _qualities(found: list[FacetCount]) -> list[FacetCount]:
    """Count each quality of the lists that rows have."""
    counts = dict[str, int]()
    for one in found:
        for quality in json.loads(one.value):
            counts[quality] = counts.get(quality, 0) + one.videos
    return [FacetCount(value=value, videos=videos) for value, videos in sorted(counts.items(), key=lambda it: -it[1])]


def _buckets(db: sqlite3.Connection, chosen: Filter, by: str) -> Buckets:
    source, values = _source(narrowed(db, chosen))
    query = (
        f"{source(by)} SELECT substr({by}, 1, 7) AS month, count(*) AS videos FROM listed"  # noqa: S608 - ours
        f" GROUP BY month ORDER BY month IS NULL, month DESC LIMIT {_MOST_MONTHS}"
    )
    found = list(_placed(db.execute(query, values).fetchall()))
    return Buckets(total=sum(one.videos for one in found), buckets=found)


def _placed(rows: list[sqlite3.Row]) -> Iterator[Bucket]:
    offset = 0
    for row in rows:
        yield Bucket(month=row["month"], videos=row["videos"], offset=offset)
        offset += row["videos"]


_CHANNEL_ORDERS = {"title": "channel COLLATE NOCASE", "videos": "videos", "bytes": "bytes", "newest": "newest"}
# of a row of channel_totals, whose channel is an id where the name is not known
_NEWEST = """
coalesce((SELECT max(upload_date) FROM videos WHERE channel = t.channel COLLATE NOCASE),
  (SELECT max(upload_date) FROM videos WHERE channel IS NULL AND channel_id = t.channel)) AS newest
"""
_CHANNEL_ID = """
coalesce((SELECT channel_id FROM videos WHERE channel = t.channel COLLATE NOCASE AND channel_id IS NOT NULL LIMIT 1),
  (SELECT channel_id FROM videos WHERE channel IS NULL AND channel_id = t.channel LIMIT 1)) AS channel_id
"""


def _channels(db: sqlite3.Connection, query: ChannelQuery) -> ChannelPage:
    where, values = "channel != ''", list[str]()
    if query.q is not None:
        where += " AND instr(lower(channel), lower(?))"
        values.append(query.q)
    (total,) = db.execute(f"SELECT count(*) FROM channel_totals WHERE {where}", values).fetchone()  # noqa: S608 - ours
    key = query.sort.removeprefix("-")
    order = f"{_CHANNEL_ORDERS[key]} {'DESC' if query.sort.startswith('-') else 'ASC'} NULLS LAST, channel"
    everywhere, on_page = ("*", _NEWEST) if key != "newest" else (f"*, {_NEWEST}", "newest")
    page = f"SELECT {everywhere} FROM channel_totals t WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"  # noqa: S608 - ours
    rows = db.execute(
        f"SELECT channel, videos, bytes, {on_page}, {_CHANNEL_ID} FROM ({page}) t ORDER BY {order}",  # noqa: S608 - ours
        (*values, query.limit, query.offset),
    ).fetchall()
    channels = [ChannelRow(**dict(row)) for row in rows]
    return ChannelPage(channels=channels, total=total, limit=query.limit, offset=query.offset)
