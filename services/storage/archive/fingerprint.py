"""Which state of its files a row of the catalogue was made of: a row whose stamp is not the file's is stale."""

from dataclasses import dataclass
from pathlib import Path

TEXTS_FORMAT = 1  # of what the index of texts holds: a higher one has everything indexed anew, in the background


@dataclass(frozen=True)
class TextFingerprints:
    """The files that a video's texts were read from. `captions`: all its caption files."""

    manifest: str
    metadata: str
    captions: str
    format: int = TEXTS_FORMAT


def fingerprint_of(path: Path) -> str | None:
    """Tells one state of a file from the next; None if it is not there."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return f"{found.st_mtime_ns}:{found.st_size}:{found.st_ino}"
