"""The searchable texts of each video in catalogue.db, stored once, and their FTS5 index.

A row of the index is one video with the captions of one language (or none). It is written in the transaction that
writes the video's row. `TextFingerprints` identify the source files, so that later changes are noticed.
"""

import json
import sqlite3
import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from services.common.infra.sqlite import Database
from services.storage.archive.fingerprint import TEXTS_FORMAT, TextFingerprints
from services.storage.formats.captions import CaptionLine
from services.storage.index.tokenizer import normalize


@dataclass(frozen=True)
class CaptionTrack:
    """The captions of one language."""

    language: str
    lines: tuple[CaptionLine, ...]


@dataclass(frozen=True)
class VideoTexts:
    """The searchable texts of a video. `tracks` unset: the captions in the index stay."""

    fingerprints: TextFingerprints
    title: str
    channel: str
    description: str
    tracks: tuple[CaptionTrack, ...] | None


@dataclass(frozen=True)
class _Row:
    """One row of the index; `text` and `starts` as they are stored."""

    language: str
    text: bytes | None
    starts: bytes | None


def add_functions(connection: sqlite3.Connection) -> None:
    """Register the SQL functions that every connection to the index needs."""
    connection.create_function("inflate", 1, inflate, deterministic=True)


def inflate(packed: bytes | None) -> str | None:
    return None if packed is None else zlib.decompress(packed).decode()


def starts_of(packed: bytes) -> list[int]:
    """Return the start of each caption line, in milliseconds."""
    deltas = array("q")
    deltas.frombytes(zlib.decompress(packed))
    return list(accumulate(deltas))


class TextIndex:
    """Which videos' texts are indexed, and from which files."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fingerprints(self, root: str, video_ids: Sequence[str]) -> dict[str, TextFingerprints]:
        query = (
            "SELECT video_id, record, metadata, captions, format FROM searched_videos JOIN videos USING (id)"
            " WHERE root = ? AND video_id IN (SELECT value FROM json_each(?))"
        )

        def work(db: sqlite3.Connection) -> dict[str, TextFingerprints]:
            return {
                video_id: TextFingerprints(*fingerprints)
                for video_id, *fingerprints in db.execute(query, (root, json.dumps(video_ids)))
            }

        return await self._database.read(work)

    async def missing(self) -> list[tuple[str, str]]:
        """Return (root, video_id) of the catalogued videos that the index lacks, or has from an older manifest."""
        query = (
            "SELECT v.root, v.video_id FROM videos v LEFT JOIN searched_videos s USING (id)"
            " WHERE s.id IS NULL OR s.record != v.stamp OR s.format != ?"
        )
        return await self._database.read(lambda db: [tuple(row) for row in db.execute(query, (TEXTS_FORMAT,))])


def replace(db: sqlite3.Connection, video: int, texts: VideoTexts) -> None:
    """Replace the indexed texts of the video with this row number."""
    rows = list(_stored_rows(db, video)) if texts.tracks is None else list(map(_pack, texts.tracks))
    remove(db, video)
    title, channel, description = map(normalize, (texts.title, texts.channel, texts.description))
    from_files = (
        texts.fingerprints.format,
        texts.fingerprints.manifest,
        texts.fingerprints.metadata,
        texts.fingerprints.captions,
    )
    db.execute(
        "INSERT INTO searched_videos VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (video, *from_files, title, channel, _deflate(description)),
    )
    db.execute("INSERT INTO name_index (rowid, title, channel) VALUES (?, ?, ?)", (video, title, channel))
    for row in rows or [_Row("", None, None)]:
        key = (video, row.language)
        number = db.execute("INSERT INTO searched_rows (video, language) VALUES (?, ?)", key).lastrowid
        if row.text is not None:
            db.execute("INSERT INTO searched_captions VALUES (?, ?, ?)", (number, row.text, row.starts))
        db.execute(
            "INSERT INTO search_index (rowid, title, channel, description, captions) VALUES (?, ?, ?, ?, ?)",
            (number, title, channel, description, inflate(row.text)),
        )


def remove(db: sqlite3.Connection, video: int) -> None:
    """Remove the texts of a video. FTS5 needs the exact indexed text to delete it."""
    for (number,) in db.execute("SELECT id FROM searched_rows WHERE video = ?", (video,)).fetchall():
        db.execute(
            "INSERT INTO search_index (search_index, rowid, title, channel, description, captions)"
            " SELECT 'delete', * FROM searched WHERE id = ?",
            (number,),
        )
        db.execute("DELETE FROM searched_captions WHERE id = ?", (number,))
    db.execute(
        "INSERT INTO name_index (name_index, rowid, title, channel)"
        " SELECT 'delete', id, title, channel FROM searched_videos WHERE id = ?",
        (video,),
    )
    db.execute("DELETE FROM searched_rows WHERE video = ?", (video,))
    db.execute("DELETE FROM searched_videos WHERE id = ?", (video,))


def dump(db: sqlite3.Connection) -> list[tuple[object, ...]]:
    """Return all indexed texts, without row numbers."""
    query = (
        "SELECT o.root, o.video_id, r.language, v.title, v.channel, inflate(v.description), inflate(c.text), c.starts"
        " FROM searched_rows r JOIN searched_videos v ON v.id = r.video JOIN videos o ON o.id = v.id"
        " LEFT JOIN searched_captions c ON c.id = r.id ORDER BY 1, 2, 3"
    )
    return [tuple(row) for row in db.execute(query)]


def _stored_rows(db: sqlite3.Connection, video: int) -> Iterable[_Row]:
    query = "SELECT language, text, starts FROM searched_rows LEFT JOIN searched_captions USING (id) WHERE video = ?"
    return [_Row(*row) for row in db.execute(query, (video,))]


def _pack(track: CaptionTrack) -> _Row:
    """Store one line of text per caption line."""
    text = normalize("\n".join(line.text for line in track.lines))
    starts = [line.start for line in track.lines]
    deltas = array("q", [later - earlier for earlier, later in pairwise([0, *starts])])
    return _Row(track.language, _deflate(text), zlib.compress(deltas.tobytes(), 9))


def _deflate(text: str) -> bytes:
    return zlib.compress(text.encode(), 9)
