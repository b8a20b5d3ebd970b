"""Reading `{video_id}_metadata.json` from the disk. Blocks: use a thread."""

from pathlib import Path

import structlog
from pydantic import ValidationError

from services.storage.formats.manifest import Manifest

_log = structlog.get_logger()


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest at `path`; None when there is no file, or (logged) an invalid one. Raises OSError."""
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        _log.warning("record_unreadable", path=str(path), error_message=str(error))
        return None
