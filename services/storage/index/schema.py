"""The schema of catalogue.db as numbered migrations, and how the file is opened.

Version 4 is for large archives (docs/decisions/0030): narrow rows with an index for each order of the list, totals that
triggers keep, and an index of titles and channels beside that of all texts.

All tables can be rebuilt from the archive tree, except those of listings in progress and of verifications. Version 1
knew neither verifications nor the text index. Files of unreleased versions may have a part of a step's tables: hence
IF NOT EXISTS.
"""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from services.common.errors import ServiceUnavailable
from services.common.infra.sqlite import Database
from services.common.infra.sqlite_files import read_only, schema_version
from services.storage.index import fts, holdings
from services.storage.index.tokenizer import TOKENIZER

_VIDEOS = """
CREATE TABLE IF NOT EXISTS videos (
  root TEXT NOT NULL, video_id TEXT NOT NULL, stamp TEXT NOT NULL,
  title TEXT NOT NULL, channel TEXT, channel_id TEXT, duration_seconds REAL, upload_date TEXT,
  archived_at TEXT NOT NULL, bytes INTEGER NOT NULL, qualities TEXT NOT NULL, holding TEXT NOT NULL,
  PRIMARY KEY (root, video_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS known_gone (
  video_id TEXT PRIMARY KEY, reason TEXT NOT NULL, at TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (
  video_id TEXT PRIMARY KEY, title TEXT NOT NULL, at TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS plan_entries (
  plan_id TEXT NOT NULL, video_id TEXT NOT NULL, root TEXT NOT NULL, resolved INTEGER NOT NULL,
  PRIMARY KEY (plan_id, video_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS plans_of_video ON plan_entries (root, video_id) WHERE resolved = 0;
CREATE TABLE IF NOT EXISTS taking_in (
  root TEXT NOT NULL, video_id TEXT NOT NULL, PRIMARY KEY (root, video_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scanned (root TEXT PRIMARY KEY, at TEXT NOT NULL) WITHOUT ROWID;
"""

_LISTINGS = """
CREATE TABLE IF NOT EXISTS listings (
  job_id TEXT NOT NULL, target_index INTEGER NOT NULL, touched_at TEXT NOT NULL,
  playlist TEXT, completed TEXT, completed_at TEXT, trace_id TEXT, written INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (job_id, target_index)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS listing_pages (
  job_id TEXT NOT NULL, target_index INTEGER NOT NULL, page_key TEXT NOT NULL, page TEXT NOT NULL,
  PRIMARY KEY (job_id, target_index, page_key)) WITHOUT ROWID;
"""

_VERIFICATIONS = """
CREATE TABLE IF NOT EXISTS verifications (
  verification_id TEXT PRIMARY KEY, trace_id TEXT NOT NULL, asked INTEGER NOT NULL, repair INTEGER NOT NULL,
  roots TEXT NOT NULL, begun_at TEXT NOT NULL, ended_at TEXT, status TEXT NOT NULL, error TEXT,
  videos INTEGER NOT NULL DEFAULT 0, files INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,
  damaged INTEGER NOT NULL DEFAULT 0, extra INTEGER NOT NULL DEFAULT 0,
  videos_total INTEGER NOT NULL, bytes_total INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS verification_queue (
  verification_id TEXT NOT NULL, position INTEGER NOT NULL, root TEXT NOT NULL, video_id TEXT NOT NULL,
  PRIMARY KEY (verification_id, position)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS verification_findings (
  verification_id TEXT NOT NULL, root TEXT NOT NULL, video_id TEXT NOT NULL, name TEXT NOT NULL, finding TEXT NOT NULL,
  PRIMARY KEY (verification_id, root, video_id, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS verification_mends (
  verification_id TEXT NOT NULL, root TEXT NOT NULL, video_id TEXT NOT NULL, mend TEXT NOT NULL, job_id TEXT,
  PRIMARY KEY (verification_id, root, video_id, mend)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS verified (
  root TEXT NOT NULL, video_id TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (root, video_id)) WITHOUT ROWID;
"""

_TEXTS = f"""
CREATE TABLE IF NOT EXISTS searched_videos (
  root TEXT NOT NULL, video_id TEXT NOT NULL,
  format INTEGER NOT NULL, record TEXT NOT NULL, metadata TEXT NOT NULL, captions TEXT NOT NULL,
  title TEXT NOT NULL, channel TEXT NOT NULL, description BLOB NOT NULL,
  PRIMARY KEY (root, video_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS searched_rows (
  id INTEGER PRIMARY KEY, root TEXT NOT NULL, video_id TEXT NOT NULL, language TEXT NOT NULL,
  UNIQUE (root, video_id, language));
CREATE TABLE IF NOT EXISTS searched_captions (id INTEGER PRIMARY KEY, text BLOB NOT NULL, starts BLOB NOT NULL);
CREATE VIEW IF NOT EXISTS searched AS
  SELECT r.id, v.title, v.channel, inflate(v.description) AS description, inflate(c.text) AS captions
  FROM searched_rows r JOIN searched_videos v USING (root, video_id) LEFT JOIN searched_captions c ON c.id = r.id;
CREATE VIRTUAL TABLE IF NOT EXISTS search_index USING fts5 (
  title, channel, description, captions, content='searched', content_rowid='id', tokenize="{TOKENIZER}");
"""  # noqa: S608 - a constant

# days on which YouTube refused a video without a known reason, from the work plans
_UNEXPLAINED = """
CREATE TABLE IF NOT EXISTS unexplained (
  video_id TEXT NOT NULL, day TEXT NOT NULL, PRIMARY KEY (video_id, day)) WITHOUT ROWID;
"""

# by name, what a list is sorted by
SORT_KEYS = {
    "title": "title COLLATE NOCASE",
    "archived_at": "archived_at",
    "upload_date": "upload_date",
    "duration": "duration_seconds",
    "bytes": "bytes",
}


def _count(row: str, sign: str) -> str:
    """Return the statements that add a row of `videos` (`new` or `old`) to the totals, or subtract it."""
    milliseconds = f"CAST(round(coalesce({row}.duration_seconds, 0) * 1000) AS INTEGER)"
    return f"""
  INSERT INTO video_totals VALUES ({row}.root, {row}.incomplete, {row}.below_wanted, {sign}1, {sign}{row}.bytes,
    {sign}{milliseconds}) ON CONFLICT DO UPDATE SET videos = videos + excluded.videos, bytes = bytes + excluded.bytes,
    milliseconds = milliseconds + excluded.milliseconds;
  INSERT INTO channel_totals VALUES (coalesce({row}.channel, {row}.channel_id, ''), {sign}1, {sign}{row}.bytes)
    ON CONFLICT DO UPDATE SET videos = videos + excluded.videos, bytes = bytes + excluded.bytes;"""  # noqa: S608 - ours


_TRIGGERS = f"""
CREATE TRIGGER video_added AFTER INSERT ON videos BEGIN {_count("new", "+")} END;
CREATE TRIGGER video_changed AFTER UPDATE ON videos BEGIN {_count("old", "-")} {_count("new", "+")}
  DELETE FROM channel_totals WHERE channel = coalesce(old.channel, old.channel_id, '') AND videos = 0; END;
CREATE TRIGGER video_removed AFTER DELETE ON videos BEGIN {_count("old", "-")}
  DELETE FROM channel_totals WHERE channel = coalesce(old.channel, old.channel_id, '') AND videos = 0; END;
"""  # noqa: S608 - constants
_ORDERS = "".join(
    f"CREATE INDEX videos_by_{name} ON videos ({key}, video_id, id, incomplete, below_wanted);"
    for name, key in SORT_KEYS.items()
)

# A row of a list needs no holding: rows are narrow, so that sorting and filtering read few pages. Each index has all
# that a page is selected by (listing.py). Row numbers are kept when a row is replaced: texts refer to them.
_WIDE_ARCHIVE = f"""
DROP VIEW searched;
ALTER TABLE videos RENAME TO videos_3;
CREATE TABLE videos (
  id INTEGER PRIMARY KEY, root TEXT NOT NULL, video_id TEXT NOT NULL, stamp TEXT NOT NULL,
  title TEXT NOT NULL, channel TEXT, channel_id TEXT, duration_seconds REAL, upload_date TEXT,
  archived_at TEXT NOT NULL, bytes INTEGER NOT NULL, qualities TEXT NOT NULL,
  incomplete INTEGER NOT NULL, below_wanted INTEGER NOT NULL, UNIQUE (video_id, root));
CREATE TABLE holdings (id INTEGER PRIMARY KEY, packed BLOB NOT NULL);
CREATE TABLE video_totals (
  root TEXT NOT NULL, incomplete INTEGER NOT NULL, below_wanted INTEGER NOT NULL,
  videos INTEGER NOT NULL, bytes INTEGER NOT NULL, milliseconds INTEGER NOT NULL,
  PRIMARY KEY (root, incomplete, below_wanted)) WITHOUT ROWID;
CREATE TABLE channel_totals (
  channel TEXT PRIMARY KEY, videos INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX channels_by_videos ON channel_totals (videos DESC, channel);
{_TRIGGERS}
INSERT INTO videos SELECT NULL, root, video_id, stamp, title, channel, channel_id, duration_seconds, upload_date,
  archived_at, bytes, qualities, lacks_something(holding), may_get_better(holding) FROM videos_3;
INSERT INTO holdings SELECT v.id, pack_holding(o.holding) FROM videos_3 o JOIN videos v USING (root, video_id);
DROP TABLE videos_3;
{_ORDERS}
CREATE INDEX videos_by_channel ON videos (channel COLLATE NOCASE);
CREATE INDEX videos_by_channel_id ON videos (channel_id);
ALTER TABLE seen ADD COLUMN stamp TEXT NOT NULL DEFAULT '';

ALTER TABLE searched_videos RENAME TO searched_videos_3;
ALTER TABLE searched_rows RENAME TO searched_rows_3;
CREATE TABLE searched_videos (
  id INTEGER PRIMARY KEY, format INTEGER NOT NULL, record TEXT NOT NULL, metadata TEXT NOT NULL, captions TEXT NOT NULL,
  title TEXT NOT NULL, channel TEXT NOT NULL, description BLOB NOT NULL);
CREATE TABLE searched_rows (
  id INTEGER PRIMARY KEY, video INTEGER NOT NULL, language TEXT NOT NULL, UNIQUE (video, language));
INSERT INTO searched_videos SELECT v.id, o.format, o.record, o.metadata, o.captions, o.title, o.channel, o.description
  FROM searched_videos_3 o JOIN videos v USING (root, video_id);
INSERT INTO searched_rows SELECT o.id, v.id, o.language FROM searched_rows_3 o JOIN videos v USING (root, video_id);
DROP TABLE searched_videos_3;
DROP TABLE searched_rows_3;
CREATE VIEW searched AS
  SELECT r.id, v.title, v.channel, inflate(v.description) AS description, inflate(c.text) AS captions
  FROM searched_rows r JOIN searched_videos v ON v.id = r.video LEFT JOIN searched_captions c ON c.id = r.id;
CREATE VIRTUAL TABLE name_index USING fts5 (
  title, channel, content='searched_videos', content_rowid='id', prefix='1 2', tokenize="{TOKENIZER}");
INSERT INTO name_index (name_index) VALUES ('rebuild');
"""  # noqa: S608 - constants

REBUILT_AT_START = "Start `ytarchive up` once: it is set aside and rebuilt from the archive."

STEPS = (_VIDEOS + _LISTINGS, _VERIFICATIONS + _TEXTS, _UNEXPLAINED, _WIDE_ARCHIVE)


def add_functions(connection: sqlite3.Connection) -> None:
    """Register the SQL functions that the schema and its migrations call."""
    fts.add_functions(connection)
    holdings.add_functions(connection)


def catalogue_path(base_data_dir: Path) -> Path:
    return base_data_dir / "catalogue.db"


def open_catalogue(
    base_data_dir: Path,
    pause_while_full: Callable[[], Awaitable[None]] | None = None,
    on_recreated: Callable[[str], None] = lambda reason: None,
) -> Database:
    """Open the file, or create it, and migrate it. Writes are repeated with `pause_while_full` while the disk is full.
    A damaged file is set aside, now or later, and `on_recreated` is called with the reason: scan the roots then.

    Raises ServiceUnavailable when a newer version wrote the file.
    """
    path = catalogue_path(base_data_dir)
    return Database(path, STEPS, functions=add_functions, pause_while_full=pause_while_full, on_recreated=on_recreated)


def open_read_only(base_data_dir: Path) -> Database:
    """Open the file without changing it. Raises FileNotFoundError, StateDamaged, ServiceUnavailable for another version
    of it."""
    path = catalogue_path(base_data_dir)
    if not path.exists():
        raise FileNotFoundError(path)
    database = Database(path, STEPS, read_only=True, functions=add_functions, remedy=REBUILT_AT_START)
    try:
        with closing(read_only(path)) as connection:
            expect_current(connection, path)
    except BaseException:
        database.close()
        raise
    return database


def expect_current(connection: sqlite3.Connection, path: Path) -> None:
    """Raise ServiceUnavailable when an older version wrote the file: only a start may change it."""
    if 0 < schema_version(connection) < len(STEPS):
        raise ServiceUnavailable(
            f"{path} was written by an older version of ytarchive: start `ytarchive up` once, it is renewed then.",
            path=str(path),
        )
