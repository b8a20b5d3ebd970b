"""Reading and writing metadata/playlists/{playlist_id}.json.

Blocks: use a thread. Writers hold the lock of (root, playlist).
"""

from datetime import UTC, datetime
from pathlib import Path

import structlog

from services.common.domain.videos import PlaylistMetadata
from services.common.infra.files import ARCHIVE_MODE, make_folders, set_aside, write_atomically
from services.common.settings.load import Storage
from services.storage.archive.json_file import read_json_file
from services.storage.formats.layout import ArchiveTree, tree_of
from services.storage.formats.playlist import FinishedListing, PlaylistFile, merge_listing

_log = structlog.get_logger()
PLAYLIST_REMEDY = "The next `ytarchive download` of the playlist replaces it; this one is kept as .unreadable."


def read_playlist_file(path: Path) -> PlaylistFile | None:
    """Return the file's content; None when there is no file, or (logged) an invalid one, or a link. Raises OSError."""
    return read_json_file(path, PlaylistFile, event="playlist_unreadable", remedy=PLAYLIST_REMEDY, below=path.parent)


def members_of(playlist_id: str, storage: Storage) -> list[str]:
    """Return the ids of the videos that a playlist's last listing named, in any root."""
    trees = [tree_of(root, storage) for root in storage.all_roots]
    listed = [read_playlist_file(tree.playlist_metadata(playlist_id)) for tree in trees]
    return [entry.video_id for file in listed if file for entry in file.entries]


def save_listing(tree: ArchiveTree, playlist_id: str, listing: FinishedListing) -> None:
    """Merge a finished listing into the file, as one write."""
    path = tree.playlist_metadata(playlist_id)
    held = read_playlist_file(path)
    merged = merge_listing(held, playlist_id, listing, datetime.now(UTC))
    if len(merged.entries) != listing.completed.total and merged.fetched_at == listing.at:
        _log.warning(
            "listing_total_differs", path=str(path), announced=listing.completed.total, listed=len(merged.entries)
        )
    if merged != held:
        if held is None:
            set_aside(path)
        _write(tree, path, merged)


def save_own(tree: ArchiveTree, own: PlaylistMetadata) -> None:
    """Put a playlist's own metadata, which arrived after the end of its listing, into the file."""
    path = tree.playlist_metadata(own.playlist_id)
    held = read_playlist_file(path)
    if held is None:
        return
    merged = PlaylistFile.model_validate({**held.model_dump(), **own.model_dump(), "playlist_id": held.playlist_id})
    if merged != held:
        _write(tree, path, merged)


def _write(tree: ArchiveTree, path: Path, content: PlaylistFile) -> None:
    make_folders(path.parent, tree.dir_mode)
    write_atomically(path, content.model_dump_json(indent=2), mode=ARCHIVE_MODE, exact=tree.file_mode)
