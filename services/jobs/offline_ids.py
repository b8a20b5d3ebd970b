"""Ids of jobs and traces for shell completion. The module loads fast, unlike the rest of the offline interface."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

_JOBS = """
SELECT job_id, status || ' ' || coalesce(json_extract(body, '$.title'), '') FROM jobs
WHERE substr(job_id, 1, length(:prefix)) = :prefix ORDER BY created_at DESC LIMIT :limit"""
_TRACES = """
SELECT json_extract(body, '$.trace_id') AS trace_id, 'of job ' || job_id FROM jobs
WHERE trace_id IS NOT NULL AND substr(trace_id, 1, length(:prefix)) = :prefix ORDER BY created_at DESC LIMIT :limit"""


def job_ids(jobs_dir: Path, prefix: str, limit: int) -> Sequence[tuple[str, str]]:
    """Return ids with status and title, newest first. Raise sqlite3.Error when jobs.db cannot be read."""
    return _rows(jobs_dir, _JOBS, prefix, limit)


def trace_ids(jobs_dir: Path, prefix: str, limit: int) -> Sequence[tuple[str, str]]:
    """Return trace ids with their jobs, newest first. Raise sqlite3.Error when jobs.db cannot be read."""
    return _rows(jobs_dir, _TRACES, prefix, limit)


def _rows(jobs_dir: Path, query: str, prefix: str, limit: int) -> Sequence[tuple[str, str]]:
    uri = f"{(jobs_dir / 'jobs.db').as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=1)) as database:
        return database.execute(query, {"prefix": prefix, "limit": limit}).fetchall()
