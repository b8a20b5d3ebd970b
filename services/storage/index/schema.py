"""The schema of catalogue.db as numbered migrations, and how the file is opened.

All tables can be rebuilt from the archive tree, except those of listings in progress and of verifications. Version 1
knew neither verifications nor the text index. Files of unreleased versions may have a part of a step's tables: hence
IF NOT EXISTS.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

from services.common.infra.sqlite import Database
from services.storage.index.fts import add_functions
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

REBUILT_AT_START = "Start `ytarchive up` once: it is set aside and rebuilt from the archive."

STEPS = (_VIDEOS + _LISTINGS, _VERIFICATIONS + _TEXTS, _UNEXPLAINED)


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
    """Open the file as it is, of whichever version. Raises FileNotFoundError, StateDamaged."""
    path = catalogue_path(base_data_dir)
    if not path.exists():
        raise FileNotFoundError(path)
    return Database(path, None, read_only=True, functions=add_functions, remedy=REBUILT_AT_START)
