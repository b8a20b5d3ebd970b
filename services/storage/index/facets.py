"""What a list of videos consists of: counts by channel, year, length, quality and language; months with their places;
channels. Needs no running service."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, Field

from services.common.infra.sqlite import Database
from services.common.web.paging import Page, PageQuery
from services.storage.index.listing import CHOSEN, Filter, count_rows, with_chosen
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
    source, values = _source(chosen)
    total = count_rows(db, chosen)

    def grouped(key: str, index: str = "", *, limit: int = 1_000) -> list[FacetCount]:
        query = (
            f"{source(index)} SELECT {key} AS value, count(*) AS videos FROM listed"  # noqa: S608 - ours
            f" WHERE value IS NOT NULL GROUP BY value ORDER BY videos DESC, value LIMIT {limit}"
        )
        return [FacetCount(value=str(row["value"]), videos=row["videos"]) for row in db.execute(query, values)]

    length = f"CASE WHEN duration_seconds < {SHORT} THEN 'short' WHEN duration_seconds < {LONG} THEN 'medium'"
    languages = (
        f"{source('')} SELECT language AS value, count(*) AS videos FROM searched_rows"  # noqa: S608 - ours
        " WHERE video IN (SELECT id FROM listed) AND language != '' GROUP BY language ORDER BY videos DESC, language"
    )
    without = (
        f"{source('')} SELECT count(*) FROM (SELECT id FROM listed"  # noqa: S608 - ours
        " EXCEPT SELECT video FROM searched_rows WHERE language != '')"
    )
    gone = f"{source('')} SELECT count(*) FROM listed WHERE video_id IN (SELECT video_id FROM known_gone)"  # noqa: S608 - ours
    captions = [FacetCount(**dict(row)) for row in db.execute(languages, values)]
    captions.append(FacetCount(value="none", videos=db.execute(without, values).fetchone()[0]))
    return Facets(
        total=total,
        channels=grouped("coalesce(channel, channel_id)", limit=_LARGEST),
        years=sorted(grouped("substr(upload_date, 1, 4)", "upload_date"), key=lambda one: one.value, reverse=True),
        lengths=grouped(f"{length} WHEN duration_seconds IS NOT NULL THEN 'long' END", "duration"),
        qualities=_qualities(grouped("qualities")),
        captions=captions,
        gone=db.execute(gone, values).fetchone()[0],
    )


def _source(chosen: Filter) -> tuple["_Source", tuple[object, ...]]:
    return _Source(chosen), chosen.values


class _Source:
    """`WITH` clauses whose table `listed` has the rows within a filter, read from an index where that has all that is
    asked for."""

    def __init__(self, chosen: Filter) -> None:
        self._chosen = chosen

    def __call__(self, index: str) -> str:
        conditions = [*self._chosen.flags, *([CHOSEN] if self._chosen.chosen else [])]
        begin = with_chosen(self._chosen)
        indexed = f" INDEXED BY videos_by_{index}" if index and not self._chosen.chosen else ""
        where = " AND ".join(conditions) or "1"
        return f"{begin + ',' if begin else 'WITH'} listed AS (SELECT * FROM videos{indexed} WHERE {where})"  # noqa: S608 - ours


def _qualities(found: list[FacetCount]) -> list[FacetCount]:
    """Count each quality of the lists that rows have."""
    counts = dict[str, int]()
    for one in found:
        for quality in json.loads(one.value):
            counts[quality] = counts.get(quality, 0) + one.videos
    return [FacetCount(value=value, videos=videos) for value, videos in sorted(counts.items(), key=lambda it: -it[1])]


def _buckets(db: sqlite3.Connection, chosen: Filter, by: str) -> Buckets:
    source, values = _source(chosen)
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
# of channel_totals, whose channel is an id where the name is not known
_OF_CHANNEL = """
(SELECT {column} FROM (SELECT channel_id, upload_date FROM videos WHERE channel = t.channel COLLATE NOCASE
  UNION ALL SELECT channel_id, upload_date FROM videos WHERE channel IS NULL AND channel_id = t.channel))
"""


def _channels(db: sqlite3.Connection, query: ChannelQuery) -> ChannelPage:
    where, values = "channel != ''", list[str]()
    if query.q is not None:
        where += " AND instr(lower(channel), lower(?))"
        values.append(query.q)
    (total,) = db.execute(f"SELECT count(*) FROM channel_totals WHERE {where}", values).fetchone()  # noqa: S608 - ours
    direction = "DESC NULLS LAST" if query.sort.startswith("-") else "ASC NULLS LAST"
    order = f"{_CHANNEL_ORDERS[query.sort.removeprefix('-')]} {direction}, channel"
    newest, channel_id = (_OF_CHANNEL.format(column=f"max({name})") for name in ("upload_date", "channel_id"))
    rows = db.execute(
        f"SELECT channel, videos, bytes, {newest} AS newest, {channel_id} AS channel_id FROM channel_totals t"  # noqa: S608 - ours
        f" WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",
        (*values, query.limit, query.offset),
    ).fetchall()
    channels = [ChannelRow(**dict(row)) for row in rows]
    return ChannelPage(channels=channels, total=total, limit=query.limit, offset=query.offset)
