"""Shell completion of ids and names. Ids are read from the databases; without databases nothing is offered.

Each function for ids takes the context and the typed prefix, and returns pairs of a value and its description.
"""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from services.common.names import JOB_FILTERS, SERVICES

if TYPE_CHECKING:
    from services.common.settings.load import Config
    from services.common.settings.sections import Storage

MAX_CHOICES = 100
Choices = list[tuple[str, str]]


def job_ids(context: typer.Context, incomplete: str) -> Choices:
    from services.jobs import offline_ids

    return _choices(context, lambda storage: offline_ids.job_ids(storage.jobs_dir, incomplete, MAX_CHOICES))


def trace_ids(context: typer.Context, incomplete: str) -> Choices:
    from services.jobs import offline_ids

    return _choices(context, lambda storage: offline_ids.trace_ids(storage.jobs_dir, incomplete, MAX_CHOICES))


def video_ids(context: typer.Context, incomplete: str) -> Choices:
    """Offer archived videos."""
    from services.storage import offline_ids

    return _choices(context, lambda storage: offline_ids.video_ids(storage.base_data_dir, incomplete, MAX_CHOICES))


def plan_ids(context: typer.Context, incomplete: str) -> Choices:
    from services.storage import offline_ids

    return _choices(
        context,
        lambda storage: [(one, "") for one in offline_ids.plan_ids(storage.work_plans_dir, incomplete, MAX_CHOICES)],
    )


def service_names(incomplete: str) -> Sequence[str]:
    return [name for name in SERVICES if name.startswith(incomplete)]


def job_filters(incomplete: str) -> Sequence[str]:
    return [name for name in JOB_FILTERS if name.startswith(incomplete)]


def qualities(incomplete: str) -> Sequence[str]:
    from services.common.youtube.quality import QUALITIES

    return [name for name in QUALITIES if name.startswith(incomplete)]


def _choices(context: typer.Context, read: "Callable[[Storage], Sequence[tuple[str, str]]]") -> Choices:
    """Return what `read` finds, nothing when the files are missing or unreadable. Descriptions are upstream text."""
    from ytarchive.text import safe_text

    config = _config(context)
    if config is None:
        return []
    try:
        rows = read(config.storage)
    except (OSError, sqlite3.Error):  # missing, of another version, or busy
        return []
    return [(value, safe_text(text, 60)) for value, text in rows if value]


def _config(context: typer.Context) -> "Config | None":
    from services.common.errors import ConfigError
    from services.common.settings.load import load_config

    named = context.find_root().params.get("config_file")
    try:
        return load_config(Path(named) if named else None)
    except ConfigError:
        return None
