"""What a shell offers where an id is due: read from the files as they lie, quickly; nothing where there are none.

Each function gets the context and the beginning that was typed, and gives (value, what it is) pairs, the newest first.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from services.common.settings.load import Config

MOST = 100
SERVICES = ("jobs", "metadata", "download", "storage", "logging")  # those of ytarchive.stack (a test keeps them equal)
QUALITIES = ("best", "2160p", "1440p", "1080p", "720p", "480p", "360p", "240p", "144p", "audio")  # a test, too
Offers = list[tuple[str, str]]

_JOBS = """
SELECT job_id, status, coalesce(json_extract(body, '$.title'), '') FROM jobs
WHERE substr(job_id, 1, length(:typed)) = :typed ORDER BY created_at DESC LIMIT :most"""
_TRACES = """
SELECT json_extract(body, '$.trace_id') AS trace_id, 'of job', job_id FROM jobs
WHERE substr(trace_id, 1, length(:typed)) = :typed ORDER BY created_at DESC LIMIT :most"""
_VIDEOS = """
SELECT DISTINCT video_id, '', title FROM videos
WHERE substr(video_id, 1, length(:typed)) = :typed ORDER BY archived_at DESC LIMIT :most"""


def job_ids(context: typer.Context, incomplete: str) -> Offers:
    return _rows(context, "jobs.db", _JOBS, incomplete)


def trace_ids(context: typer.Context, incomplete: str) -> Offers:
    return _rows(context, "jobs.db", _TRACES, incomplete)


def video_ids(context: typer.Context, incomplete: str) -> Offers:
    """Of videos that are held."""
    return _rows(context, "catalogue.db", _VIDEOS, incomplete)


def plan_ids(context: typer.Context, incomplete: str) -> Offers:
    config = _config(context)
    try:
        paths = sorted(config.storage.work_plans_dir.glob("*.json"), key=_changed, reverse=True) if config else []
    except OSError:
        return []
    return [(path.stem, "") for path in paths if path.stem.startswith(incomplete)][:MOST]


def service_names(incomplete: str) -> Sequence[str]:
    return [name for name in SERVICES if name.startswith(incomplete)]


def qualities(incomplete: str) -> Sequence[str]:
    return [name for name in QUALITIES if name.startswith(incomplete)]


def _rows(context: typer.Context, name: str, query: str, incomplete: str) -> Offers:
    """`query` gives (value, word, text from upstream)."""
    from ytarchive.cli.render.text import safe_text

    config = _config(context)
    if config is None:
        return []
    folder = config.storage.jobs_dir if name == "jobs.db" else config.storage.base_data_dir
    try:
        with closing(sqlite3.connect(f"{(folder / name).as_uri()}?mode=ro", uri=True, timeout=1)) as database:
            rows = database.execute(query, {"typed": incomplete, "most": MOST}).fetchall()
    except sqlite3.Error:  # none there, of another version, or busy
        return []
    return [(value, safe_text(f"{word} {text}", 60)) for value, word, text in rows if value]


def _config(context: typer.Context) -> "Config | None":
    from services.common.errors import ConfigError
    from services.common.settings.load import load_config

    named = context.find_root().params.get("config_file")
    try:
        return load_config(Path(named) if named else None)
    except ConfigError:
        return None


def _changed(path: Path) -> float:
    return path.stat().st_mtime
