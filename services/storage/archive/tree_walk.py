"""Listing what an archive tree contains: video folders, metadata files, archives below a root. Blocks: use a thread."""

import os
from collections.abc import Iterator
from pathlib import Path

from services.common.validation import validate_video_id
from services.storage.formats.layout import ArchiveTree

_MAX_DEPTH = 4  # levels below a root at which the archive of an --output-dir is found


def video_ids(tree: ArchiveTree) -> Iterator[str]:
    """Yield the id of every video that has a folder."""
    yield from (name for name in _names(tree.videos) if validate_video_id(name))


def trees_below(root: Path) -> Iterator[Path]:
    """Yield the folders below `root` that are archives of their own (`--output-dir` below a root)."""
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop()
        own = {"videos", "metadata"} if (folder / "videos").is_dir() else set()
        if own and folder != root:
            yield folder
        if depth < _MAX_DEPTH:
            below = (folder / name for name in _names(folder) if name not in own and not name.startswith("."))
            pending += [(path, depth + 1) for path in below if path.is_dir() and not path.is_symlink()]


def metadata_files(tree: ArchiveTree) -> Iterator[Path]:
    """Yield the files metadata/videos/{video_id}.json."""
    folder = tree.metadata / "videos"
    yield from (folder / name for name in _names(folder) if validate_video_id(name.removesuffix(".json")))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
