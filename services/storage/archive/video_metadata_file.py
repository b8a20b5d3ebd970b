"""Reading and writing metadata/videos/{video_id}.json.

Blocks: use a thread. Writers hold the lock of (root, video).
"""

from datetime import UTC, datetime
from pathlib import Path

from services.common.events import MetadataFetched
from services.common.infra.files import ARCHIVE_MODE, make_folders, set_aside, write_atomically
from services.storage.archive.json_file import read_json_file
from services.storage.formats.layout import ArchiveTree
from services.storage.formats.video_metadata import VideoFile, is_newer, merge_sources

METADATA_REMEDY = "The next download of the video's metadata replaces it; this one is kept as .unreadable."


def read_video_file(path: Path) -> VideoFile | None:
    """Return the file's content; None when there is no file, or (logged) an invalid one, or a link. Raises OSError."""
    return read_json_file(path, VideoFile, event="metadata_unreadable", remedy=METADATA_REMEDY, below=path.parent)


def is_up_to_date(path: Path, event: MetadataFetched) -> bool:
    """Return whether the file at `path` has an answer of the event's source that is at least as new."""
    held = read_video_file(path)
    known = held.sources.get(event.source_name) if held else None
    if known is not None and known.fetched_at == event.fetched_at:
        return True
    return not is_newer(known, event, datetime.now(UTC))


def save_metadata(tree: ArchiveTree, event: MetadataFetched, trace_id: str) -> None:
    """Merge `event` into the video's file. A file that would not change is not written."""
    path = tree.video_metadata(event.video_id)
    held = read_video_file(path)
    merged = merge_sources(held, event, trace_id, datetime.now(UTC))
    if merged != held:
        if held is None:
            set_aside(path)
        make_folders(path.parent, tree.dir_mode)
        write_atomically(path, merged.model_dump_json(indent=2), mode=ARCHIVE_MODE, exact=tree.file_mode)
