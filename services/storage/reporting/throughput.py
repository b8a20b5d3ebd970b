"""Observed bytes per second of video and of download time; None below a minimum of samples."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.common.infra.sqlite import Database
from services.storage.archive.manifest_file import read_manifest
from services.storage.formats.layout import ArchiveTree
from services.storage.formats.manifest import MEDIA, Manifest

MIN_SAMPLES = 5  # videos or downloads
MAX_MANIFESTS = 50  # manifests to read


@dataclass(frozen=True)
class DownloadRun:
    """One download that brought media."""

    started_at: datetime
    finished_at: datetime
    bytes: int


async def bytes_per_second(database: Database, quality: str) -> float | None:
    """Return the bytes per second of video, over all held videos of this quality; None for fewer than MIN_SAMPLES."""

    def work(db: sqlite3.Connection) -> float | None:
        query = (
            "SELECT count(*), sum(bytes), sum(duration_seconds) FROM videos"
            " WHERE duration_seconds > 0 AND EXISTS (SELECT 1 FROM json_each(qualities) WHERE value = ?)"
        )
        videos, size, seconds = db.execute(query, (quality,)).fetchone()
        return size / seconds if videos >= MIN_SAMPLES else None

    return await database.read(work)


async def latest_videos(database: Database, root: str) -> list[str]:
    """Return the videos that were archived last."""

    def work(db: sqlite3.Connection) -> list[str]:
        query = "SELECT video_id FROM videos WHERE root = ? ORDER BY archived_at DESC LIMIT ?"
        return [row[0] for row in db.execute(query, (root, MAX_MANIFESTS))]

    return await database.read(work)


def read_runs(tree: ArchiveTree, video_ids: Sequence[str]) -> list[DownloadRun]:
    """Return the downloads of these videos. Blocks: it reads their manifests."""
    manifests = (read_manifest(tree.manifest(video_id)) for video_id in video_ids)
    return [run for manifest in manifests if manifest is not None for run in _runs(manifest)]


def _runs(manifest: Manifest) -> Iterator[DownloadRun]:
    for take_in in manifest.take_ins:
        brought = [manifest.fixity[name] for name in take_in.files if name in manifest.fixity]
        here = [entry for entry in brought if entry.dispatch_id == take_in.dispatch_id]
        if any(entry.role in MEDIA for entry in here):
            size = sum(entry.size for entry in here)
            yield DownloadRun(take_in.provenance.started_at, take_in.provenance.finished_at, size)


def throughput(runs: Iterable[DownloadRun]) -> float | None:
    """Return the bytes per second over all slots; time in which several downloads ran counts once. None for fewer than
    MIN_SAMPLES runs."""
    ordered = sorted(runs, key=lambda run: run.started_at)
    busy = 0.0
    until: datetime | None = None
    for run in ordered:
        begun = run.started_at if until is None else max(until, run.started_at)
        if run.finished_at > begun:
            busy += (run.finished_at - begun).total_seconds()
            until = run.finished_at
    return sum(run.bytes for run in ordered) / busy if len(ordered) >= MIN_SAMPLES and busy > 0 else None
