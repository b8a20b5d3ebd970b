"""Ids of videos and work plans for shell completion. The module loads fast, unlike the rest of the offline
interface."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

_VIDEOS = """
SELECT DISTINCT video_id, title FROM videos
WHERE substr(video_id, 1, length(:prefix)) = :prefix ORDER BY archived_at DESC LIMIT :limit"""


def video_ids(base_data_dir: Path, prefix: str, limit: int) -> Sequence[tuple[str, str]]:
    """Return ids with titles of archived videos, newest first. Raise sqlite3.Error when catalogue.db cannot be read."""
    uri = f"{(base_data_dir / 'catalogue.db').as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=1)) as database:
        return database.execute(_VIDEOS, {"prefix": prefix, "limit": limit}).fetchall()


def plan_ids(work_plans_dir: Path, prefix: str, limit: int) -> Sequence[str]:
    """Return ids of work plans, newest first. Raise OSError when the folder cannot be read."""
    paths = sorted(work_plans_dir.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.stem for path in paths if path.stem.startswith(prefix)][:limit]
