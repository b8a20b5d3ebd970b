"""Reading an archive root: from its files to rows of the catalogue, and what dead writers left behind."""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from services.common.validation import validate_video_id
from services.storage.archive.commit import read_record
from services.storage.archive.fingerprint import Stamps, stamp_of
from services.storage.formats.layout import Tree
from services.storage.index.catalogue import Indexed
from services.storage.index.documents import read_texts, stamps_of

_DEPTH = 4  # how far below a root an --output-dir is looked for
_HALF_WRITTEN = re.compile(r"\..+\.json\.[0-9a-f]{8}\.new")  # services.common.infra.files: write_atomically
_STALE = 3600.0  # seconds: nobody takes that long to write a page of JSON


def index(tree: Tree, video_id: str) -> Indexed | None:
    """The record of one video with its stamp. The stamp is taken first: a write in between makes it stale."""
    path = tree.record(video_id)
    stamp = stamp_of(path)
    record = read_record(path) if stamp else None
    return Indexed(tree.key, stamp, record) if stamp and record and record.video_id == video_id else None


def index_texts(tree: Tree, video_id: str, known: Stamps | None) -> Indexed | None:
    """The same, with what can be found of the video; `known`: what the index has of it already."""
    entry = index(tree, video_id)
    return entry and replace(entry, texts=read_texts(tree, entry.record, entry.stamp, known))


def is_outdated(tree: Tree, entry: Indexed) -> bool:
    """Whether the video's texts were written anew since they were read for `entry`."""
    stamp = stamp_of(tree.record(entry.record.video_id))
    known = entry.texts and entry.texts.stamps
    return known is not None and stamp is not None and stamps_of(tree, entry.record, stamp) != known


def video_ids(tree: Tree) -> Iterator[str]:
    """Every video that has a folder."""
    yield from (name for name in _names(tree.videos) if validate_video_id(name))


def trees_below(root: Path) -> Iterator[Path]:
    """Folders below `root` that are archives of their own (`--output-dir` below a root)."""
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop()
        own = {"videos", "metadata"} if (folder / "videos").is_dir() else set()
        if own and folder != root:
            yield folder
        if depth < _DEPTH:
            below = (folder / name for name in _names(folder) if name not in own and not name.startswith("."))
            pending += [(path, depth + 1) for path in below if path.is_dir() and not path.is_symlink()]


def metadata_files(tree: Tree) -> Iterator[Path]:
    folder = tree.metadata / "videos"
    yield from (folder / name for name in _names(folder) if validate_video_id(name.removesuffix(".json")))


def sweep(folder: Path) -> int:
    """Remove half-written JSON of writers that were killed. Returns how many files."""
    removed = 0
    for name in _names(folder):
        path = folder / name
        if _HALF_WRITTEN.fullmatch(name) and time.time() - path.stat().st_mtime > _STALE:
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
