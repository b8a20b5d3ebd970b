"""Full-text search in titles, channels, descriptions and captions, with the times of captions.

Needs no running service. Ranked by BM25; a title outweighs a channel, that a description, that captions, regardless of
the number of matches.
"""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from services.common.domain.archive import FileRole
from services.common.errors import InvalidRequest
from services.common.infra.sqlite import Database
from services.common.names import SearchField
from services.common.settings.load import Storage
from services.common.web.paging import Page, PageQuery
from services.storage.formats.layout import file_name, tree_of
from services.storage.index.fts import starts_of
from services.storage.index.highlight import Passage, highlight, highlight_lines, highlight_names
from services.storage.index.queries import VideoRow, expect_index
from services.storage.index.tokenizer import MARK, UNMARK, TextQuery, parse_query
from services.storage.playlists.playlist_file import members_of

TextField = Literal["title", "channel", "description"]
# Far apart: BM25 dampens frequent matches, and captions may contain a word a thousand times.
_WEIGHTS = "bm25(1000000.0, 100000.0, 10000.0, 1.0)"
_SNIPPET_WORDS = 24  # words of a description around a match

_KEYS = """
SELECT r.root, r.video_id, min(m.rank) AS rank
FROM (SELECT rowid AS id, rank FROM search_index WHERE search_index MATCH :wanted AND rank MATCH :weights LIMIT -1) m
JOIN searched_rows r ON r.id = m.id
WHERE {conditions}
GROUP BY r.root, r.video_id ORDER BY rank, r.root, r.video_id
"""
_EXCLUDED = """
NOT EXISTS (SELECT 1 FROM searched_rows other WHERE other.root = r.root AND other.video_id = r.video_id
  AND other.id IN (SELECT rowid FROM search_index WHERE search_index MATCH :unwanted))
"""  # not NOT IN: with two columns SQLite checks for NULLs row by row
_OF_CHANNEL = """
(r.root, r.video_id) IN (SELECT root, video_id FROM videos WHERE channel_id = :channel
  OR channel = :channel COLLATE NOCASE)
"""
_FOUND = f"""
SELECT r.root, r.video_id, r.language, c.starts, m.title, m.channel, m.description, m.captions
FROM (
  SELECT rowid AS id, highlight(search_index, 0, :mark, :unmark) AS title,
    highlight(search_index, 1, :mark, :unmark) AS channel,
    snippet(search_index, 2, :mark, :unmark, '…', {_SNIPPET_WORDS}) AS description,
    highlight(search_index, 3, :mark, :unmark) AS captions
  FROM search_index WHERE search_index MATCH :wanted AND +rowid IN (SELECT value FROM json_each(:rows)) LIMIT -1
) m JOIN searched_rows r ON r.id = m.id LEFT JOIN searched_captions c ON c.id = r.id ORDER BY r.language
"""  # noqa: S608 - a constant; +rowid: one pass over what matches, else FTS5 would look for `begin*` anew for every row


class SearchQuery(PageQuery):
    """`q`: words, all of which must match; "a phrase"; `begin*`; `-without`. `in`: the field to search; unset: all.
    `channel`: its id or name. `language`: only captions in this language, and only videos that have them. `moments`:
    maximum number per video."""

    limit: int = Field(default=20, ge=1, le=100)
    q: str = Field(min_length=1, max_length=200)
    channel: str | None = Field(default=None, min_length=1, max_length=200)
    playlist: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    place: SearchField | None = Field(default=None, alias="in")
    language: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    moments: int = Field(default=5, ge=0, le=50)


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
    """Sorted by relevance."""

    hits: list[SearchHit]


class ArchiveSearch:
    """`database` may be read-only."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self._database = database
        self._storage = storage

    async def find(self, query: SearchQuery) -> SearchPage:
        """Raises ServiceUnavailable while there is no text index."""
        text_query = parse_query(query.q)
        members = None
        if query.playlist is not None:
            members = await asyncio.to_thread(members_of, query.playlist, self._storage)

        def work(db: sqlite3.Connection) -> SearchPage:
            expect_index(db)
            keys = _keys(db, query, text_query, members)
            page = keys[query.offset : query.offset + query.limit]
            found = _found(db, query, text_query, page)
            hits = [self._hit(db, query, found[root, video_id], rank) for root, video_id, rank in page]
            return SearchPage(hits=hits, total=len(keys), limit=query.limit, offset=query.offset)

        return await self._database.read(work)

    def _hit(self, db: sqlite3.Connection, query: SearchQuery, found: list[sqlite3.Row], rank: float) -> SearchHit:
        root, video_id = found[0]["root"], found[0]["video_id"]
        video = db.execute("SELECT * FROM videos WHERE root = ? AND video_id = ?", (root, video_id)).fetchone()
        moments = [moment for row in found if row["captions"] for moment in self._moments(row, root, video_id)]
        best = sorted(moments, key=lambda moment: (-len(moment.matches), moment.start_seconds))[: query.moments]
        return SearchHit(
            **{**dict(video), "qualities": json.loads(video["qualities"])},
            score=round(-rank, 6),
            texts=_texts(found[0]),
            moments=sorted(best, key=lambda moment: (moment.start_seconds, moment.language)),
            moments_total=len(moments),
        )

    def _moments(self, row: sqlite3.Row, root: str, video_id: str) -> list[Moment]:
        starts = starts_of(row["starts"])
        name = file_name(video_id, FileRole.CAPTION, row["language"])
        return [
            Moment(
                text=passage.text,
                matches=passage.matches,
                language=row["language"],
                start_seconds=starts[line] / 1000,
                url=f"https://www.youtube.com/watch?v={video_id}&t={starts[line] // 1000}s",
                file=str(self._videos(root) / video_id / name),
            )
            for line, passage in highlight_lines(row["captions"])
        ]

    def _videos(self, root: str) -> Path:
        try:
            return tree_of(root, self._storage).videos
        except InvalidRequest:  # in the catalogue, but no longer configured
            return Path(root) / "videos"


def _keys(
    db: sqlite3.Connection, query: SearchQuery, text_query: TextQuery, members: Sequence[str] | None
) -> list[tuple[str, str, float]]:
    """Return (root, video_id, rank) of all matches, best first."""
    wanted = text_query.expression(*_columns(query))
    if wanted is None:
        return []
    values: dict[str, Any] = {"wanted": wanted, "weights": _WEIGHTS}
    conditions = ["1"]
    if (unwanted := text_query.exclusion(*_columns(query))) is not None:
        conditions.append(_EXCLUDED)
        values["unwanted"] = unwanted
    if query.language is not None:
        conditions.append("r.language = :language")
        values["language"] = query.language
    if query.channel is not None:
        conditions.append(_OF_CHANNEL)
        values["channel"] = query.channel
    if members is not None:
        conditions.append("r.video_id IN (SELECT value FROM json_each(:members))")
        values["members"] = json.dumps(list(members))
    sql = _KEYS.format(conditions=" AND ".join(conditions))
    return [(row["root"], row["video_id"], row["rank"]) for row in db.execute(sql, values)]


def _found(
    db: sqlite3.Connection, query: SearchQuery, text_query: TextQuery, page: Sequence[tuple[str, str, float]]
) -> dict[tuple[str, str], list[sqlite3.Row]]:
    """Return the matching rows of the index, highlighted, by (root, video_id)."""
    of_video = "SELECT id FROM searched_rows WHERE root = ? AND video_id = ? AND language = coalesce(?, language)"
    ids = [row[0] for root, video_id, _ in page for row in db.execute(of_video, (root, video_id, query.language))]
    marks = {"mark": MARK, "unmark": UNMARK, "wanted": text_query.expression(*_columns(query)), "rows": json.dumps(ids)}
    found: dict[tuple[str, str], list[sqlite3.Row]] = {}
    for row in db.execute(_FOUND, marks) if ids else ():
        found.setdefault((row["root"], row["video_id"]), []).append(row)
    return found


def _columns(query: SearchQuery) -> Sequence[str]:
    return [query.place] if query.place else []


def _texts(row: sqlite3.Row) -> list[TextMatch]:
    readers: dict[TextField, Callable[[str], Passage]] = {
        "title": highlight_names,
        "channel": highlight_names,
        "description": highlight,
    }
    return [
        TextMatch(place=place, **read(row[place]).model_dump()) for place, read in readers.items() if MARK in row[place]
    ]
