"""Full-text search in titles, channels, descriptions and captions, with the times of captions.

Needs no running service. Ranked by BM25; a title outweighs a channel, that a description, that captions, regardless of
the number of matches.
"""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.common.domain.archive import FileRole
from services.common.errors import InvalidRequest
from services.common.infra.sqlite import Database
from services.common.names import SearchField
from services.common.settings.load import Storage
from services.common.web.paging import Page, PageQuery
from services.storage.formats.layout import file_name, tree_of
from services.storage.index.fts import starts_of
from services.storage.index.highlight import Passage, highlight, highlight_lines, highlight_names
from services.storage.index.queries import VideoRow
from services.storage.index.tokenizer import MARK, TOKENIZER, UNMARK, TextQuery, parse_query
from services.storage.playlists.playlist_file import members_of

TextField = Literal["title", "channel", "description"]
# Far apart: BM25 dampens frequent matches, and captions may contain a word a thousand times.
_WEIGHTS = "bm25(1000000.0, 100000.0, 10000.0, 1.0)"
_SNIPPET_WORDS = 24  # words of a description around a match

_MOST = 1_000  # rows of the index that are ranked: more are not counted (docs/decisions/0030)

# Read from the newest row on, only as far as needed. CROSS JOIN: the index decides the order. Before the first rank,
# FTS5 counts all matches of each word.
_NUMBER = """
SELECT count(*) FROM (SELECT 1 FROM search_index WHERE search_index MATCH :wanted AND {conditions} LIMIT :most)
"""
_MATCHES = """
SELECT r.video, v.root, v.video_id, search_index.rank AS rank FROM search_index
CROSS JOIN searched_rows r ON r.id = search_index.rowid CROSS JOIN videos v ON v.id = r.video
WHERE search_index MATCH :wanted AND rank MATCH :weights AND {conditions} ORDER BY search_index.rowid DESC LIMIT :most
"""
_NAME_MATCHES = """
SELECT r.video, v.root, v.video_id, name_index.rank AS rank FROM name_index
CROSS JOIN searched_rows r ON r.video = name_index.rowid CROSS JOIN videos v ON v.id = r.video
WHERE name_index MATCH :wanted AND rank MATCH :weights AND {conditions} ORDER BY name_index.rowid DESC LIMIT :most
"""
_MOST_COUNTED = 50_000  # rows of the index
_YEARS = f"""
SELECT substr(v.upload_date, 1, 4) AS year, count(DISTINCT r.video) AS videos, count(*) AS texts FROM (
  SELECT search_index.rowid AS id FROM search_index CROSS JOIN searched_rows r ON r.id = search_index.rowid
  WHERE search_index MATCH :wanted AND {{conditions}} ORDER BY search_index.rowid DESC LIMIT {_MOST_COUNTED}) matched
JOIN searched_rows r ON r.id = matched.id JOIN videos v ON v.id = r.video GROUP BY year ORDER BY year
"""  # noqa: S608 - a constant
_ALL_YEARS = """
SELECT substr(upload_date, 1, 4) AS year, count(*) FROM videos INDEXED BY videos_by_upload_date GROUP BY year
"""
_YEARS_OF_FILTER = """
SELECT substr(v.upload_date, 1, 4) AS year, count(*) FROM videos v WHERE {conditions} GROUP BY year
"""
_NAME_WEIGHTS = "bm25(1000000.0, 100000.0)"
# The row itself is excluded by the expression: all matches of the unwanted words are collected for videos with captions
# in several languages only.
_EXCLUDED = """
NOT EXISTS (SELECT 1 FROM searched_rows other WHERE other.video = r.video AND other.id != r.id
  AND other.id IN (SELECT rowid FROM search_index WHERE search_index MATCH :unwanted))
"""
# Queries for row numbers of videos.
_OF_CHANNEL = """
SELECT id FROM videos WHERE channel_id = :channel
UNION ALL SELECT id FROM videos WHERE channel = :channel COLLATE NOCASE
"""
_OF_PLAYLIST = "SELECT id FROM videos WHERE video_id IN (SELECT value FROM json_each(:members))"
_WITH_LANGUAGE = "SELECT video FROM searched_rows WHERE language = :language"
_OF_YEAR = "upload_date >= :year AND upload_date < :next_year"  # of a row of videos
_TEXTS_OF_PAGE = """
SELECT r.id, v.title, v.channel, inflate(v.description), inflate(c.text)
FROM searched_rows r JOIN searched_videos v ON v.id = r.video LEFT JOIN searched_captions c ON c.id = r.id
WHERE r.video IN (SELECT value FROM json_each(:videos)) AND (:language IS NULL OR r.language = :language)
"""
_HIGHLIGHTED = f"""
SELECT rowid AS id, highlight(page, 0, :mark, :unmark) AS title, highlight(page, 1, :mark, :unmark) AS channel,
  snippet(page, 2, :mark, :unmark, '…', {_SNIPPET_WORDS}) AS description,
  highlight(page, 3, :mark, :unmark) AS captions FROM page WHERE page MATCH :wanted
"""  # noqa: S608 - a constant


class TextFilter(BaseModel):
    """`q`: words, all of which must match; "a phrase"; `begin*`; `-without`. `in`: the field to search; unset: all.
    `channel`: its id or name. `language`: only captions in this language, and only videos that have them. `year`: in
    which the video was made."""

    model_config = ConfigDict(extra="forbid")

    q: str = Field(min_length=1, max_length=200)
    channel: str | None = Field(default=None, min_length=1, max_length=200)
    playlist: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    place: SearchField | None = Field(default=None, alias="in")
    language: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    year: int | None = Field(default=None, ge=1900, le=2999)


class SearchQuery(TextFilter, PageQuery):
    """What is searched for. `moments`: maximum number per video."""

    limit: int = Field(default=20, ge=1, le=100)
    moments: int = Field(default=5, ge=0, le=50)


class YearsQuery(TextFilter):
    """What is searched for."""


class YearCount(BaseModel):
    """`year` in which the videos were made; null: not known. `of`: all videos of that year within the other filters."""

    year: str | None
    videos: int
    of: int


class SearchYears(BaseModel):
    """`more`: so many texts match that only the newest rows of the index are counted."""

    years: list[YearCount]
    more: bool


class TextMatch(Passage):
    place: TextField


class Moment(Passage):
    """A match in captions: `url` starts the video there, `file` is the caption file."""

    language: str
    start_seconds: float
    url: str
    file: str


class SearchHit(VideoRow):
    """A video with matches: `texts`, and the best of its `moments_total` moments, in the order of time."""

    score: float
    texts: list[TextMatch]
    moments: list[Moment]
    moments_total: int


class SearchPage(Page):
    """Sorted by relevance. `more_than_total`: more than a thousand texts match; `total` is the number of videos that
    were ranked then: matches in title and channel first, then in the description, then the newest."""

    hits: list[SearchHit]
    more_than_total: bool = False


@dataclass(frozen=True)
class _Ranked:
    """Row numbers of videos with their rank, best first; whether there are more."""

    videos: list[tuple[int, float]]
    more: bool


@dataclass(frozen=True)
class _MatchedRow:
    """A matching row of the index, highlighted: one language of a video."""

    language: str
    starts: bytes | None
    title: str
    channel: str
    description: str
    captions: str | None


class ArchiveSearch:
    """`database` may be read-only."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self._database = database
        self._storage = storage

    async def find(self, query: SearchQuery) -> SearchPage:
        text_query = parse_query(query.q)
        members = None
        if query.playlist is not None:
            members = await asyncio.to_thread(members_of, query.playlist, self._storage)

        def work(db: sqlite3.Connection) -> SearchPage:
            ranked = _Matches(db, query, text_query, members).ranked()
            page = ranked.videos[query.offset : query.offset + query.limit]
            found = _found(db, query, text_query, [video for video, _rank in page])
            return SearchPage(
                hits=[self._hit(db, query, video, found[video], rank) for video, rank in page],
                total=len(ranked.videos),
                more_than_total=ranked.more,
                limit=query.limit,
                offset=query.offset,
            )

        return await self._database.read(work)

    async def years(self, query: YearsQuery) -> SearchYears:
        text_query = parse_query(query.q)
        members = None
        if query.playlist is not None:
            members = await asyncio.to_thread(members_of, query.playlist, self._storage)

        def work(db: sqlite3.Connection) -> SearchYears:
            found, more = _Matches(db, query, text_query, members).years()
            all_years = _years_of_filter(db, query, members) if found else {}
            years = [YearCount(year=year, videos=videos, of=all_years.get(year, videos)) for year, videos in found]
            return SearchYears(years=years, more=more)

        return await self._database.read(work)

    def _hit(
        self, db: sqlite3.Connection, query: SearchQuery, number: int, found: list[_MatchedRow], rank: float
    ) -> SearchHit:
        video = db.execute("SELECT * FROM videos WHERE id = ?", (number,)).fetchone()
        moments = [
            moment for row in found if row.captions for moment in self._moments(row, video["root"], video["video_id"])
        ]
        best = sorted(moments, key=lambda moment: (-len(moment.matches), moment.start_seconds))[: query.moments]
        return SearchHit(
            **{**dict(video), "qualities": json.loads(video["qualities"])},
            score=round(-rank, 6),
            texts=_texts(found[0]),
            moments=sorted(best, key=lambda moment: (moment.start_seconds, moment.language)),
            moments_total=len(moments),
        )

    def _moments(self, row: _MatchedRow, root: str, video_id: str) -> list[Moment]:
        starts = starts_of(row.starts or b"")
        name = file_name(video_id, FileRole.CAPTION, row.language)
        return [
            Moment(
                text=passage.text,
                matches=passage.matches,
                language=row.language,
                start_seconds=starts[line] / 1000,
                url=f"https://www.youtube.com/watch?v={video_id}&t={starts[line] // 1000}s",
                file=str(self._videos(root) / video_id / name),
            )
            for line, passage in highlight_lines(row.captions or "")
        ]

    def _videos(self, root: str) -> Path:
        try:
            return tree_of(root, self._storage).videos
        except InvalidRequest:  # in the catalogue, but no longer configured
            return Path(root) / "videos"


class _Matches:
    """The videos that match a query. Common words match most of a large archive: then matches in names are found first,
    and of the others only the newest are ranked."""

    def __init__(
        self, db: sqlite3.Connection, query: TextFilter, text_query: TextQuery, members: Sequence[str] | None
    ) -> None:
        self._db = db
        self._query = query
        self._text_query = text_query
        self._unwanted = text_query.exclusion(*_columns(query))
        self._conditions, self._values = _conditions(query, self._unwanted, members)

    def ranked(self) -> _Ranked:
        if self._text_query.expression() is None:
            return _Ranked([], more=False)
        if self._query.place is not None:
            named = self._query.place in {"title", "channel"}
            statement, weights = (_NAME_MATCHES, _NAME_WEIGHTS) if named else (_MATCHES, _WEIGHTS)
            rows = self._rows(statement, weights, self._query.place)
            return _ranked(rows, more=len(rows) > _MOST)
        names = self._rows(_NAME_MATCHES, _NAME_WEIGHTS) if self._unwanted is None else []
        if len(names) > _MOST:
            return _ranked(names, more=True)
        too_many = len(self._conditions) == 1 and self._select(_NUMBER)[0][0] > _MOST
        rows = [] if too_many else self._rows(_MATCHES, _WEIGHTS)
        if not too_many and len(rows) <= _MOST:  # one order for all
            return _ranked(rows, more=False)
        described = self._rows(_MATCHES, _WEIGHTS, "title", "channel", "description")
        if too_many and len(described) <= _MOST:
            rows = self._rows(_MATCHES, _WEIGHTS)
        return _ranked(names, described, rows, more=True)

    def years(self) -> tuple[list[tuple[str | None, int]], bool]:
        """Return (year, matching videos), oldest first, and whether only the newest matches were counted."""
        if self._text_query.expression() is None:
            return [], False
        columns = _columns(self._query)
        rows = self._select(_YEARS, *columns)
        found = [(row["year"], row["videos"]) for row in rows]
        return found, sum(row["texts"] for row in rows) >= _MOST_COUNTED

    def _rows(self, statement: str, weights: str, *columns: str) -> list[tuple[int, float]]:
        """Return (video, rank) of the newest matching rows, one more than are ranked at most; best first."""
        rows = self._select(statement, *columns, weights=weights)
        rows.sort(key=lambda row: (row["rank"], row["root"], row["video_id"]))
        return [(row["video"], row["rank"]) for row in rows]

    def _select(self, statement: str, *columns: str, **values: str) -> list[sqlite3.Row]:
        expression = self._text_query.expression(*columns)
        if self._unwanted is not None:
            expression = f"({expression}) NOT ({self._unwanted})"
        sql = statement.format(conditions=" AND ".join(self._conditions))
        return self._db.execute(sql, {**self._values, "wanted": expression, "most": _MOST + 1, **values}).fetchall()


def _ranked(*tiers: list[tuple[int, float]], more: bool) -> _Ranked:
    """Join lists of matches; a video counts where it is found first."""
    ranks = dict[int, float]()
    for video, rank in (match for tier in tiers for match in tier):
        if len(ranks) < _MOST:
            ranks.setdefault(video, rank)
    return _Ranked(list(ranks.items()), more)


def _conditions(
    query: TextFilter, unwanted: str | None, members: Sequence[str] | None
) -> tuple[list[str], dict[str, Any]]:
    conditions, values = ["1"], dict[str, Any]()
    if unwanted is not None:
        conditions.append(_EXCLUDED)
        values["unwanted"] = unwanted
    if query.language is not None:
        conditions.append("r.language = :language")
        values["language"] = query.language
    subsets, values_of_subsets = _subsets(query, members)
    conditions += [f"r.video IN ({subset})" for subset in subsets]
    if query.year is not None:  # row by row: as many as are ranked are soon found
        conditions.append(f"EXISTS (SELECT 1 FROM videos WHERE id = r.video AND {_OF_YEAR})")  # noqa: S608 - a constant
    return conditions, values | values_of_subsets | _year(query)


def _subsets(query: TextFilter, members: Sequence[str] | None) -> tuple[list[str], dict[str, Any]]:
    """Return a query for the row numbers of videos, with its values, for each filter that does not depend on texts."""
    subsets, values = list[str](), dict[str, Any]()
    if query.channel is not None:
        subsets.append(_OF_CHANNEL)
        values["channel"] = query.channel
    if members is not None:
        subsets.append(_OF_PLAYLIST)
        values["members"] = json.dumps(list(members))
    return subsets, values


def _year(query: TextFilter) -> dict[str, str]:
    """Return the values of _OF_YEAR."""
    return {"year": f"{query.year}", "next_year": f"{query.year + 1}"} if query.year is not None else {}


def _years_of_filter(db: sqlite3.Connection, query: TextFilter, members: Sequence[str] | None) -> dict[str | None, int]:
    """Return the number of videos of each year within all filters but the words."""
    subsets, values = _subsets(query, members)
    if query.language is not None:
        subsets.append(_WITH_LANGUAGE)
        values["language"] = query.language
    conditions = [f"v.id IN ({subset})" for subset in subsets] + ([_OF_YEAR] if query.year is not None else [])
    if not conditions:
        return dict(db.execute(_ALL_YEARS).fetchall())
    statement = _YEARS_OF_FILTER.format(conditions=" AND ".join(conditions))
    return dict(db.execute(statement, values | _year(query)).fetchall())


def _found(
    db: sqlite3.Connection, query: SearchQuery, text_query: TextQuery, videos: Sequence[int]
) -> dict[int, list[_MatchedRow]]:
    """Return the matching rows of these videos, highlighted, by video. An index of these texts alone is made in memory:
    in that of the archive FTS5 would read all matches of `begin*` anew."""
    texts = db.execute(_TEXTS_OF_PAGE, {"videos": json.dumps(videos), "language": query.language}).fetchall()
    marks = {"mark": MARK, "unmark": UNMARK, "wanted": text_query.expression(*_columns(query))}
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.execute(
            f'CREATE VIRTUAL TABLE page USING fts5 (title, channel, description, captions, tokenize="{TOKENIZER}")'
        )
        memory.executemany(
            "INSERT INTO page (rowid, title, channel, description, captions) VALUES (?, ?, ?, ?, ?)", map(tuple, texts)
        )
        matched = {number: columns for number, *columns in memory.execute(_HIGHLIGHTED, marks)} if texts else {}
    found: dict[int, list[_MatchedRow]] = {}
    rows = db.execute(
        "SELECT r.id, r.video, r.language, c.starts FROM searched_rows r LEFT JOIN searched_captions c USING (id)"
        " WHERE r.id IN (SELECT value FROM json_each(?)) ORDER BY r.language",
        (json.dumps(list(matched)),),
    )
    for row in rows:
        one = _MatchedRow(row["language"], row["starts"], *matched[row["id"]])
        found.setdefault(row["video"], []).append(one)
    return found


def _columns(query: TextFilter) -> Sequence[str]:
    return [query.place] if query.place else []


def _texts(row: _MatchedRow) -> list[TextMatch]:
    readers: dict[TextField, Callable[[str], Passage]] = {
        "title": highlight_names,
        "channel": highlight_names,
        "description": highlight,
    }
    return [
        TextMatch(place=place, **read(text).model_dump())
        for place, read in readers.items()
        if MARK in (text := getattr(row, place))
    ]
