"""Fingerprints of file states: a catalogue row whose fingerprint is not that of the file is stale."""

from dataclasses import dataclass
from pathlib import Path

TEXTS_FORMAT = 1  # of the indexed texts; a higher number re-indexes everything in the background


@dataclass(frozen=True)
class TextFingerprints:
    """Fingerprints of the files from which a video's texts were read. `captions`: of all its caption files."""

    manifest: str
    metadata: str
    captions: str
    format: int = TEXTS_FORMAT


def fingerprint_of(path: Path, *, of_link: bool = False) -> str | None:
    """Return a text that differs between two states of a file; None if there is no file. `of_link`: for a link, that of
    the link itself."""
    try:
        found = path.stat(follow_symlinks=not of_link)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return f"{found.st_mtime_ns}:{found.st_size}:{found.st_ino}"
