"""The tables of jobs.db. STEPS[n] migrates version n to version n + 1; a released step is never changed."""

_V1 = """
CREATE TABLE IF NOT EXISTS jobs (
  job_id TEXT PRIMARY KEY, status TEXT NOT NULL, type TEXT NOT NULL, created_at TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS jobs_by_time ON jobs (created_at);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status);
CREATE TABLE IF NOT EXISTS listings (
  job_id TEXT NOT NULL, target_index INTEGER NOT NULL, state TEXT NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (job_id, target_index)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS listings_by_state ON listings (state);
CREATE TABLE IF NOT EXISTS items (
  job_id TEXT NOT NULL, video_id TEXT NOT NULL, status TEXT NOT NULL, position INTEGER NOT NULL,
  retry_at TEXT, since TEXT NOT NULL, revision INTEGER NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (job_id, video_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS items_by_turn ON items (job_id, status, position);
CREATE INDEX IF NOT EXISTS items_by_revision ON items (job_id, revision);
CREATE INDEX IF NOT EXISTS items_open ON items (video_id, status) WHERE status IN ('waiting', 'running');
CREATE INDEX IF NOT EXISTS items_by_position ON items (job_id, position, video_id);
CREATE INDEX IF NOT EXISTS items_waiting ON items (job_id, retry_at, position) WHERE status = 'waiting';
CREATE INDEX IF NOT EXISTS items_unanswered ON items (since) WHERE status IN ('listed', 'closing');
CREATE TABLE IF NOT EXISTS fetches (video_id TEXT PRIMARY KEY, state TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS fetches_busy ON fetches (state) WHERE state <> 'idle';
CREATE TABLE IF NOT EXISTS blocks (egress TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS inbox (id TEXT PRIMARY KEY, at TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS broker (one INTEGER PRIMARY KEY CHECK (one = 1), created TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT NOT NULL, envelope BLOB NOT NULL);
"""

# `changed` numbers the changes of all jobs; `removals` are the removed jobs, `clearing` while rows are left
_V2 = """
ALTER TABLE jobs ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX jobs_by_change ON jobs (changed);
CREATE TABLE changes (one INTEGER PRIMARY KEY CHECK (one = 1), latest INTEGER NOT NULL);
INSERT INTO changes VALUES (1, 0);
CREATE TABLE removals (
  job_id TEXT PRIMARY KEY, changed INTEGER NOT NULL, at TEXT NOT NULL, clearing INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX removals_by_change ON removals (changed);
"""

# names this database: a copy of the file, on another machine say, is the same queue
_V3 = """
CREATE TABLE identity (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL);
INSERT INTO identity VALUES (1, lower(hex(randomblob(8))));
"""

# first attempts by an egress that failed one after the other; the index finds the video that was archived last
_V4 = """
CREATE TABLE streaks (egress TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX items_archived ON items (since) WHERE status = 'archived';
"""

# a claim names a listing by its number: a job may have 20,000 targets
_V5 = "CREATE INDEX listings_by_number ON listings (job_id, json_extract(body, '$.number'));\n"

# what is followed, and every video that a follow has found
_V6 = """
CREATE TABLE follows (
  follow_id TEXT PRIMARY KEY, next_look TEXT, looking TEXT, wanted INTEGER NOT NULL, load REAL NOT NULL,
  body TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX follows_due ON follows (next_look) WHERE next_look IS NOT NULL;
CREATE INDEX follows_looking ON follows (looking) WHERE looking IS NOT NULL;
CREATE INDEX follows_wanted ON follows (next_look) WHERE wanted;
CREATE INDEX follows_by_load ON follows (load);
CREATE TABLE follow_videos (
  follow_id TEXT NOT NULL, video_id TEXT NOT NULL, rank INTEGER NOT NULL, state TEXT NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (follow_id, video_id)) WITHOUT ROWID;
CREATE INDEX follow_videos_by_rank ON follow_videos (follow_id, rank);
CREATE INDEX follow_videos_by_state ON follow_videos (follow_id, state, rank);
"""

STEPS = (_V1, _V1 + _V2, _V3, _V4, _V5, _V6)  # a file of version 1 may lack the newest indexes of that version
SCHEMA = "".join((_V1, _V2, _V3, _V4, _V5, _V6))
