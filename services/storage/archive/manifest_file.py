"""Reading `{video_id}_metadata.json` from the disk. Blocks: use a thread."""

from pathlib import Path

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
