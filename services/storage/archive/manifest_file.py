"""Reading `{video_id}_metadata.json` from the disk. Blocks: use a thread."""

from pathlib import Path

import structlog
from pydantic import ValidationError

from services.common.infra.no_links import NotAFile, read_below
from services.storage.formats.manifest import Manifest

_log = structlog.get_logger()


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest at `path`, which is in the folder of its video; None when there is no file, or (logged) an
    invalid one, or a link. Raises OSError."""
    video_id = path.parent.name
    try:
        manifest = Manifest.model_validate_json(read_below(path.parents[1], path))
    except FileNotFoundError:
        return None
    except (ValidationError, NotAFile) as error:
        _log.warning("record_unreadable", path=str(path), error_message=str(error))
        return None
    if manifest.video_id != video_id:
        _log.warning("record_unreadable", path=str(path), error_message=f"it is the manifest of {manifest.video_id}")
        return None
    return manifest
