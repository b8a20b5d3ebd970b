"""Moves damaged files to a hidden folder on the same disk. Nothing is deleted.

All functions block (use a thread), and their callers hold the lock of (root, video).
"""

import os
from pathlib import Path

from services.common.infra.files import sync_directory
from services.storage.fixity.checksum_reader import finding_path
from services.storage.fixity.rules import FixityFinding, metadata_name
from services.storage.formats.layout import ArchiveTree


def plan_move(tree: ArchiveTree, finding: FixityFinding, time: str) -> FixityFinding:
    """Return the finding with the destination of its file; unchanged when there is no file to move."""
    if not os.path.lexists(finding_path(tree, finding)):
        return finding
    if finding.name == metadata_name(finding.video_id):
        place = tree.metadata_quarantine(finding.video_id, time) / f"{finding.video_id}.json"
    else:
        place = tree.quarantine(finding.video_id, time) / finding.name
    number = 1
    free = place
    while os.path.lexists(free):
        number += 1
        free = place.with_name(f"{place.name}.{number}")
    return finding.model_copy(update={"set_aside": str(free)})


def move(tree: ArchiveTree, finding: FixityFinding) -> None:
    """Move the file of a planned finding. Raises OSError; then the file is where it was."""
    if finding.set_aside is None:
        return
    source, place = finding_path(tree, finding), Path(finding.set_aside)
    place.parent.mkdir(parents=True, exist_ok=True)
    source.rename(place)
    sync_directory(place.parent)
    sync_directory(source.parent)


def is_moved(finding: FixityFinding) -> bool:
    """Return whether the file of a planned finding is in quarantine."""
    return finding.set_aside is not None and os.path.lexists(finding.set_aside)
