"""Reading `{video_id}_metadata.json` from the disk. Blocks: use a thread."""

from pathlib import Path

from pydantic import ValidationError

from services.common.infra.no_links import NotAFile, read_below
from services.storage.archive.json_file import read_json_file
from services.storage.formats.manifest import Manifest

RECORD_REMEDY = "`ytarchive storage verify` with a running `ytarchive up` downloads the video again."


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest at `path`, which is in the folder of its video; None when there is no file, or (logged) an
    invalid one, or a link. Raises OSError."""
    video_id = path.parent.name

    def misplaced(manifest: Manifest) -> str | None:
        return None if manifest.video_id == video_id else f"it is the manifest of {manifest.video_id}"

    return read_json_file(
        path, Manifest, event="record_unreadable", remedy=RECORD_REMEDY, below=path.parents[1], misplaced=misplaced
    )


def owner_of(path: Path) -> str | None:
    """Return the video whose manifest is at `path`, also in the folder of another; None when there is no valid one.
    Raises OSError."""
    try:
        return Manifest.model_validate_json(read_below(path.parents[1], path)).video_id
    except (FileNotFoundError, NotADirectoryError, NotAFile, ValidationError):
        return None
