"""Reading `{video_id}_metadata.json` from the disk. Blocks: use a thread."""

from pathlib import Path

from services.storage.archive.json_file import read_json_file
from services.storage.formats.manifest import Manifest

RECORD_REMEDY = "`ytarchive storage verify` with a running `ytarchive up` downloads the video again."


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest at `path`; None when there is no file, or (logged) an invalid one. Raises OSError."""
    return read_json_file(path, Manifest, event="record_unreadable", remedy=RECORD_REMEDY)
